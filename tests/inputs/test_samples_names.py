"""Inputs given by name, one of several or all of them."""

import numpy as np
import pytest
from fed import PHOTO, RNG, fed, transposed
from onnx.reference import ReferenceEvaluator
from PIL import Image
from protos import two_inputs_proto

from onnxviz import InputError, capture, load
from onnxviz.inputs.samples import ImageOptions, samples


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


# ---------------------------------------------------------------- folders and lists, by name


def pictures(folder, names, seed):
    """Photos of 4x4 in a folder; gives them in the order of their names."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(names), 4, 4, 3), np.uint8)
    for name, one in zip(names, pixels, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(folder / name)
    return dict(zip(names, pixels, strict=True))


@pytest.mark.parametrize("names", [["b.png", "a.png"], ["cats/1.png", "dogs/0.png", "cats/0.png"]])
@pytest.mark.parametrize("listed", [False, True])
def test_a_folder_for_a_named_input_is_what_it_is_anywhere_else(one_conv, tmp_path, names, listed):
    pictures(tmp_path / "photos", names, 1)
    given = tmp_path / "photos"
    if listed:
        given = tmp_path / "list.txt"
        given.write_text("".join(f"photos/{name}\n" for name in names))
    model = one_conv(("n", 3, 4, 4), name="photo")
    plain, named = fed(model, given), fed(model, [f"photo={given}"])
    assert plain[0] == named[0]
    assert len(named[0]) == len(names)
    for one, other in zip(plain[1], named[1], strict=True):
        np.testing.assert_array_equal(one, other)
    in_python, _ = fed(model, {"photo": given})
    assert in_python == named[0]


def test_folders_for_several_inputs_are_paired_by_the_names_of_their_images(two_inputs, tmp_path):
    left = pictures(tmp_path / "left", ["b.png", "a.png", "c/a.png"], 1)
    right = pictures(tmp_path / "right", ["c/a.bmp", "a.bmp", "b.bmp"], 2)
    opened = load(two_inputs)
    given = [f"{side}={tmp_path / side}" for side in ("left", "right")]
    found = samples(opened, given, ImageOptions.of(opened))
    assert [sample.label for sample in found] == ["a.png", "b.png", "c/a.png"]
    assert all(sample.batchable and sample.photo == str(tmp_path / "left" / sample.label) for sample in found)
    for sample in found:
        feeds = sample.read()
        np.testing.assert_allclose(feeds["left"], transposed(left[sample.label]) / 255, rtol=1e-6)
        np.testing.assert_allclose(
            feeds["right"], transposed(right[sample.label.replace("png", "bmp")]) / 255, rtol=1e-6
        )
    maps = capture(two_inputs, given, at="conv")
    together = {side: np.concatenate([sample.read()[side] for sample in found]) for side in ("left", "right")}
    expected = ReferenceEvaluator(two_inputs_proto()).run(["sum"], together)[0]
    np.testing.assert_allclose(maps["left_conv"] + maps["right_conv"], expected, rtol=1e-5, atol=1e-6)


def test_lists_for_several_inputs_are_paired_line_by_line(two_inputs, tmp_path):
    left, right = pictures(tmp_path, ["a.png", "b.png"], 1), pictures(tmp_path, ["x.png"], 2)
    np.save(tmp_path / "y.npy", RNG.random((3, 4, 4), np.float32))
    (tmp_path / "left.txt").write_text("b.png\na.png\n")
    (tmp_path / "right.txt").write_text("x.png\ny.npy\n")
    opened = load(two_inputs)
    given = {side: tmp_path / f"{side}.txt" for side in ("left", "right")}
    first, second = samples(opened, given, ImageOptions.of(opened))
    np.testing.assert_allclose(first.read()["left"], transposed(left["b.png"]) / 255, rtol=1e-6)
    np.testing.assert_allclose(first.read()["right"], transposed(right["x.png"]) / 255, rtol=1e-6)
    np.testing.assert_array_equal(second.read()["right"], np.load(tmp_path / "y.npy")[None])


def test_one_array_goes_with_every_image_of_a_folder(two_inputs, tmp_path):
    pictures(tmp_path / "left", ["a.png", "b.png"], 1)
    opened, one = load(two_inputs), RNG.random((1, 3, 4, 4), np.float32)
    found = samples(opened, {"left": tmp_path / "left", "right": one}, ImageOptions.of(opened))
    assert [sample.label for sample in found] == ["a.png", "b.png"]
    for sample in found:
        np.testing.assert_array_equal(sample.read()["right"], one)
    for rows in (2, 3):
        with pytest.raises(
            InputError, match=r"^input 'right' goes with each image of .*left: give one row, or as many as a list"
        ):
            samples(opened, {"left": tmp_path / "left", "right": np.repeat(one, rows, 0)}, ImageOptions.of(opened))


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (["a.png", "b.png"], ["a.png"], r"there are 2 for left in .*left and 1 for right in .*right"),
        (["a.png", "b.png"], ["a.png", "c.png"], r"by their names, and .*left has b.png where .*right has c.png: "),
        (["a/1.png"], ["b/1.png"], r"has a/1.png where .*right has b/1.png: call them alike, or give lists"),
    ],
)
def test_folders_that_do_not_belong_together_are_refused(two_inputs, tmp_path, left, right, said):
    pictures(tmp_path / "left", left, 1)
    pictures(tmp_path / "right", right, 2)
    with pytest.raises(InputError, match=said):
        capture(two_inputs, [f"{side}={tmp_path / side}" for side in ("left", "right")])


def test_a_folder_of_a_name_without_images_says_so(two_inputs, tmp_path):
    (tmp_path / "left").mkdir()
    with pytest.raises(InputError, match=r"the folder .*left has no images"):
        capture(two_inputs, {"left": tmp_path / "left", "right": tmp_path / "left"})


def test_rows_of_an_array_go_with_the_lines_of_a_list(two_inputs, tmp_path):
    left = pictures(tmp_path, ["a.png", "b.png"], 1)
    (tmp_path / "left.txt").write_text("b.png\na.png\n")
    opened, rows = load(two_inputs), RNG.random((2, 3, 4, 4), np.float32)
    found = samples(opened, {"left": tmp_path / "left.txt", "right": rows}, ImageOptions.of(opened))
    assert [sample.label for sample in found] == ["b.png", "a.png"]
    for sample, row in zip(found, rows, strict=True):
        np.testing.assert_array_equal(sample.read()["right"], row[None])
        np.testing.assert_allclose(sample.read()["left"], transposed(left[sample.label]) / 255, rtol=1e-6)
    with pytest.raises(InputError, match="as many as a list"):
        samples(opened, {"left": tmp_path / "left.txt", "right": np.repeat(rows, 2, 0)}, ImageOptions.of(opened))
