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
