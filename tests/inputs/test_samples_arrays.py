"""Arrays and archives of arrays as inputs of a model."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fed import RNG, fed
from onnx import TensorProto

from onnxviz import InputError


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
