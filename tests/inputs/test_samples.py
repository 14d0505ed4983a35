"""What is fed to a model, from images and folders; the expected arrays are made by hand."""

import re
import shutil

import numpy as np
import onnx
import pytest
from fed import PHOTO, RNG, fed, transposed
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from PIL import Image
from protos import one_conv_proto

from onnxviz import InputError, Preprocessing, capture, load
from onnxviz.inputs.samples import ImageOptions, samples


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


def test_grey_and_four_channel_inputs(one_conv, photo, tmp_path):
    _, (array,) = fed(one_conv((1, 1, 8, 6)), photo, preprocess="raw")
    with Image.open(photo) as picture:
        np.testing.assert_array_equal(array[0, 0], np.asarray(picture.convert("L")))
    clear = np.dstack([PHOTO, PHOTO[..., 0]])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    _, (array,) = fed(one_conv((1, 4, 8, 6)), tmp_path / "clear.png", preprocess="raw")
    np.testing.assert_array_equal(array, transposed(clear))
    with pytest.raises(InputError, match=r"photo\.png has 3 channels \(RGB\), and the input takes 4 channels: give a"):
        fed(one_conv((1, 4, 8, 6)), photo)


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
    with pytest.raises(InputError, match="give size="):
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


@pytest.mark.parametrize("how", ["unit", "signed", "torch", "caffe", "scale=0.5,mean=70", "scale=0.99999"])
@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.INT8, TensorProto.INT64])
def test_what_would_be_rounded_is_refused_with_both_ranges(one_conv, photo, how, dtype):
    values = Preprocessing.parse(how).apply(PHOTO)
    name = Preprocessing.parse(how).name
    limits = np.iinfo(onnx.helper.tensor_dtype_to_np_dtype(dtype))
    match = (
        f"'{name}' gives fractions, {values.min():g}…{values.max():g}; input 'x' takes {limits.dtype}, whole numbers "
    )
    with pytest.raises(InputError, match=re.escape(match + f"{limits.min}…{limits.max}: give preprocess='raw'")):
        fed(one_conv((1, 3, 8, 6), dtype=dtype), photo, preprocess=how)


@pytest.mark.parametrize("how", ["scale=1,mean=128", "scale=0.00392156862745098,mean=0.5,std=0.00392156862745098"])
def test_whole_numbers_up_to_the_rounding_of_float32_are_integers(one_conv, photo, how):
    shifted = Preprocessing.parse(how)
    expected = np.rint(PHOTO.astype(np.float64) - (128 if shifted.scale == 1 else 127.5))
    if shifted.scale == 1:
        _, (array,) = fed(one_conv((1, 3, 8, 6), dtype=TensorProto.INT8), photo, preprocess=how)
        np.testing.assert_array_equal(array, transposed(expected))
    else:
        with pytest.raises(InputError, match="gives fractions"):
            fed(one_conv((1, 3, 8, 6), dtype=TensorProto.INT8), photo, preprocess=how)


def test_a_deep_picture_for_an_integer_input(one_conv, tmp_path):
    model = one_conv((1, 1, 2, 2), dtype=TensorProto.UINT8)
    levels = np.array([[0, 257], [1000, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"fractions, 0…255; input 'x' takes uint8, .*deep\.png has more than 8 bits"):
        fed(model, tmp_path / "deep.png")
    levels[1, 0] = 257 * 200  # 8 bits in 16: nothing is lost
    Image.fromarray(levels).save(tmp_path / "shallow.png")
    np.testing.assert_array_equal(fed(model, tmp_path / "shallow.png")[1][0].ravel(), [0, 1, 200, 255])
    wide = one_conv((1, 1, 2, 2), dtype=TensorProto.UINT16)
    levels[1, 0] = 1000
    Image.fromarray(levels).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(fed(wide, tmp_path / "deep.png", preprocess="scale=257")[1][0][0, 0], levels)


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
