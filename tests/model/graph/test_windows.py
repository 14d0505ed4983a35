"""Sliding windows, drawn at random: sizes and values of onnxruntime against a sum that is written out sample by sample.

ONNXVIZ_EXAMPLES sets how many are drawn of each operator; 75 by default.
"""

from __future__ import annotations

import ast
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from old_versions import AVERAGE_MISCOUNTS_PADS
from onnx import NodeProto, TensorProto, helper
from oracles import untouched

from onnxviz.model.graph.operators import Family, names
from onnxviz.model.graph.windows import Window, auto_pad, explicit_pads, kernel_of, with_pads
from onnxviz.model.model import load

PACKAGE = Path(__file__).resolve().parents[3] / "onnxviz"
drawn = settings(max_examples=int(os.environ.get("ONNXVIZ_EXAMPLES", "75")), deadline=None, derandomize=True)
MODES = ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]


def model_of(node: NodeProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    kind = TensorProto.INT32 if node.op_type == "ConvInteger" else TensorProto.FLOAT
    graph = helper.make_graph([node], "g", ports, [helper.make_tensor_value_info("y", kind, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)


def made(node: NodeProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What onnxruntime gives for one sample and one channel."""
    return np.asarray(untouched(model_of(node, feeds), ["y"], feeds)["y"])[0, 0]


@st.composite
def geometries(draw: st.DrawFn, dilated: bool = True) -> tuple[list[int], dict[str, Any]]:
    """Sizes of one or two axes, and the attributes of a window over them; every window fits."""
    rank = draw(st.integers(1, 2))
    mode = draw(st.sampled_from(MODES))
    axis = {
        "size": st.integers(3, 9), "kernel": st.integers(1, 4), "stride": st.integers(1, 3),
        "dilation": st.integers(1, 3 if dilated and not mode.startswith("SAME") else 1),
        "begin": st.integers(0, 2), "end": st.integers(0, 2),
    }  # fmt: skip
    rows = [{key: draw(value) for key, value in axis.items()} for _ in range(rank)]
    for row in rows:
        extent = (row["kernel"] - 1) * row["dilation"] + 1
        padded = row["size"] + (row["begin"] + row["end"] if mode == "NOTSET" else 0)
        assume(extent <= padded)
        assume(max(row["begin"], row["end"]) < row["kernel"])  # as poolings of onnxruntime ask
    attributes: dict[str, Any] = {
        "kernel_shape": [row["kernel"] for row in rows],
        "strides": [row["stride"] for row in rows],
        "dilations": [row["dilation"] for row in rows],
        "auto_pad": mode,
    }
    if mode == "NOTSET":
        attributes["pads"] = [row[side] for side in ("begin", "end") for row in rows]
    return [row["size"] for row in rows], attributes


def tuples(window: Window, sizes: list[int]) -> list[int]:
    """How many outputs there are along each axis."""
    rows = zip(sizes, window.begin, window.end, window.extents, window.strides, strict=True)
    return [(size + begin + end - extent) // stride + 1 for size, begin, end, extent, stride in rows]


def samples(window: Window, sizes: list[int], output: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(tap, sample) of each tap of one output's window that lies on the input."""
    found = []
    for tap in np.ndindex(*window.kernel):
        rows = zip(output, window.strides, tap, window.dilations, window.begin, strict=True)
        sample = tuple(i * s + t * d - b for i, s, t, d, b in rows)
        if all(0 <= place < size for place, size in zip(sample, sizes, strict=True)):
            found.append((tap, sample))
    return found


def random(*shape: int, dtype: type = np.float32) -> np.ndarray:
    rng = np.random.default_rng(len(shape))
    return rng.integers(1, 50, shape).astype(dtype)


@drawn
@given(geometries())
def test_convolutions(drawn_geometry: tuple[list[int], dict[str, Any]]) -> None:
    sizes, attributes = drawn_geometry
    x, w = random(1, 1, *sizes), random(1, 1, *attributes["kernel_shape"])
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    window = Window.of(node, attributes["kernel_shape"], sizes)
    assert window is not None
    expected = np.zeros(tuples(window, sizes), np.float32)
    for output in np.ndindex(*expected.shape):
        expected[output] = sum(w[0, 0][tap] * x[0, 0][sample] for tap, sample in samples(window, sizes, output))
    np.testing.assert_array_equal(made(node, {"x": x, "w": w}), expected)
    # The pads written out give the same.
    np.testing.assert_array_equal(made(with_pads(node, window), {"x": x, "w": w}), expected)
    for axis, size in enumerate(sizes):
        if window.keeps_size(axis):
            assert expected.shape[axis] == size
        for first in range(expected.shape[axis]):
            places = [
                tap * window.dilations[axis] + first * window.strides[axis] - window.begin[axis]
                for tap in range(window.kernel[axis])
            ]
            assert window.sees(axis, first, first) == (places[0], places[-1])


@settings(drawn, max_examples=25)
@given(geometries())
def test_integer_convolutions(drawn_geometry: tuple[list[int], dict[str, Any]]) -> None:
    """They share the geometry of Conv; ConvInteger is the one without scales."""
    sizes, attributes = drawn_geometry
    x, w = random(1, 1, *sizes, dtype=np.uint8), random(1, 1, *attributes["kernel_shape"], dtype=np.uint8)
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"], **attributes)
    window = Window.of(node, attributes["kernel_shape"], sizes)
    assert window is not None
    y = made(node, {"x": x, "w": w})
    assert list(y.shape) == tuples(window, sizes)
    for output in np.ndindex(*y.shape):
        assert y[output] == sum(int(w[0, 0][t]) * int(x[0, 0][s]) for t, s in samples(window, sizes, output))


@drawn
@given(geometries(), st.sampled_from(["MaxPool", "AveragePool", "LpPool"]), st.booleans(), st.booleans())
def test_poolings(drawn_geometry: tuple[list[int], dict[str, Any]], op: str, counted: bool, ceil: bool) -> None:
    sizes, attributes = drawn_geometry
    attributes = dict(attributes)
    if ceil and attributes["auto_pad"] == "NOTSET":
        attributes["ceil_mode"] = 1
    if op == "AveragePool":
        attributes["count_include_pad"] = int(counted)
        assume(not (counted and AVERAGE_MISCOUNTS_PADS))
    x = random(1, 1, *sizes)
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    window = Window.of(node, attributes["kernel_shape"], sizes)
    short = 0
    if attributes["auto_pad"].startswith("SAME"):  # samples that the strides leave out behind the last window
        rows = zip(sizes, attributes["strides"], attributes["kernel_shape"], strict=True)
        short = max((size - 1) % stride + 1 - kernel for size, stride, kernel in rows)
    assert (window is None) == (short > 1)
    assume(window is not None and not (op == "MaxPool" and short > 0))  # onnxruntime refuses its own negative pads
    y = made(node, {"x": x})
    shape = tuples(window, sizes)
    if "ceil_mode" in attributes:
        # A window that hangs over counts, unless it begins in the padding behind.
        rows = zip(sizes, window.begin, window.end, window.extents, window.strides, strict=True)
        up = [-(-(size + begin + end - extent) // stride) + 1 for size, begin, end, extent, stride in rows]
        ends = zip(up, window.strides, sizes, window.begin, strict=True)
        shape = [count - ((count - 1) * stride >= size + begin) for count, stride, size, begin in ends]
    assert list(y.shape) == shape
    grown, rests = window.covering(sizes, list(y.shape))
    assert all(0 <= rest < stride for rest, stride in zip(rests, window.strides, strict=True))
    assert tuples(grown, sizes) == shape
    for output in np.ndindex(*y.shape):
        values = [float(x[0, 0][sample]) for _, sample in samples(grown, sizes, output)]
        assume(values or op != "MaxPool")
        padded = [size + begin + end for size, begin, end in zip(sizes, window.begin, window.end, strict=True)]
        inside = samples(Window(window.kernel, window.strides, window.dilations, (0,) * len(sizes), ()), padded, output)
        if op == "MaxPool":
            assert y[output] == max(values)
        elif op == "LpPool":
            assert y[output] == pytest.approx(sum(value**2 for value in values) ** 0.5, rel=1e-5)
        elif values:
            assert y[output] == pytest.approx(sum(values) / len(inside if counted else values), rel=1e-5)


@st.composite
def transposed(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    """A transposed convolution that onnxruntime runs: the output is no larger than what the input reaches."""
    mode = draw(st.sampled_from(MODES))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    kernel = draw(st.integers(stride if mode.startswith("SAME") else 1, 4))
    size = draw(st.integers(2, 5))
    extra = draw(st.integers(0, stride - 1))
    reach = (size - 1) * stride + (kernel - 1) * dilation + 1
    attributes: dict[str, Any] = {
        "kernel_shape": [kernel], "strides": [stride], "dilations": [dilation], "auto_pad": mode,
        "output_padding": [extra],
    }  # fmt: skip
    if draw(st.booleans()):
        attributes["output_shape"] = [draw(st.integers(1, reach + extra))]
    elif mode == "NOTSET":
        pads = [draw(st.integers(0, 2)), draw(st.integers(0, 2))]
        assume(reach + extra > sum(pads))
        attributes["pads"] = pads
    return [size], attributes


@drawn
@given(transposed())
def test_transposed_convolutions(drawn_geometry: tuple[list[int], dict[str, Any]]) -> None:
    sizes, attributes = drawn_geometry
    x, w = random(1, 1, *sizes), random(1, 1, *attributes["kernel_shape"])
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    window = Window.of(node, attributes["kernel_shape"], sizes)
    assert window is not None
    (size,), (stride,), (dilation,), (extent,) = sizes, window.strides, window.dilations, window.extents
    full = np.zeros((size - 1) * stride + extent + window.rest[0], np.float32)
    reaching: dict[int, set[int]] = {}
    for sample, tap in itertools.product(range(size), range(window.kernel[0])):
        full[sample * stride + tap * dilation] += w[0, 0, tap] * x[0, 0, sample]
        reaching.setdefault(sample * stride + tap * dilation - window.begin[0], set()).add(sample)
    expected = full[window.begin[0] : len(full) - window.end[0]]
    y = made(node, {"x": x, "w": w})
    np.testing.assert_array_equal(y, expected)
    for output in range(len(y)):
        first, last = window.reached_from(0, output, output)
        assert all(first <= sample <= last for sample in reaching.get(output, ()))
        if dilation == 1 and reaching.get(output):
            assert (max(first, 0), min(last, size - 1)) == (min(reaching[output]), max(reaching[output]))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_onnxruntime_leaves_the_dilation_out_of_account(mode: str) -> None:
    """A known fault of onnxruntime 1.32: fewer outputs than the specification, as if the kernel were not dilated.

    Where this fails, onnxruntime may have been mended, and `fuse` need not write out the pads any more.
    """
    x = random(1, 1, 9)
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3], dilations=[2], auto_pad=mode)
    window = Window.of(node, [3])
    assert window is not None
    assert window.pads == [2, 2]
    assert tuples(window, [9]) == [9]
    assert made(node, {"x": x}).shape == (7,)
    assert made(with_pads(helper.make_node("Conv", ["x", "w"], ["y"], dilations=[2], auto_pad=mode), window),
                {"x": x, "w": random(1, 1, 3)}).shape == (9,)  # fmt: skip


def test_onnxruntime_takes_negative_padding_in_poolings() -> None:
    """A known fault of onnxruntime 1.32, for which no window is given: it begins at the second sample."""
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 6)
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[1], strides=[3], auto_pad="SAME_UPPER")
    assert made(node, {"x": x}).tolist() == [2, 5]
    assert Window.of(node, [1], [6]) is None


def node_of(op: str = "Conv", **attributes: Any) -> NodeProto:
    return helper.make_node(op, ["x", "w"], ["y"], **attributes)


def test_what_cannot_be_told() -> None:
    assert Window.of(node_of(auto_pad="SAME_UPPER", strides=[2, 1]), [3, 3]) is None
    assert Window.of(node_of(auto_pad="SAME_UPPER", strides=[2, 1]), [3, 3], ["h", 5]) is None
    known = Window.of(node_of(auto_pad="SAME_UPPER", strides=[2, 1]), [3, 4], [6, "w"])
    assert known is not None
    assert known.pads == [0, 1, 1, 2]
    for strange in (
        {"auto_pad": "SAME"}, {"pads": [1, 1, 1]}, {"strides": [1]}, {"dilations": [1, 1, 1]}, {"strides": [0, 1]},
    ):  # fmt: skip
        assert Window.of(node_of(**strange), [3, 3], [5, 5]) is None
    assert Window.of(node_of("ConvTranspose", output_shape=[9, 9]), [3, 3]) is None
    assert Window.of(node_of("ConvTranspose", output_shape=[9, 9]), [3, 3], [4, None]) is None
    stated = Window.of(node_of("ConvTranspose", output_shape=[1, 1, 8, 5]), [3, 3], [4, 4])
    assert stated is not None
    assert stated.rest == (2, 0)
    assert stated.pads == [0, 1, 0, 0]


def test_auto_pad_as_it_is_read() -> None:
    assert [auto_pad(node_of(**one)) for one in ({}, {"auto_pad": ""}, {"auto_pad": "VALID"})] == [
        "NOTSET",
        "NOTSET",
        "VALID",
    ]
    assert explicit_pads(node_of(auto_pad="VALID", pads=[3, 3]), 1) == (0, 0)
    assert explicit_pads(node_of(pads=[3, 4]), 1) == (3, 4)
    assert explicit_pads(node_of(), 2) == (0, 0, 0, 0)
    assert explicit_pads(node_of(auto_pad="SAME_LOWER"), 1) is None
    assert explicit_pads(node_of("ConvTranspose", output_shape=[5], auto_pad="VALID"), 1) is None


def test_the_kernel_is_stated_or_that_of_the_weight() -> None:
    shapes: dict[str, tuple[object, ...]] = {"w": (4, 3, 5, 7), "open": (4, 3, "k", 7)}
    assert kernel_of(node_of(kernel_shape=[3, 3]), shapes.get) == (3, 3)
    assert kernel_of(node_of(), shapes.get) == (5, 7)
    assert kernel_of(helper.make_node("Conv", ["x", "open"], ["y"]), shapes.get) is None
    assert kernel_of(helper.make_node("Conv", ["x", "strange"], ["y"]), shapes.get) is None
    assert kernel_of(helper.make_node("QLinearConv", [*"abcwefgh"], ["y"]), shapes.get) == (5, 7)
    assert kernel_of(helper.make_node("Relu", ["w"], ["y"]), shapes.get) is None


@pytest.mark.parametrize("op", ["MaxPool", "ConvTranspose"])
def test_the_table_of_layers_shows_the_pads(op: str) -> None:
    """Poolings with SAME had none, and a transposed convolution with VALID and `output_shape` had those of VALID."""
    if op == "MaxPool":
        node = helper.make_node(op, ["x"], ["y"], kernel_shape=[3], strides=[2], auto_pad="SAME_UPPER")
    else:
        node = helper.make_node(op, ["x", "w"], ["y"], strides=[2], auto_pad="VALID", output_shape=[10])
    feeds = {"x": random(1, 1, 6)} | ({"w": random(1, 1, 3)} if op == "ConvTranspose" else {})
    proto = model_of(node, feeds)
    if op == "ConvTranspose":
        proto.graph.initializer.append(onnx.numpy_helper.from_array(feeds["w"], "w"))
        del proto.graph.input[1]
    (layer,) = load(proto).all_layers
    assert layer.pads == ((0, 1) if op == "MaxPool" else (2, 1))


def test_windows_are_worked_out_in_one_place() -> None:
    """`auto_pad` is read, and SAME padding worked out, in model/graph/windows.py alone: ask `Window.of`."""
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "model" / "graph" / "windows.py":
            continue
        texts = {
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        }
        allowed = {"auto_pad"} if path.name == "layer.py" else set()  # the key of the JSON object
        read = texts & {"auto_pad", "SAME_UPPER", "SAME_LOWER", b"SAME_UPPER", b"SAME_LOWER", "SAME", b"SAME", b"VALID"}
        assert read <= allowed, f"{path.name} names {read}: ask model.graph.windows instead"


def test_every_window_of_onnx_is_tried_here() -> None:
    tried = {"Conv", "ConvInteger", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"}
    # QLinearConv has the attributes of ConvInteger, and its test of gradients and maps.
    assert names(Family.CONVOLUTION | Family.POOLING) == tried | {"QLinearConv"}
