"""Element types of arrays: converted where nothing is lost, refused with both ranges where values would wrap."""

import re

import numpy as np
import pytest
from fed import RNG, fed
from onnx import TensorProto, helper

from onnxviz import InputError

INTEGERS = ["uint8", "int8", "uint16", "int16", "int32", "int64", "uint32", "uint64"]
TYPES = {name: helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in [*INTEGERS, "float16", "float32"]}


@pytest.mark.parametrize("wanted", INTEGERS)
@pytest.mark.parametrize("given", INTEGERS)
@pytest.mark.parametrize("source", ["array", "npy", "npz"])
def test_integers_of_any_type_are_converted_where_they_fit(one_conv, tmp_path, wanted, given, source):
    model = one_conv(("n", 1, 2, 2), dtype=TYPES[wanted])
    both = [np.iinfo(wanted), np.iinfo(given)]
    least, most = max(limits.min for limits in both), min(limits.max for limits in both)

    def feed(low, high):
        array = np.array([[[[low, high], [0, 1]]]], given)
        np.save(tmp_path / "a.npy", array)
        np.savez(tmp_path / "a.npz", x=array)
        return fed(model, array if source == "array" else tmp_path / f"a.{source}")

    _, (made,) = feed(least, most)
    assert made.dtype == wanted
    assert [int(value) for value in made.ravel()] == [least, most, 0, 1]
    for low, high in [(least - 1, 0), (0, most + 1)]:
        if not (both[1].min <= low and high <= both[1].max):
            continue
        match = (
            f"has values {min(low, 0)}…{max(high, 1)} ({given}); input 'x' takes {wanted}, {both[0].min}…{both[0].max}"
        )
        with pytest.raises(InputError, match=re.escape(match)):
            feed(low, high)


def test_300_is_not_44(one_conv):
    with pytest.raises(InputError, match=re.escape("the array has values 0…300 (int64); input 'x' takes uint8, 0…255")):
        fed(one_conv((1, 1, 1, 2), dtype=TensorProto.UINT8), np.array([[[[0, 300]]]]))


def test_a_mapped_file_is_checked_row_by_row(one_conv, tmp_path):
    rows = np.zeros((3, 1, 2, 2), np.int32)
    rows[1] = -7
    np.save(tmp_path / "a.npy", rows)
    model = one_conv(("n", 1, 2, 2), dtype=TensorProto.UINT8)
    with pytest.raises(InputError, match=r"input 'x' of a\.npy has values -7…-7 \(int32\); .*takes uint8, 0…255"):
        fed(model, tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("given", "wanted", "value"),
    [
        ("float64", "float32", 1e39),
        ("float64", "float32", -1e300),
        ("float32", "float16", 7e4),
        ("int32", "float16", 70_000),
    ],
)
def test_numbers_that_would_become_infinite_are_refused(one_conv, given, wanted, value):
    array = RNG.random((1, 1, 2, 2)).astype(given)
    model = one_conv((1, 1, 2, 2), dtype=TYPES[wanted])
    np.testing.assert_array_equal(fed(model, array)[1][0], array.astype(wanted))
    array[0, 0, 1, 1] = value
    with pytest.raises(InputError, match=rf"\({given}\); input 'x' takes {wanted}, -[\d.e+]+…[\d.e+]+$"):
        fed(model, array)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_was_not_finite_stays_so(one_conv, value):
    array = np.full((1, 1, 2, 2), value)
    np.testing.assert_array_equal(fed(one_conv((1, 1, 2, 2)), array)[1][0], array.astype(np.float32))


@pytest.mark.parametrize("given", ["float32", "float64", "complex64", "str"])
def test_other_kinds_of_numbers_are_none_for_an_integer_input(one_conv, given):
    with pytest.raises(InputError, match=r"the array has type .*; input 'x' takes uint8"):
        fed(one_conv((1, 1, 2, 2), dtype=TensorProto.UINT8), np.ones((1, 1, 2, 2), given))


def test_booleans_are_0_and_1(one_conv):
    array = np.array([[[[True, False]]]])
    _, (made,) = fed(one_conv((1, 1, 1, 2), dtype=TensorProto.UINT8), array)
    assert made.ravel().tolist() == [1, 0]
