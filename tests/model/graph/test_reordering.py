"""Where the axes of a tensor went, against numpy: each axis has another size, so that sizes say which it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from onnxviz.model.graph.reordering import Arrangements, Reordering
from onnxviz.model.model import load

SIZES = (2, 3, 5, 1, 7)  # N, C and three spatial axes


def graph(body: str, inits: str = "") -> onnx.ModelProto:
    sizes = ",".join(map(str, SIZES))
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[{sizes}] x) => (float y) <int64[1] one = {{3}}, int64[1] last = {{-1}}, int64[2] both = {{0, 3}},
            int64[5] same = {{2, 3, 5, 1, 7}}, int64[3] flat = {{2, 3, -1}} {inits}>
        {{ {body} }}
    """)


def arrangement(proto: onnx.ModelProto, channels: int | None = 3) -> Reordering | None:
    model = load(proto)
    axes = Arrangements(model.scope, model.constants, "x", len(SIZES), channels)
    axes.pass_through(list(model.scope.graph.node))
    return axes.of("y")


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu (x)",
        "y = Transpose <perm = [0, 2, 3, 4, 1]> (x)",
        "a = Transpose <perm = [0, 2, 3, 4, 1]> (x) y = Transpose <perm = [0, 4, 1, 2, 3]> (a)",
        "y = Transpose (x)",
        "y = Squeeze (x, one)",
        "a = Squeeze (x, one) y = Transpose <perm = [0, 2, 3, 1]> (a)",
        "a = Squeeze (x, one) y = Unsqueeze (a, one)",
        "a = Squeeze (x, one) y = Unsqueeze (a, last)",
        "a = Unsqueeze (x, both) y = Squeeze (a, both)",
    ],
)
def test_orders(body: str) -> None:
    proto = graph(body)
    x = np.arange(np.prod(SIZES), dtype=np.float32).reshape(SIZES)
    y = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    found = arrangement(proto)
    assert found is not None
    order = tuple(range(len(SIZES))) if found.order is None else found.order
    assert y.shape == tuple(1 if axis < 0 else SIZES[axis] for axis in order)
    moved = [axis for axis in order if axis >= 0]
    gone = tuple(axis for axis in range(len(SIZES)) if axis not in moved)
    expected = x.squeeze(gone).transpose([sorted(moved).index(axis) for axis in moved])
    np.testing.assert_array_equal(expected.reshape(y.shape), y)
    assert found.as_made == (moved == sorted(moved) and order[1] == 1)
    assert y.shape[found.channel_axis] == SIZES[1]


@pytest.mark.parametrize(
    ("body", "reshaped"),
    [
        ("y = Reshape (x, flat)", True),
        ("a = Reshape (x, flat) y = Reshape (a, same)", False),
        ("s = Shape (x) a = Reshape (x, flat) y = Reshape (a, s)", False),
        ("s = Shape <start = 0, end = 2> (x) t = Shape <start = 2> (x) w = Concat <axis = 0> (s, t) "
         "a = Reshape (x, flat) y = Reshape (a, w)", False),
        ("a = Reshape (x, flat) y = Flatten (a)", True),
        ("a = Reshape (x, flat) y = Reshape (a, flat)", True),
    ],
)  # fmt: skip
def test_reshaping_and_back(body: str, reshaped: bool) -> None:
    found = arrangement(graph(body))
    assert found is not None
    assert found.reshaped == reshaped
    assert found.as_made != reshaped


def test_other_channels_are_not_those_from_before() -> None:
    found = arrangement(graph("a = Reshape (x, flat) y = Reshape (a, same)"), channels=5)
    assert found is not None
    assert found.reshaped


@pytest.mark.parametrize(
    ("body", "statistic"),
    [
        ("y = ReduceMean (x)", True),
        ("m = ReduceMean (x) y = Sub (x, m)", False),
        ("m = GlobalAveragePool (x) y = Exp (m)", True),
    ],
)
def test_statistics(body: str, statistic: bool) -> None:
    found = arrangement(graph(body))
    assert found is not None
    assert found.statistic == statistic


@pytest.mark.parametrize(
    "body",
    [
        "t = Transpose <perm = [0, 2, 1, 3, 4]> (x) y = Add (x, t)",  # two orders
        "a = Reshape (x, flat) y = Transpose <perm = [0, 2, 1]> (a)",
        "y = Tile (x, same)",
    ],
)
def test_what_cannot_be_told(body: str) -> None:
    assert arrangement(graph(body)) is None
