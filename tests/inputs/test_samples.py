"""What is fed to a model, from images, folders, arrays and archives; the expected arrays are made by hand."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from PIL import Image
from protos import one_conv_proto, two_inputs_proto

from onnxviz import InputError, Preprocessing, capture, load
from onnxviz.inputs.samples import ImageOptions, samples

RNG = np.random.default_rng(11)
PHOTO = RNG.integers(0, 256, (8, 6, 3), np.uint8)  # 8 high, 6 wide


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    return path


def fed(model, given, **options):
    """The labels and arrays of a model's one input, all samples."""
    opened = load(model)
    found = samples(opened, given, ImageOptions.of(opened, **options))
    (port,) = opened.inputs
    return [sample.label for sample in found], [sample.read()[port.name] for sample in found]


def transposed(pixels):
    """(H, W, C) to (1, C, H, W), by loops."""
    height, width, channels = pixels.shape
    return np.array([[[[pixels[y, x, c] for x in range(width)] for y in range(height)] for c in range(channels)]])


@pytest.mark.parametrize("batch", [1, 4, "batch", None])
@pytest.mark.parametrize("size", [(8, 6), ("h", "w")])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_an_image_fits_the_layout_and_keeps_its_pixels(one_conv, photo, batch, size, layout):
    shape = (batch, 3, *size) if layout == "NCHW" else (batch, *size, 3)
    labels, (array,) = fed(one_conv(shape, layout=layout), str(photo), preprocess="raw")
    assert labels == ["photo.png"]
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, transposed(PHOTO) if layout == "NCHW" else PHOTO[None])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_preprocessing_is_applied_per_channel_in_both_layouts(one_conv, photo, layout):
    shape = (1, 3, 8, 6) if layout == "NCHW" else (1, 8, 6, 3)
    _, (array,) = fed(one_conv(shape, layout=layout), photo, preprocess="caffe")
    for channel, mean in enumerate((103.939, 116.779, 123.68)):
        expected = PHOTO[..., 2 - channel].astype(np.float64) - mean
        np.testing.assert_allclose(
            array[0, channel] if layout == "NCHW" else array[0, ..., channel], expected, atol=1e-4
        )


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_four_channel_inputs(one_conv, photo, channels):
    _, (array,) = fed(one_conv((1, channels, 8, 6)), photo, preprocess="raw")
    with Image.open(photo) as picture:
        expected = np.asarray(picture.convert("L" if channels == 1 else "RGBA"))
    np.testing.assert_array_equal(array[0], expected.reshape(8, 6, channels).transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "expected"), [((4, 5), (4, 5)), (None, (8, 6))])
def test_an_open_size_is_the_images_own_unless_told(one_conv, photo, size, expected):
    _, (array,) = fed(one_conv(("n", 3, "h", "w")), photo, size=size)
    assert array.shape == (1, 3, *expected)


def test_a_fixed_size_is_met(one_conv, photo):
    _, (array,) = fed(one_conv((1, 3, 4, 10)), photo)
    assert array.shape == (1, 3, 4, 10)


def test_fit_and_background_reach_the_decoder(one_conv, tmp_path):
    pixels = np.zeros((4, 12, 4), np.uint8)
    pixels[:, 4:8] = (10, 20, 30, 255)  # the middle third is opaque
    Image.fromarray(pixels).save(tmp_path / "a.png")
    options = {"preprocess": "raw", "background": "#640000"}
    model = one_conv((1, 3, 4, 4))
    _, (cropped,) = fed(model, tmp_path / "a.png", fit="crop", **options)
    assert (cropped == np.array([10, 20, 30]).reshape(1, 3, 1, 1)).all()
    _, (stretched,) = fed(model, tmp_path / "a.png", **options)
    assert stretched[0, 0, :, 0].tolist() == [100] * 4
    assert stretched[0, 1, :, 0].tolist() == [0] * 4


def test_another_size_than_the_models_is_refused_with_both(one_conv, photo):
    with pytest.raises(InputError, match="8x6, not of 4x4"):
        fed(one_conv((1, 3, 8, 6)), photo, size=(4, 4))


@pytest.mark.parametrize("shape", [(1, 3, 8, "w"), (1, 3, "h", 6)])
def test_one_open_side_must_be_told(one_conv, photo, shape):
    model = one_conv(shape)
    with pytest.raises(InputError, match="--size HxW"):
        fed(model, photo)
    assert fed(model, photo, size=(8, 6))[1][0].shape == (1, 3, 8, 6)


@pytest.mark.parametrize("shape", [(1, 3, 8, "w"), (1, 3, "h", 6)])
def test_a_size_against_the_fixed_side_is_refused(one_conv, photo, shape):
    with pytest.raises(InputError, match="4x4"):
        fed(one_conv(shape), photo, size=(4, 4))


@pytest.mark.parametrize(
    ("dtype", "numpy_dtype"),
    [
        (TensorProto.UINT8, "uint8"),
        (TensorProto.INT32, "int32"),
        (TensorProto.INT64, "int64"),
    ],
)
def test_integer_inputs_take_pixels_as_they_are(one_conv, photo, dtype, numpy_dtype):
    model = one_conv((1, 3, 8, 6), dtype=dtype)
    how = ImageOptions.of(load(model))
    assert (how.preprocessing.name, how.assumed) == ("raw", True)
    _, (array,) = fed(model, photo)
    assert array.dtype == np.dtype(numpy_dtype)
    np.testing.assert_array_equal(array, transposed(PHOTO).astype(np.int64))


def test_pixels_that_do_not_fit_the_inputs_type_are_refused(one_conv, photo):
    model = one_conv((1, 3, 8, 6), dtype=TensorProto.INT8)
    with pytest.raises(InputError, match=r"'raw' gives .*…255; input 'x' takes int8"):
        fed(model, photo)
    _, (array,) = fed(model, photo, preprocess="scale=1,mean=128")
    np.testing.assert_array_equal(array, transposed(PHOTO).astype(np.int64) - 128)


def test_integer_inputs_round(one_conv, tmp_path):
    Image.fromarray(np.full((2, 2), 101, np.uint8)).save(tmp_path / "a.png")
    _, (array,) = fed(
        one_conv((1, 1, 2, 2), dtype=TensorProto.INT8), tmp_path / "a.png", preprocess="scale=0.5,mean=70"
    )
    assert (array == -20).all()  # 50.5 - 70 = -19.5, to even


@pytest.mark.parametrize(("dtype", "numpy_dtype"), [(TensorProto.DOUBLE, "float64"), (TensorProto.FLOAT16, "float16")])
def test_other_float_inputs(one_conv, photo, dtype, numpy_dtype):
    _, (array,) = fed(one_conv((1, 3, 8, 6), dtype=dtype), photo)
    assert array.dtype == np.dtype(numpy_dtype)
    np.testing.assert_allclose(array, transposed(PHOTO) / 255, rtol=1e-3)


def test_auto_is_what_the_model_says_else_unit(one_conv, photo, tmp_path):
    plain = one_conv((1, 3, 8, 6))
    how = ImageOptions.of(load(plain))
    assert (how.preprocessing.name, how.assumed) == ("unit", True)
    np.testing.assert_allclose(fed(plain, photo)[1][0], transposed(PHOTO) / 255, rtol=1e-6)

    proto = one_conv_proto((1, 3, 8, 6))
    proto.metadata_props.add(key="onnxviz.preprocessing", value=Preprocessing.parse("signed").to_json())
    onnx.save(proto, tmp_path / "says.onnx")
    how = ImageOptions.of(load(tmp_path / "says.onnx"))
    assert (how.preprocessing.name, how.assumed) == ("signed", False)
    np.testing.assert_allclose(fed(tmp_path / "says.onnx", photo)[1][0], transposed(PHOTO) / 127.5 - 1, atol=1e-6)
    # What is asked for goes before.
    np.testing.assert_array_equal(fed(tmp_path / "says.onnx", photo, preprocess="raw")[1][0], transposed(PHOTO))
    own = Preprocessing.parse("scale=2")
    np.testing.assert_array_equal(fed(tmp_path / "says.onnx", photo, preprocess=own)[1][0], transposed(PHOTO) * 2.0)


@pytest.mark.parametrize(
    ("shape", "match"), [(("n", 7), r"nx7"), ((1, 3, 10), "1x3x10"), ((1, 2, 8, 8, 3), "1x2x8x8x3")]
)
def test_an_image_for_an_input_that_takes_none(tmp_path, photo, shape, match):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))],
    )
    onnx.save(onnx.helper.make_model(graph, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=rf"'x' of .*m\.onnx has shape {match}.*\.npy"):
        fed(tmp_path / "m.onnx", photo)


def test_an_image_for_seven_channels(one_conv, photo):
    with pytest.raises(InputError, match=r"7 channels: give a \.npy"):
        fed(one_conv((1, 7, 8, 6)), photo)


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("given", ["array", "npy"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.uint8])
@pytest.mark.parametrize("count", [None, 1, 5])
def test_arrays_with_and_without_a_batch_axis(one_conv, tmp_path, batch, given, dtype, count):
    array = RNG.integers(0, 99, ((3, 4, 4) if count is None else (count, 3, 4, 4))).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    labels, arrays = fed(one_conv((batch, 3, 4, 4)), array if given == "array" else str(tmp_path / "a.npy"))
    assert all(one.dtype == np.float32 for one in arrays)
    assert all(one.shape == (1, 3, 4, 4) for one in arrays)
    np.testing.assert_array_equal(np.concatenate(arrays), array.reshape(-1, 3, 4, 4))
    assert len(set(labels)) == len(labels) == (count or 1)
    if given == "npy":
        assert all("a.npy" in label for label in labels)


@pytest.mark.parametrize(
    ("shape", "array_shape", "both"),
    [
        (("n", 3, 4, 4), (1, 3, 5, 4), ("1x3x5x4", "x3x4x4")),
        ((1, 3, 4, 4), (4, 4, 3), ("4x4x3", "1x3x4x4")),
        ((1, 3, 4, 4), (4, 4), ("4x4", "1x3x4x4")),
        ((1, 3, 4, 4), (1, 1, 3, 4, 4), ("1x1x3x4x4", "1x3x4x4")),
        ((1, 3, 4, 4), (), ("scalar", "1x3x4x4")),
        ((1, 3, "h", "w"), (1, 1, 9, 9), ("1x1x9x9", "1x3xhxw")),
    ],
)
@pytest.mark.parametrize("given", ["array", "npy"])
def test_wrong_shapes_are_both_said(one_conv, tmp_path, shape, array_shape, both, given):
    np.save(tmp_path / "a.npy", np.zeros(array_shape, np.float32))
    model = one_conv(shape, name="pixels")
    with pytest.raises(InputError, match="'pixels'") as caught:
        fed(model, np.zeros(array_shape, np.float32) if given == "array" else tmp_path / "a.npy")
    for text in (*both, *(["a.npy"] if given == "npy" else [])):
        assert text in str(caught.value)


def test_open_axes_take_any_size(one_conv):
    assert fed(one_conv(("n", 3, "h", "w")), np.zeros((1, 3, 9, 2), np.float32))[1][0].shape == (1, 3, 9, 2)


@pytest.mark.parametrize("array", [np.array([["a"]]), np.zeros((1, 3, 4, 4), complex), np.zeros((1, 3, 4, 4), bool)])
def test_other_element_types(one_conv, array):
    model = one_conv((1, 3, 4, 4))
    if array.dtype == bool:
        assert fed(model, array)[1][0].dtype == np.float32
    else:
        with pytest.raises(InputError):
            fed(model, array.reshape(1, 1, 1, 1) if array.dtype.kind == "U" else array)


def test_numbers_with_a_fraction_for_an_integer_input(one_conv):
    with pytest.raises(InputError, match=r"float32.*uint8"):
        fed(one_conv((1, 3, 4, 4), dtype=TensorProto.UINT8), np.zeros((1, 3, 4, 4), np.float32))


def test_an_empty_array(one_conv):
    with pytest.raises(InputError, match="empty"):
        fed(one_conv(("n", 3, 4, 4)), np.zeros((0, 3, 4, 4), np.float32))


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.npy", b"hello", r"a\.npy is not a \.npy array"),
        ("a.npy", b"", r"a\.npy is not a \.npy array"),
        ("a.npz", b"hello", r"a\.npz is not a \.npz archive"),
        ("a.npz", b"", r"a\.npz is not a \.npz archive"),
        ("a.npy", None, r"there is no file .*a\.npy"),
        ("a.npz", None, r"there is no file .*a\.npz"),
        ("a.jpg", None, r"there is no file .*a\.jpg"),
    ],
)
def test_files_that_are_not_what_their_name_says(one_conv, tmp_path, name, content, match):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=match):
        fed(one_conv((1, 3, 4, 4)), str(tmp_path / name))


def test_archives_and_arrays_under_each_others_name(one_conv, tmp_path):
    model = one_conv((1, 3, 4, 4))
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 3, 4, 4)))
    shutil.copy(tmp_path / "x.npz", tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"archive.*name it \.npz"):
        fed(model, tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((1, 3, 4, 4)))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(InputError, match=r"single array.*name it \.npy"):
        fed(model, tmp_path / "b.npz")


def test_pickles_are_not_opened(one_conv, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    np.save(tmp_path / "a.npy", np.array([Trap()], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([Trap()], object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match=name):
            fed(one_conv((1, 3, 4, 4)), tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("cut", [40, 200, 600])
def test_truncated_arrays(one_conv, tmp_path, cut):
    np.save(tmp_path / "a.npy", np.zeros((4, 3, 4, 4), np.float32))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:cut])
    np.savez(tmp_path / "a.npz", x=RNG.random((4, 3, 4, 4), np.float32))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:cut])
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match=name):
            fed(one_conv(("n", 3, 4, 4)), tmp_path / name)


def test_an_archive_with_a_damaged_member(one_conv, tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=RNG.random((4, 3, 4, 4), np.float32))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[120:140] = bytes(20)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        fed(one_conv(("n", 3, 4, 4)), tmp_path / "a.npz")


# ---------------------------------------------------------------- names


def test_npz_is_keyed_by_input_name(one_conv, tmp_path):
    model = one_conv(("n", 3, 4, 4), name="pixels")
    array = RNG.random((2, 3, 4, 4))
    np.savez(tmp_path / "a.npz", pixels=array)
    _, arrays = fed(model, tmp_path / "a.npz")
    np.testing.assert_allclose(np.concatenate(arrays), array, rtol=1e-6)
    np.savez(tmp_path / "b.npz", other=array)
    with pytest.raises(InputError, match="'other'; it has pixels"):
        fed(model, tmp_path / "b.npz")


@pytest.mark.parametrize("how", ["npz", "names", "mapping", "mapping of paths"])
def test_several_inputs(two_inputs, tmp_path, how):
    left, right = RNG.random((2, 2, 3, 4, 4), np.float32)
    np.savez(tmp_path / "a.npz", left=left, right=right)
    np.save(tmp_path / "l.npy", left)
    np.save(tmp_path / "r.npy", right)
    given = {
        "npz": tmp_path / "a.npz",
        "names": [f"right={tmp_path / 'r.npy'}", f"left={tmp_path / 'l.npy'}"],
        "mapping": {"left": left, "right": right},
        "mapping of paths": {"left": tmp_path / "l.npy", "right": str(tmp_path / "r.npy")},
    }[how]
    maps = capture(two_inputs, given, at="conv")
    expected = ReferenceEvaluator(two_inputs_proto()).run(["sum"], {"left": left, "right": right})[0]
    np.testing.assert_allclose(maps["left_conv"] + maps["right_conv"], expected, rtol=1e-5, atol=1e-6)


def test_several_image_inputs(two_inputs, tmp_path):
    pixels = RNG.integers(0, 256, (2, 4, 4, 3), np.uint8)
    for side, image in zip(("left", "right"), pixels, strict=True):
        Image.fromarray(image).save(tmp_path / f"{side}.png")
    opened = load(two_inputs)
    given = [f"{side}={tmp_path / side}.png" for side in ("left", "right")]
    (sample,) = samples(opened, given, ImageOptions.of(opened))
    for side, image in zip(("left", "right"), pixels, strict=True):
        np.testing.assert_allclose(sample.read()[side], transposed(image) / 255, rtol=1e-6)


def test_inputs_of_different_lengths_stay_together(two_inputs):
    opened = load(two_inputs)
    given = {"left": np.zeros((2, 3, 4, 4), np.float32), "right": np.zeros((1, 3, 4, 4), np.float32)}
    (sample,) = samples(opened, given, ImageOptions.of(opened))
    assert [array.shape[0] for array in sample.read().values()] == [2, 1]


def test_one_of_two_inputs_serves_the_layers_it_feeds(two_inputs):
    left = RNG.random((1, 3, 4, 4), np.float32)
    assert capture(two_inputs, {"left": left}, layers="left_conv", at="conv")["left_conv"].shape == (1, 2, 4, 4)
    with pytest.raises(InputError, match=r"needs right.*NAME=PATH"):
        capture(two_inputs, {"left": left})


@pytest.mark.parametrize("given", ["photo.png", "a.npy", np.zeros((1, 3, 4, 4), np.float32)], ids=str)
def test_two_inputs_must_be_told_apart(two_inputs, photo, tmp_path, given):
    np.save(tmp_path / "a.npy", np.zeros((1, 3, 4, 4), np.float32))
    with pytest.raises(InputError, match=r"2 inputs \(left, right\): give each as NAME=PATH"):
        capture(two_inputs, str(tmp_path / given) if isinstance(given, str) else given)


def test_a_name_that_is_no_input(two_inputs, photo):
    with pytest.raises(InputError, match="'middle'; it has left, right"):
        capture(two_inputs, f"middle={photo}")
    with pytest.raises(InputError, match="'middle'; it has left, right"):
        capture(two_inputs, {"middle": np.zeros(3)})


def test_names_and_plain_paths_do_not_mix(one_conv, photo):
    with pytest.raises(InputError, match="NAME=PATH, or none"):
        fed(one_conv((1, 3, 8, 6)), [f"x={photo}", str(photo)])


def test_an_input_given_twice_is_not_dropped(one_conv, tmp_path):
    # Two photos for the one input: either both are fed or it is refused; a silent choice would lose one.
    for value in (1, 2):
        Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(tmp_path / f"{value}.png")
    try:
        _, arrays = fed(one_conv(("n", 3, 4, 4)), [f"x={tmp_path / '1.png'}", f"x={tmp_path / '2.png'}"])
    except InputError as error:
        assert "x" in str(error)  # noqa: PT017
    else:
        assert sum(len(array) for array in arrays) == 2


def test_a_path_with_an_equals_sign(one_conv, tmp_path):
    path = tmp_path / "a=b.png"
    Image.fromarray(PHOTO).save(path)
    assert fed(one_conv(("n", 3, 8, 6)), str(path))[0] == ["a=b.png"]


@pytest.mark.parametrize("given", [[], {}, 5, None, object()], ids=["list", "dict", "number", "None", "object"])
def test_nothing_and_nonsense(one_conv, given):
    with pytest.raises(InputError):
        fed(one_conv((1, 3, 8, 6)), given)


# ---------------------------------------------------------------- folders


def test_a_folder_gives_its_images_in_order_and_nothing_else(one_conv, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(["b.png", "a.jpg", "c.PNG", "0.webp", "z.gif"]):
        Image.fromarray(np.full((4, 4, 3), number * 50, np.uint8)).save(folder / name)
    for name in ("notes.txt", "model.onnx", "README", "a.npy", "d.png.part"):
        (folder / name).write_text("not an image")
    labels, arrays = fed(one_conv(("n", 3, 4, 4)), folder, preprocess="raw")
    assert labels == ["0.webp", "a.jpg", "b.png", "c.PNG", "z.gif"]
    np.testing.assert_allclose([array.mean() for array in arrays], [150, 50, 0, 100, 200], atol=2)


def test_a_folder_without_images(one_conv, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no images \(\.bmp"):
        fed(one_conv(("n", 3, 4, 4)), tmp_path / "empty")


def test_several_paths_follow_one_another(one_conv, tmp_path, photo):
    (tmp_path / "folder").mkdir()
    shutil.copy(photo, tmp_path / "folder" / "inside.png")
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 8, 6), np.float32))
    labels, _ = fed(one_conv(("n", 3, 8, 6)), [photo, str(tmp_path / "folder"), tmp_path / "a.npy"])
    assert labels == ["photo.png", "inside.png", "a.npy[0]", "a.npy[1]"]


@pytest.mark.parametrize(("batch", "count"), [("n", 1), ("n", 5), (1, 3), (2, 5), (4, 1), (4, 3), (4, 8)])
def test_any_number_of_inputs_for_any_batch(one_conv, batch, count):
    array = RNG.random((count, 3, 4, 4), np.float32)
    path = one_conv((batch, 3, 4, 4))
    maps = capture(path, array)["conv"]
    expected = ReferenceEvaluator(one_conv_proto(("n", 3, 4, 4))).run(None, {"x": array})[0]
    assert maps.shape == (count, 2, 4, 4)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)


def test_images_are_read_when_they_are_fed_not_before(one_conv, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    opened = load(one_conv(("n", 3, 4, 4)))
    (sample,) = samples(opened, str(tmp_path / "bad.png"), ImageOptions.of(opened))
    with pytest.raises(InputError, match=r"bad\.png"):
        sample.read()
