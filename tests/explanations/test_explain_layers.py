"""The layer of an explanation: chosen where positions are lost, or named."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from explained import DENSE, HEAD, ended
from protos import normal, parsed
from samples import CLASSIFIER, DOG

from onnxviz import explain, load
from onnxviz.errors import InputError, SelectionError
from onnxviz.explanations.explainer import Explainer
from onnxviz.explanations.layer_choice import choose_layer


def chosen(proto: onnx.ModelProto, x: np.ndarray) -> tuple[str, str]:
    explainer = Explainer(proto)
    case, _ = explainer.case({"x": x[None]})
    return choose_layer(case, None)


def test_the_last_tensor_before_positions_are_lost():
    x = normal(3, 8, 8)
    assert chosen(ended(HEAD + "y = Identity (z)", **DENSE), x)[1] == "r"
    end = " m = GlobalAveragePool (o) y = Flatten (m)"
    summed = ended("e = Conv <pads=[1,1,1,1]> (r, v) q = Add (e, r) o = Relu (q)" + end, v=normal(4, 4, 3, 3))
    assert chosen(summed, x)[1] == "o"
    grown = "e = Conv <pads=[1,1,1,1]> (r, v) q = Concat <axis=1> (r, e) o = Relu (q)"
    assert chosen(ended(grown + end, v=normal(2, 4, 3, 3)), x)[1] == "o"
    pooled = ended("p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r) m = GlobalAveragePool (p) y = Flatten (m)")
    assert chosen(pooled, x)[1] == "r"
    gated = ended(
        "p = GlobalAveragePool (r) e = Conv (p, v) s = Sigmoid (e) q = Mul (r, s) m = GlobalAveragePool (q)"
        " u = Conv (m, v) y = Flatten (u)",
        v=normal(4, 4, 1, 1),
    )
    assert chosen(gated, x)[1] == "q"
    swish = ended("e = Conv (r, v) s = Sigmoid (e) q = Mul (e, s) m = GlobalAveragePool (q) y = Flatten (m)",
                  v=normal(4, 4, 3, 3))  # fmt: skip
    assert chosen(swish, x)[1] == "q"


def test_a_layer_by_name_position_or_tensor():
    for layer, tensor in (("conv3", "relu3"), (2, "relu3"), ("relu2", "relu2"), ("bn1", "bn1"), ("pool1", "pool1")):
        assert explain(CLASSIFIER, DOG, layer=layer).tensor == tensor


def test_a_layer_of_another_inputs_branch_is_refused_and_never_chosen():
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(4, 3, 3, 3)).astype(np.float32) for name in "wv"}
    model = parsed(
        """m (float[n, 3, 8, 8] x, float[n, 3, 8, 8] y) => (float[n, 4] z) {
            a = Conv<pads=[1, 1, 1, 1]>(x, w)
            b = Conv<pads=[1, 1, 1, 1]>(y, v)
            s = Add(a, b)
            p = GlobalAveragePool(s)
            z = Flatten(p)
        }""",
        **weights,
    )
    fed = {name: rng.normal(size=(1, 3, 8, 8)).astype(np.float32) for name in "xy"}
    for wrt, place in (("x", 0), ("y", 1)):
        assert explain(model, fed, wrt=wrt, class_=1).layer == load(model).layer(place).name
    with pytest.raises(SelectionError, match="does not depend on input 'x', which is explained"):
        explain(model, fed, wrt="x", class_=1, layer=1)


def along_time(squeezed: bool) -> onnx.ModelProto:
    """A network of spectrograms: rows are weighed away, then it slides along columns, with or without their axis."""
    first = "q = Conv (x, v) s = Squeeze (q, two)" if squeezed else "s = Conv (x, v)"
    pads, axes = ("[1,1]", [2]) if squeezed else ("[0,1,0,1]", [2, 3])
    return parsed(
        f"g (float[n,3,8,16] x) => (float[n,5] y) {{ {first} c = Conv <pads={pads}> (s, w) r = Relu (c)"
        " m = ReduceMean <keepdims=0> (r, a) y = MatMul (m, d) }",
        v=normal(6, 3, 8, 1) / 5, w=normal(4, 6, *([3] if squeezed else [1, 3])), two=np.array([2]),
        a=np.array(axes), d=normal(4, 5),
    )  # fmt: skip


def test_score_cam_of_a_layer_with_fewer_axes_than_the_input():
    """The masks are those of the same layer with its axis of size 1 kept, and the map that of the paper's formula."""
    x, model = normal(3, 8, 16), along_time(squeezed=True)
    found = explain(model, x, method="score-cam")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    kept = onnx.ModelProto.FromString(model.SerializeToString())
    kept.graph.output.add(name="r")
    maps = onnxruntime.InferenceSession(kept.SerializeToString()).run(["r"], {"x": x[None]})[0][0].astype(np.float64)
    masks = [(one - one.min()) / (one.max() - one.min() + 1e-8) for one in maps]
    scores = [session.run(["y"], {"x": (x * mask).astype(np.float32)[None]})[0][0, found.class_] for mask in masks]
    weights = np.exp(scores - np.max(scores)) / np.exp(scores - np.max(scores)).sum()
    np.testing.assert_allclose(found.map, np.maximum(weights @ maps, 0), rtol=1e-5, atol=1e-6)
    whole = explain(along_time(squeezed=False), x, method="score-cam")
    np.testing.assert_allclose(found.map, whole.map[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.upsampled(), whole.upsampled(), rtol=1e-5, atol=1e-6)


def integers(per_channel: bool = False) -> onnx.ModelProto:
    """A convolution of integers (QOperator), and its numbers dequantised."""
    scale = np.array([0.02, 0.03, 0.04, 0.05], np.float32) if per_channel else np.float32(0.03)
    zero = np.array([130, 120, 110, 140], np.uint8) if per_channel else np.uint8(130)
    made = (
        "q = QuantizeLinear <axis=1> (f, s, z)"
        if per_channel
        else "q = QLinearConv <pads=[1,1,1,1]> (i, t, u, w, v, b, s, z)"
    )
    first = "f = Conv <pads=[1,1,1,1]> (x, k)" if per_channel else "i = QuantizeLinear (x, t, u)"
    kernel = normal(4, 3, 3, 3)
    return parsed(
        f"g (float[n,3,8,8] x) => (float[n,5] y) {{ {first} {made} r = DequantizeLinear <axis=1> (q, s, z)"
        " m = ReduceMean <keepdims=0> (r, a) y = MatMul (m, d) }",
        t=np.float32(0.04), u=np.uint8(120), k=kernel, w=np.rint(kernel * 40).astype(np.int8), v=np.float32(1 / 40),
        b=np.int8(0), s=scale, z=zero, **DENSE,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["score-cam", "eigen-cam"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_integers_are_read_as_the_numbers_they_stand_for(method, per_channel):
    x = normal(3, 8, 8)
    found, expected = (explain(integers(per_channel), x, method=method, layer=layer) for layer in ("q", "r"))
    assert found.map.any()
    np.testing.assert_allclose(found.map, expected.map, rtol=1e-6, atol=1e-7)


def test_integers_of_an_unknown_scale_are_refused():
    proto = parsed(
        "g (float[n,3,8,8] x) => (float[n,5] y) { c = Conv <pads=[1,1,1,1]> (x, k) i = Cast <to=6> (c)"
        " r = Cast <to=1> (i) m = ReduceMean <keepdims=0> (r, a) y = MatMul (m, d) }",
        k=normal(4, 3, 3, 3), **DENSE,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"the maps of 'i' are integers whose scale is not known: choose .* layer="):
        explain(proto, normal(3, 8, 8), method="score-cam", layer="i")
