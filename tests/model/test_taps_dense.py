"""Activation taps of dense layers: their bias and activation are theirs, as their framework has them."""

from __future__ import annotations

import io

import numpy as np
import onnxruntime as ort
import pytest
from protos import normal, parsed

import onnxviz

SHAPES = [(7,), (4, 7), (4, 5, 7)]


def answer(proto, x):
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return found


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore")  # the frameworks use what others deprecate
@pytest.mark.parametrize("shape", SHAPES)
def test_a_dense_layer_of_keras_is_extracted_as_keras_has_it(shape):
    keras = pytest.importorskip("keras")
    pytest.importorskip("tf2onnx")
    given = tensor = keras.Input(shape)
    for position, activation in enumerate(("relu", "gelu", None, "silu", "softmax")):
        dense = keras.layers.Dense(6, activation=activation, use_bias=activation != "silu", name=f"fc{position}")
        tensor = dense(tensor)
        if dense.use_bias:
            dense.bias.assign(normal(6))
        if activation is None:
            tensor = keras.layers.LayerNormalization()(tensor)
    model, x = keras.Model(given, tensor), normal(2, *shape)
    converted = onnxviz.convert(model)
    for layer in (layer for layer in model.layers if isinstance(layer, keras.layers.Dense)):
        truth = np.asarray(keras.Model(given, layer.output)(x))
        found = answer(onnxviz.extract(converted, layer.name).proto, x)
        np.testing.assert_allclose(found, truth, atol=1e-5, err_msg=layer.name)


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_a_linear_layer_of_pytorch_is_extracted_with_its_bias_and_activation(shape, dynamo):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    nn = torch.nn
    module = nn.Sequential(
        nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6), nn.Linear(6, 5), nn.Softmax(-1)
    ).eval()  # fmt: skip
    ends = (1, 3, 4, 6)  # of each layer the last module that is its
    x, buffer = torch.from_numpy(normal(2, *shape)), io.BytesIO()
    torch.onnx.export(module, (x,), buffer, dynamo=dynamo, **({"verbose": False} if dynamo else {}))
    model = onnxviz.load(buffer.getvalue())
    dense = [layer for layer in model.all_layers if layer.op in ("Gemm", "MatMul")]
    assert len(dense) == len(ends)
    for layer, end in zip(dense, ends, strict=True):
        truth = module[: end + 1](x).detach().numpy()
        found = answer(onnxviz.extract(model, layer.name).proto, x.numpy())
        np.testing.assert_allclose(found, truth, atol=1e-5, err_msg=layer.name)


@pytest.mark.parametrize(
    ("body", "tap", "through"),
    [
        ("m = MatMul (x, w) y = Add (m, b)", "y", ("Add",)),
        ("m = MatMul (x, w) y = Add (b, m)", "y", ("Add",)),
        ("m = MatMul (x, w) a = Add (m, b) y = Relu (a)", "y", ("Add", "Relu")),
        ("m = Gemm (x, w, b) y = Relu (m)", "y", ("Relu",)),
        ("m = MatMul (x, w) y = Add (m, one)", "m", ()),  # the same for each filter is none's bias
        ("m = MatMul (x, w) y = Add (m, rows)", "m", ()),  # a number for each row is a position's
        ("m = MatMul (x, w) y = Add (m, x)", "m", ()),  # a connection that skips the layer
        ("t = Transpose (w) p = Add (x, b) m = MatMul (x, p) y = Add (m, b)", "m", ()),  # no weight
    ],
)
def test_what_belongs_to_a_dense_layer(body, tap, through):
    proto = parsed(
        f"g (float[3,3] x) => (float[3,3] y) {{ {body} }}",
        w=normal(3, 3), b=normal(3), one=normal(1), rows=normal(3, 1),
    )  # fmt: skip
    layer = next(one for one in onnxviz.load(proto).all_layers if one.taps["conv"] == "m")
    assert (layer.taps["activation"], layer.activation.through) == (tap, through)
    assert layer.activation.activated is (tap == "y" and through[-1] == "Relu")


def test_the_last_axis_of_a_gate_is_split_and_no_other():
    """A gated linear unit halves the filters, which are the last axis whatever comes before."""
    for axis, through in ((-1, ("Sigmoid·Mul",)), (1, ())):
        proto = parsed(
            f"""g (float[n,4,6] x) => (float[n,a,b] y)
            {{ m = MatMul (x, w) p, q = Split <axis={axis}, num_outputs=2> (m) s = Sigmoid (q) y = Mul (p, s) }}""",
            w=normal(6, 6),
        )
        assert onnxviz.load(proto).layers_of(["MatMul"])[0].activation.through == through


def test_a_product_of_integers_is_followed_behind_the_factor_of_dynamic_quantisation():
    proto = parsed(
        """g (float[n,6] x) => (float[n,4] y) {
            i, s, z = DynamicQuantizeLinear (x) m = MatMulInteger (i, w, z) f = Cast <to=1> (m) r = Mul (f, s)
            a = Add (r, b) y = Relu (a) }""",
        w=np.ones((6, 4), np.int8), b=normal(4),
    )  # fmt: skip
    assert onnxviz.load(proto).layers_of(["MatMulInteger"])[0].taps["activation"] == "y"
