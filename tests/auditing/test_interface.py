"""Interfaces: every change of what a caller relies on, how much it matters, and nothing where nothing changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import zoo
from planted import sample

import onnxviz
from onnxviz.auditing.interface import Interface, Terminal, interface_changes

IMAGE = Terminal("image", "float32", ("n", 3, 96, 96))
MASK = Terminal("mask", "float32", ("n", 1, 96, 96))
SCORES = Terminal("scores", "float32", ("n", 3))
MADE = Interface((IMAGE, MASK), (SCORES,), {"scale": 1.0, "order": "RGB"}, ("cat", "dog", "fox"), {"": 18})


def shaped(*shape):
    return replace(MADE, inputs=(replace(IMAGE, shape=shape), MASK))


CHANGES = {
    "renamed": (replace(MADE, inputs=(replace(IMAGE, name="x"), MASK)), "error", "input 'image' is called 'x'"),
    "order": (replace(MADE, inputs=(MASK, IMAGE)), "error", "the inputs are in another order: mask, image, and were"),
    "gone": (replace(MADE, inputs=(IMAGE,)), "error", "input 'mask' is gone"),
    "more": (replace(MADE, outputs=(SCORES, MASK)), "error", "there is a new output 'mask', nx1x96x96 float32"),
    "type": (replace(MADE, outputs=(replace(SCORES, dtype="float16"),)), "error", "is float16, and was float32"),
    "rank": (shaped("n", 96, 96), "error", "is nx96x96, and was nx3x96x96"),
    "size": (shaped("n", 3, 96, 128), "error", "is nx3x96x128, and was"),
    "batch fixed": (shaped(1, 3, 96, 96), "error", "is 1x3x96x96, and was nx3x96x96"),
    "symbol": (shaped("batch", 3, 96, 96), "note", "names of open sizes alone"),
    "no symbol": (shaped(None, 3, 96, 96), "note", "names of open sizes alone"),
    "takes more": (shaped("n", 3, "h", "w"), "note", "it takes what it took, and more"),
    "gives other": (replace(MADE, outputs=(replace(SCORES, shape=("n", "k")),)), "error", "is nxk, and was nx3"),
    "not declared": (replace(MADE, inputs=(replace(IMAGE, shape=None), MASK)), "error", "is ?, and was"),
    "order of channels": (replace(MADE, preprocessing={"scale": 1.0, "order": "BGR"}), "error", "order is BGR, and"),
    "no preprocessing": (replace(MADE, preprocessing=None), "error", "does not say any more how images are prepared"),
    "one class renamed": (replace(MADE, classes=("cat", "wolf", "fox")), "error", "1 of 3 classes have another name"),
    "classes sorted": (replace(MADE, classes=("fox", "dog", "cat")), "error", "2 of 3 classes stand in another order"),
    "one class more": (replace(MADE, classes=(*MADE.classes, "owl")), "error", "name 4 classes, and named 3"),
    "no classes": (replace(MADE, classes=()), "error", "name 0 classes, and named 3"),
    "opset": (replace(MADE, opset={"": 21}), "warning", "operators of ONNX are of version 21, and were of 18"),
    "domain": (replace(MADE, opset={"": 18, "x": 1}), "warning", "operators of 'x' are of version 1, and were of none"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_one_line(name):
    after, severity, words = CHANGES[name]
    (found,) = interface_changes(MADE, after)
    assert found.severity.value == severity
    assert words in found.words
    assert found.where


def test_what_is_told_now_and_was_not():
    silent = replace(MADE, preprocessing=None, classes=())
    assert [one.severity.value for one in interface_changes(silent, MADE)] == ["note", "note"]


def test_two_changes_are_two_lines():
    after = replace(MADE, inputs=(replace(IMAGE, name="x", dtype="uint8"), MASK))
    assert [one.words for one in interface_changes(MADE, after)] == [
        "input 'image' is called 'x'", "input 'x' is uint8, and was float32",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["classifier", "unet", *zoo.NAMES])
def test_read_again_it_is_the_same(name):
    proto = zoo.model(name) if name in zoo.NAMES else sample(name)
    found = Interface.of(onnxviz.load(proto))
    again = Interface.read(json.loads(json.dumps(found.as_dict())))
    assert list(interface_changes(found, again)) == []
    assert [one.name for one in again.inputs] == [one.name for one in found.inputs]
