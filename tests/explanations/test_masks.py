"""Masks: what marks a position, and what is refused because nobody can tell."""

import re

import numpy as np
import pytest
from explained import FIRST, SEGMENTED, ended
from protos import normal

from onnxviz import explain
from onnxviz.errors import InputError
from onnxviz.explanations.masks import checked_mask, read_mask
from onnxviz.explanations.target import read_region

MARKED = np.array([[True, False, True], [False, False, True]])
LABELS = np.array([[3, 0, 3], [7, 0, 1]])

REFUSED = {
    "text": (MARKED.astype(str), r"holds text, not booleans or 0 and 1"),
    "bytes": (MARKED.astype(bytes), r"holds text, not booleans"),
    "complex": (MARKED.astype(complex), r"holds complex numbers, not booleans"),
    "dates": (np.zeros((2, 3), "datetime64[s]"), r"holds datetime64\[s\], not booleans"),
    "NaN": (np.where(MARKED, np.nan, 0), r"values other than 0 and 1 \(nan\): make it booleans"),
    "infinity": (np.where(MARKED, np.inf, 0), r"values other than 0 and 1 \(inf\): make it booleans"),
    "a fraction": (MARKED * 0.2, r"values other than 0 and 1 \(0\.2\): make it booleans"),
    "shades": (np.linspace(0, 1, 12), r"\(0\.0909091, 0\.181818, .* and 5 more\): make it booleans"),
    "-1": (np.where(MARKED, -1, 0), r"values other than 0 and 1 \(-1\): make it booleans"),
    "255": (MARKED * np.uint8(255), r"\(255\): say which, labels == 255"),
    "labels": (LABELS, r"values other than 0 and 1 \(3, 7\): say which, labels == 3"),
    "nothing": (np.zeros((0, 3)), r"is empty: 0x3"),
}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float16])
def test_booleans_and_0_and_1_are_masks(tmp_path, dtype):
    np.testing.assert_array_equal(checked_mask(MARKED.astype(dtype)), MARKED)
    np.save(tmp_path / "m.npy", MARKED.astype(dtype))
    for made in (read_mask(str(tmp_path / "m.npy")), read_region(f"{tmp_path}/m.npy")):
        assert made.dtype == bool
        np.testing.assert_array_equal(made, MARKED)


@pytest.mark.parametrize("case", REFUSED)
def test_what_else_is_in_a_mask_is_refused_with_its_values(tmp_path, case):
    values, match = REFUSED[case]
    with pytest.raises(InputError, match=rf"^the mask .*{match}") as caught:
        checked_mask(values)
    assert "\n" not in str(caught.value)
    np.save(tmp_path / "m.npy", values)
    with pytest.raises(InputError, match=rf"^the mask .*m\.npy .*{match}"):
        read_region(f"{tmp_path}/m.npy")


@pytest.mark.parametrize("label", [0, 1, 3, 7])
def test_one_label_of_several(tmp_path, label):
    np.save(tmp_path / "m.npy", LABELS)
    np.testing.assert_array_equal(read_region(f"{tmp_path}/m.npy={label}"), label == LABELS)
    np.save(tmp_path / "n.NPY", LABELS - 4)
    (tmp_path / "n.NPY.npy").rename(tmp_path / "n.NPY")
    np.testing.assert_array_equal(read_region(f"{tmp_path}/n.NPY={label - 4}"), label == LABELS)


def test_labels_that_there_are_not(tmp_path):
    np.save(tmp_path / "m.npy", LABELS)
    with pytest.raises(InputError, match=r"m\.npy has no label 2; it has 0, 1, 3, 7$"):
        read_region(f"{tmp_path}/m.npy=2")
    np.save(tmp_path / "m.npy", LABELS / 2)
    with pytest.raises(InputError, match=r"m\.npy holds float64, and labels are whole numbers"):
        read_region(f"{tmp_path}/m.npy=1")
    for text in ("m.npy=", "m.npy=x", "m.npy=1.5", "m.npy=1,2"):
        with pytest.raises(InputError, match=re.escape(f"{text}' is not a region; write all, argmax, TOP,LEFT")):
            read_region(text)


def test_files_that_are_no_masks(tmp_path):
    with pytest.raises(InputError, match=r"none\.npy cannot be read as a mask"):
        read_region(f"{tmp_path}/none.npy")
    (tmp_path / "m.npy").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"m\.npy cannot be read as a mask"):
        read_region(f"{tmp_path}/m.npy=3")
    np.savez(tmp_path / "a.npz", MARKED)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"a\.npy is an archive"):
        read_region(f"{tmp_path}/a.npy")


@pytest.mark.parametrize(
    ("region", "match"),
    [
        (np.full((8, 8), np.nan), r"the region has values other than 0 and 1 \(nan\)"),
        (np.full((8, 8), 3), r"the region has values other than 0 and 1 \(3\): say which"),
        (np.full((8, 8), "x"), "the region holds text"),
        ([[True] * 8, [True]], r"or a mask as region, not \[\[True"),
        ((0.5, 0, 3, 4), r"\(top, left, bottom, right\) in whole numbers or a mask as region, not \(0\.5, 0, 3, 4\)"),
        ((True, 0, 3, 4), "in whole numbers"),
    ],
)
def test_explanations_refuse_them_too(region, match):
    proto = ended(SEGMENTED + "y = Identity (z)", **FIRST)
    with pytest.raises(InputError, match=match):
        explain(proto, normal(3, 8, 8), method="saliency", region=region)


def test_a_label_is_summed_over_its_positions(tmp_path):
    proto, x = ended(SEGMENTED + "y = Identity (z)", **FIRST), normal(3, 8, 8)
    labels = np.random.default_rng(0).integers(0, 4, (8, 8))
    np.save(tmp_path / "m.npy", labels)
    by_file = explain(proto, x, method="saliency", class_=1, region=read_region(f"{tmp_path}/m.npy=3"))
    by_hand = explain(proto, x, method="saliency", class_=1, region=labels == 3)
    np.testing.assert_array_equal(by_file.map, by_hand.map)
    assert f"over a region of {(labels == 3).sum()} of 64 positions" in by_file.what
