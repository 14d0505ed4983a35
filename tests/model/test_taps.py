"""Which tensor is a layer's output, and how quantised ones are read."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
import specimens
import zoo
from onnx import numpy_helper

from onnxviz.model.graph import scopes, settled
from onnxviz.model.model import load
from onnxviz.model.taps import Quantization, quantization


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


def test_bounds_that_an_exporter_casts_to_the_tensors_type() -> None:
    """PyTorch without optimisation: Clip's bounds are CastLike(constant, x), two more readers of x."""
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n,3,8,8] x) => (float[n,4,6,6] y) <float low = {0.0}, float high = {6.0}, int64[1] one = {1}>
        {
            none = CastLike (low, x)
            size = Shape <start=0, end=1> (w)
            zeros = Expand (none, size)
            c = Conv (x, w, zeros)
            lo = CastLike (low, c)
            hi = CastLike (high, c)
            y = Clip (c, lo, hi)
        }
    """)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w"))
    layer = load(proto).layers[0]
    assert layer.taps["activation"] == "y"
    np.testing.assert_array_equal(layer.bias, np.zeros(4))


@pytest.mark.parametrize(("zero", "tap"), [(100, "r"), (0, "d")])
def test_rounding_between_a_convolution_and_its_activation(zero: int, tap: str) -> None:
    """Conv, Quantize, Dequantize, batch norm, Relu: the pair only rounds, unless it cuts at zero itself."""
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n,3,8,8] x) => (float[n,4,6,6] y) <float s = {{0.1}}, uint8 z = {{{zero}}}>
        {{
            c = Conv (x, w)
            q = QuantizeLinear (c, s, z)
            d = DequantizeLinear (q, s, z)
            b = BatchNormalization (d, v, v, v, v)
            r = Relu (b)
            y = Neg (r)
        }}
    """)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w"))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "v"))
    assert load(proto).layers[0].taps["activation"] == tap


def test_a_quantised_convolution_is_followed_to_its_float_activation() -> None:
    proto = zoo.model("quantized")
    nodes = {node.output[0]: node for node in proto.graph.node}
    nodes["p8"].input[0] = "pr"
    proto.graph.node.insert(4, onnx.helper.make_node("Relu", ["pd"], ["pr"]))
    assert load(proto).layer("q1").taps["activation"] == "a"  # a pooling comes first
    nodes["p"].op_type, nodes["p"].input[0] = "Identity", "a"
    del nodes["p"].attribute[:]
    assert load(proto).layer("q1").taps["activation"] == "pr"


def chain(layers: int) -> onnx.ModelProto:
    """Convolutions one after another, each with an instance normalisation written out and a SiLU."""
    body, last = "", "x"
    for i in range(layers):
        body += f"""
            c{i} = Conv ({last}, w) m{i} = ReduceMean (c{i}, s) d{i} = Sub (c{i}, m{i}) q{i} = Mul (d{i}, d{i})
            v{i} = ReduceMean (q{i}, s) e{i} = Sqrt (v{i}) z{i} = Div (d{i}, e{i}) g{i} = Sigmoid (z{i})
            a{i} = Mul (z{i}, g{i})
        """
        last = f"a{i}"
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n,4,8,8] x) => (float[n,4,8,8] y) <int64[2] s = {{2, 3}}> {{ {body} y = Neg ({last}) }}
    """)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w"))
    return proto


def test_work_grows_as_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how often a node is asked what it reads."""
    counts = []
    for layers in (50, 200):
        asked = []
        monkeypatch.setattr(settled, "reads", lambda node, asked=asked: asked.append(1) or scopes.reads(node))
        model = load(chain(layers))
        assert [layer.taps["activation"] for layer in model.layers] == [f"a{i}" for i in range(layers)]
        counts.append(len(asked))
    assert 0 < counts[1] <= 4.1 * counts[0]
    assert counts[1] < 10 * 9 * 200


@pytest.mark.parametrize(
    ("nodes", "scaled"),
    [
        ("c = Conv (x, w) b = BatchNormalization (c, v, v, v, v) y = Add (b, x)", "b"),
        ("y = Conv (x, w)", "y"),
        ("c = Conv (x, w) b = BatchNormalization (c, v, v, v, v) y = Relu (b) z = Sigmoid (b)", "b"),
        ("c = Conv (x, w) m = Mul (c, k) a = Add (m, k) y = Add (a, x)", "a"),
        ("c = Conv (x, w) y = Relu (c) z = Sigmoid (c)", "c"),
        ("c = Conv (x, w) b = BatchNormalization (c, v, v, v, v) y = Relu (b)", ""),
    ],
    ids=["batch norm, sum", "alone", "batch norm, two readers", "arithmetic, sum", "two readers", "an activation"],
)
def test_where_constant_factors_end_that_no_activation_follows(nodes: str, scaled: str) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[n,4,8,8] x) => (float[n,4,8,8] y'
        f"{', float[n,4,8,8] z' if ' z = ' in nodes else ''}) <float k = {{2.0}}> {{ {nodes} }}"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w"))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "v"))
    (layer,) = load(proto).layers
    assert layer.activation.scaled == scaled
    assert bool(layer.activation.through) is not bool(scaled)
