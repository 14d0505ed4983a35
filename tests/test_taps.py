"""Which tensor is a layer's output, and how quantised ones are read."""

from __future__ import annotations

import pytest
import specimens
import zoo

from onnxviz.model import load
from onnxviz.taps import Quantization, quantization


def taps(name: str) -> dict[str, tuple[str, str]]:
    return {layer.name: (layer.taps["conv"], layer.taps["activation"]) for layer in load(zoo.model(name)).layers}


def test_each_kind_of_activation() -> None:
    assert taps("activations") == {
        "silu": ("c1", "a1"),  # x·sigmoid(x), two readers of x
        "hardswish": ("c2", "a2"),  # x·relu6(x+3)/6
        "gelu": ("c3", "a3"),  # x·(1+erf(x/√2))/2
        "mish": ("c4", "a4"),  # x·tanh(softplus(x))
        "biased": ("c5", "a5"),  # a bias added outside
        "prelu": ("c6", "a6"),  # batch normalisation before it
        "linear": ("c7", "c7"),  # none
        "residual": ("c8", "c8"),  # the sum with another tensor is not this layer's
        "forked": ("c9", "c9"),  # read twice before any activation
        "last": ("c10", "y"),  # up to a graph output
    }


def test_a_graph_output_ends_the_layer() -> None:
    proto = zoo.model("activations")
    proto.graph.output.add(name="c10")
    assert load(proto).layer("last").taps["activation"] == "c10"


def test_quantised_graphs() -> None:
    assert taps("quantized") == {
        "q1": ("a", "a"),
        "q2": ("b", "b"),
        "i1": ("c", "z"),  # through Cast and the scale
        "q3": ("d", "w"),  # a quantisation that saturates at zero is a ReLU
    }


def test_a_quantisation_that_keeps_negative_values_is_no_activation() -> None:
    proto = zoo.model("quantized")
    zero = next(t for t in proto.graph.initializer if t.name == "rz")
    zero.ClearField("int32_data")
    zero.raw_data = b"\x08"
    assert load(proto).layer("q3").taps["activation"] == "d"


@pytest.mark.parametrize(
    ("tensor", "scale"),
    [("a", "ys"), ("p", "ys"), ("b", "ys2"), ("xq", "xs"), ("d", None), ("c", None), ("dq", "rs")],
)
def test_scale_of_a_quantised_tensor(tensor: str, scale: str | None) -> None:
    found = quantization(load(zoo.model("quantized")).scope, tensor)
    assert (found.scale if found else None) == scale
    assert found is None or isinstance(found, Quantization)


def test_light_densenet_reaches_its_relu() -> None:
    """Conv → batch norm → Mul and Add of Caffe's scale layer → Relu."""
    path = next(p for p in specimens.light() if "densenet" in p.stem)
    model = load(path)
    first = model.layers[0]
    assert model.scope.producers[first.taps["activation"]].op_type == "Relu"
