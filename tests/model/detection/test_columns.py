"""What stands along an axis of a tensor, in graphs written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import untouched
from protos import normal, parsed

from onnxviz import load
from onnxviz.model.detection.columns import Part, columns

X = normal(3, 8, 8)


def model(body, output="float[n,k,l] y", **weights):
    stored = {"w": normal(6, 3, 1, 1), "v": normal(6, 3, 2, 2, seed=2), "flat": np.array([0, 6, -1]), **weights}
    proto = parsed(
        f"g (float[n,3,8,8] x) => ({output}) {{ a = Conv (x, w) b = Conv <strides=[2,2]> (x, v) {body} }}", **stored
    )
    return load(proto), proto


def told(opened, axis, tensor="y"):
    return [
        (piece.width, piece.link, [(part.tensor, part.axis, part.start, part.stop) for part in piece.parts])
        for piece in columns(opened, tensor, axis) or []
    ]


JOINED = "fa = Reshape (a, flat) fb = Reshape (b, flat) j = Concat <axis=2> (fa, fb) "
CASES = [
    # two strides, one below the other
    (JOINED + "y = Identity (j)", 1, [(6, "", [("a", 1, 0, 6), ("b", 1, 0, 6)])]),
    (JOINED + "y = Transpose <perm=[0,2,1]> (j)", 2, [(6, "", [("a", 1, 0, 6), ("b", 1, 0, 6)])]),
    # cut, and put together with a sigmoid on the second part
    (
        JOINED + "p, q = Split <axis=1> (j, cut) s = Sigmoid (q) y = Concat <axis=1> (p, s)",
        1,
        [(4, "", [("a", 1, 0, 4), ("b", 1, 0, 4)]), (2, "sigmoid", [("a", 1, 4, 6), ("b", 1, 4, 6)])],
    ),
    (
        JOINED + "t = Transpose <perm=[0,2,1]> (j) y = Slice (t, one, four, two)",
        2,
        [(3, "", [("a", 1, 1, 4), ("b", 1, 1, 4)])],
    ),
    # a softmax over all columns, of which the first is left out
    (
        "f = Reshape (a, flat) t = Transpose <perm=[0,2,1]> (f) p = Softmax <axis=2> (t) y = Slice (p, one, six, two)",
        2,
        [(5, "softmax", [("a", 1, 1, 6)])],
    ),
    # a softmax over a cut: what it makes of them, the wider tensor does not tell
    (
        "f = Reshape (a, flat) u, c = Split <axis=1> (f, cut) y = Softmax <axis=1> (c)",
        1,
        [(2, "softmax", [("c", 1, 0, 2)])],
    ),
    # arithmetic is where the walk ends
    (JOINED + "m = Mul (j, half) y = Identity (m)", 1, [(6, "", [("m", 1, 0, 6)])]),
    # positions in another order than the output's are no boxes of the same order
    ("t = Transpose <perm=[0,1,3,2]> (a) y = Reshape (t, flat)", 1, [(6, "", [("t", 1, 0, 6)])]),
]


@pytest.mark.parametrize(("body", "axis", "expected"), CASES)
def test_pieces_and_parts(body, axis, expected):
    """The pieces' values, linked and put side by side, are the tensor's own."""
    weights = {"cut": np.array([4, 2]), "one": np.array([1]), "four": np.array([4]), "six": np.array([6])}
    opened, proto = model(body, two=np.array([2]), half=np.float32(0.5), **weights)
    assert told(opened, axis) == expected
    pieces = columns(opened, "y", axis)
    names = [part.tensor for piece in pieces for part in piece.parts]
    values = untouched(proto, list(dict.fromkeys([*names, "y"])), {"x": X[None]})
    beside = []
    for piece in pieces:
        rows = np.concatenate([part.rows(values[part.tensor][0]) for part in piece.parts])
        if piece.link == "sigmoid":
            rows = 1 / (1 + np.exp(-rows))
        elif piece.link == "softmax":
            part = piece.parts[0]
            wide = np.moveaxis(values[part.tensor][0], part.axis - 1, -1).reshape(len(rows), -1)
            rows = np.exp(rows) / np.exp(wide).sum(axis=1, keepdims=True)
        beside.append(rows)
    expected_rows = values["y"][0].T if axis == 1 else values["y"][0]
    assert np.allclose(np.concatenate(beside, axis=1), expected_rows, rtol=1e-5, atol=1e-6)


def test_anchors_in_one_axis():
    part = Part("y", 1, 1, 3, split=2)
    values = normal(8, 3, 5)
    by_hand = values.reshape(2, 4, 15).transpose(0, 2, 1).reshape(-1, 4)[:, 1:3]
    assert np.array_equal(part.rows(values), by_hand)
    assert part.grid(values.shape) == (2, 3, 5)


def test_what_has_no_columns():
    opened, _ = model(JOINED + "y = Identity (j)")
    assert columns(opened, "y", 0) is None
    assert columns(opened, "y", 5) is None
    assert columns(opened, "nowhere", 1) is None


def test_a_long_way_back_ends_somewhere():
    """A chain of thousands of nodes, and concatenations that double each time."""
    chain = " ".join(f"t{n + 1} = Identity (t{n})" for n in range(3000))
    opened, _ = model(f"t0 = Reshape (a, flat) {chain} y = Identity (t3000)")
    assert len(columns(opened, "y", 1)) == 1
    doubled = " ".join(f"t{n + 1} = Concat <axis=1> (t{n}, t{n})" for n in range(14))
    opened, _ = model(f"t0 = Reshape (a, flat) {doubled} y = Identity (t14)")
    assert sum(piece.width for piece in columns(opened, "y", 1)) == 6 * 2**14
