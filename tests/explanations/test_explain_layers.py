"""The layer of an explanation: chosen where positions are lost, or named."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from explained import DENSE, HEAD, ended
from protos import normal, parsed
from samples import CLASSIFIER, DOG

from onnxviz import explain, load
from onnxviz.errors import SelectionError
from onnxviz.explanations.explain import Explainer
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
