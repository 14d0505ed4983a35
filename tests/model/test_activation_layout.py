"""Activations that are channels-last can be tapped as their convolution has its axes; nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from oracles import untouched

import onnxviz
from onnxviz.model.model import load
from onnxviz.runtime.session import Session

HEAD = '<ir_version: 8, opset_import: ["" : 18]>'


def channels_last(body: str, outputs: str = "float[n,5] y") -> onnx.ModelProto:
    proto = onnx.parser.parse_model(
        f"{HEAD} g (float[n,3,8,9] x) => ({outputs}) <int64[2] spatial = {{1, 2}}, int64[1] width = {{2}}> {{ {body} }}"
    )
    rng = np.random.default_rng(0)
    weights = {"w": (5, 3, 3, 3), "v": (5, 5, 3, 3)}
    for name, shape in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    return proto


POOLED = """
    c = Conv (x, w) r = Relu (c) d = Conv (r, v) t = Transpose <perm = [0, 2, 3, 1]> (d) a = Softsign (t)
    y = ReduceMean <keepdims = 0> (a, spatial)
"""
FIRST = POOLED.replace("t = Transpose <perm = [0, 2, 3, 1]> (d) a = Softsign (t)", "a = Softsign (d)")
X = np.random.default_rng(1).standard_normal((2, 3, 8, 9)).astype(np.float32)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """The same but for rounding: onnxruntime's optimisation is off for what is expected."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, strict=True)


def channels_first() -> onnx.ModelProto:
    proto = channels_last(FIRST)
    next(tensor for tensor in proto.graph.initializer if tensor.name == "spatial").CopyFrom(
        numpy_helper.from_array(np.array([2, 3]), "spatial")
    )
    return proto


def test_the_tap_is_as_the_convolution_and_the_model_gives_the_same() -> None:
    proto = channels_last(POOLED)
    model = load(proto)
    layer = model.layers[1]
    assert layer.tapped("activation") == "after Softsign"
    assert layer.output_shape == ("n", 5, 4, 5)
    maps = onnxviz.capture(model, X, verify=True)
    assert maps.observer_effect["max_abs_diff"] == 0
    expected = untouched(proto, ["a", "y"], {"x": X})
    close(maps[layer.name], expected["a"].transpose(0, 3, 1, 2))
    close(Session.of(model).run(["y"], {"x": X})[0], expected["y"])


def test_the_file_is_saved_as_it_was(tmp_path) -> None:
    proto = channels_last(POOLED)
    model = load(proto)
    assert len(model.proto.graph.node) == len(proto.graph.node) + 2
    saved = onnx.load(model.save(tmp_path / "saved.onnx"))
    assert [node.op_type for node in saved.graph.node] == [node.op_type for node in proto.graph.node]
    assert [layer.name for layer in load(saved).layers] == [layer.name for layer in model.layers]


def test_an_output_keeps_its_name_and_its_order() -> None:
    proto = channels_last("c = Conv (x, w) t = Transpose <perm = [0, 2, 3, 1]> (c) y = Sigmoid (t)", "float[n,h,w,5] y")
    model = load(proto)
    assert model.outputs[0].name == "y"
    maps = onnxviz.capture(model, X)
    expected = untouched(proto, ["y"], {"x": X})["y"]
    close(maps["conv_0"], expected.transpose(0, 3, 1, 2))
    close(Session.of(model).run(["y"], {"x": X})[0], expected)


def test_gradients_flow_through_the_tap() -> None:
    """Grad-CAM of the same network channels first, which has no Transpose."""
    one, other = (onnxviz.explain(load(proto), X[:1], layer=1, class_=2) for proto in CASES)
    np.testing.assert_allclose(one.map, other.map, rtol=1e-5, atol=1e-7)
    assert one.map.max() > 0


def test_maximisation_climbs_the_activation() -> None:
    one, other = (onnxviz.maximize(load(proto), 1, filters=[3], steps=4, size=None) for proto in CASES)
    np.testing.assert_allclose(one.after, other.after, rtol=1e-4)
    assert one.after > one.before


CASES = (channels_last(POOLED), channels_first())


def test_a_line_without_its_axis_of_size_one_is_left() -> None:
    """tf2onnx's convolution along one axis: (N, C, L) is as good as (N, C, 1, L)."""
    body = "c = Conv (x, w) r = MaxPool <kernel_shape = [1, 7]> (c) y = Identity (r)"
    proto = channels_last(body, "float y")
    assert len(load(proto).proto.graph.node) == 3


def test_inside_a_branch() -> None:
    proto = onnx.parser.parse_model(f"""
        {HEAD} g (float[n,3,8,9] x, bool b) => (float y)
        {{ y = If (b) <
            then_branch = t () => (float p) {{
                c = Conv (x, w) t = Transpose <perm = [0, 2, 3, 1]> (c) a = Softsign (t) p = ReduceMean (a) }},
            else_branch = e () => (float q) {{ q = ReduceMean (x) }}> }}
    """)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((5, 3, 3, 3), np.float32), "w"))
    feeds = {"x": X, "b": np.array(True)}
    model = load(proto)
    maps = onnxviz.capture(model, feeds)
    inner = next(attribute.g for attribute in proto.graph.node[0].attribute if attribute.name == "then_branch")
    flat = onnx.ModelProto.FromString(proto.SerializeToString())
    flat.graph.node[0].CopyFrom(inner.node[0])
    flat.graph.node.extend(inner.node[1:])
    flat.graph.output[0].name = "p"
    del flat.graph.input[1:]
    expected = untouched(flat, ["a"], {"x": X})["a"]
    close(maps["conv_0"], expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("body", [FIRST, "c = Conv (x, w) t = Transpose <perm = [0, 2, 3, 1]> (c) y = MaxPool "
                                         "<kernel_shape = [1, 1]> (t)"])  # fmt: skip
def test_a_model_without_such_activations_is_as_it_was(body: str) -> None:
    proto = channels_last(body, "float y")
    assert [node.op_type for node in load(proto).proto.graph.node] == [node.op_type for node in proto.graph.node]
