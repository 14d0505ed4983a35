"""Activations and normalisations by hand: forms that no exporter of ours writes, and what only looks like one."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from onnxviz.model.layer import Layer
from onnxviz.model.model import load


def layer(body: str, inits: str = "", op: str = "Conv") -> Layer:
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n,3,8,8] x, float[n,4,8,8] other) => (float[n,4,8,8] y)
        <float half = {{0.5}}, float two = {{2.0}}, float one = {{1.0}}, float six = {{6.0}}, float three = {{3.0}},
         float zero = {{0.0}}, float most = {{-1.0}}, int64[2] spatial = {{2, 3}}, int64[1] channel = {{1}},
         int64[3] flat = {{0, 4, -1}} {inits}>
        {{ c = {op} (x, w) {body} }}
    """)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w"))
    return load(proto).layers[0]


@pytest.mark.parametrize(
    ("body", "tap"),
    [
        # factors that are the activation's own
        ("n = Neg (c) s = Softplus (n) a = Neg (s) y = Abs (a)", "a"),
        ("b = Mul (c, two) s = Softplus (b) a = Div (s, two) y = Abs (a)", "a"),
        ("b = Div (c, two) s = Elu (b) a = Mul (two, s) y = Abs (a)", "a"),
        ("b = Add (c, three) r = Relu (b) m = Min (r, six) a = Div (m, six) y = Abs (a)", "a"),
        ("q = Mul (c, c) p = Add (q, one) r = Sqrt (p) s = Add (c, r) a = Mul (s, half) y = Abs (a)", "a"),
        # and those that are not
        ("b = Mul (c, two) s = Softplus (b) a = Mul (s, two) y = Abs (a)", "s"),
        ("s = Sigmoid (c) p = Mul (c, s) a = Mul (p, half) y = Abs (a)", "p"),
        ("r = Relu (c) a = Mul (r, half) y = Abs (a)", "r"),
        ("b = Mul (c, two) r = Relu (b) a = Mul (r, half) y = Abs (a)", "r"),
        ("b = Add (c, three) r = Clip (b, zero, six) a = Div (r, two) y = Abs (a)", "r"),
        # exponentials and logarithms
        ("e = Exp (c) y = MaxPool <kernel_shape = [1, 1]> (e)", "e"),
        ("e = Exp (c) p = Add (e, one) a = Log (p) y = Abs (a)", "a"),
        ("n = Neg (c) e = Exp (n) p = Add (e, one) a = Reciprocal (p) y = Abs (a)", "a"),
        ("n = Neg (c) e = Exp (n) p = Add (e, one) a = Div (one, p) y = Abs (a)", "a"),
        ("s = Softmax <axis = 1> (c) a = Log (s) y = Abs (a)", "a"),
        # bounds
        ("a = Max (c, zero) y = Abs (a)", "a"),
        ("m = Max (c, most) a = Min (m, one) y = Abs (a)", "a"),
        ("r = Relu (c) a = Clip (r, , six) y = Abs (a)", "a"),
        ("r = Relu (c) a = Clip (r, zero, six) y = Abs (a)", "r"),  # two activations
        ("r = Relu (c) a = Relu (r) y = Abs (a)", "r"),
        # a leaky ReLU as a maximum; a PReLU as a sum
        ("b = Mul (c, half) a = Max (b, c) y = Abs (a)", "a"),
    ],
)
def test_the_end_of_an_activation(body: str, tap: str) -> None:
    assert layer(body).taps["activation"] == tap


_MEAN = "m = ReduceMean (c, spatial) d = Sub (c, m) q = Mul (d, d) v = ReduceMean (q, spatial) e = Add (v, half) "


@pytest.mark.parametrize(
    "body",
    [
        _MEAN + "s = Sqrt (e) z = Div (d, s) a = Relu (z)",
        _MEAN + "p = Pow (e, mhalf) z = Mul (d, p) g = Mul (z, two) a = Relu (g)",
        "m = GlobalAveragePool (c) d = Sub (c, m) q = Mul (d, d) v = GlobalAveragePool (q) e = Add (v, half) "
        "s = Sqrt (e) z = Div (d, s) a = Relu (z)",
        # filter response normalisation and its thresholded unit (Singh & Krishnan 2020)
        "q = Mul (c, c) v = ReduceMean (q, spatial) e = Add (v, half) s = Sqrt (e) z = Div (c, s) a = Max (z, zero)",
        # by a norm
        "n = ReduceL2 (c, channel) e = Max (n, half) z = Div (c, e) a = Relu (z)",
        "z = LpNormalization <axis = 1> (c) a = Relu (z)",
        "z = MeanVarianceNormalization (c) a = Relu (z)",
        "z = LRN <size = 3> (c) a = Relu (z)",
    ],
)
def test_normalisations_written_out(body: str) -> None:
    found = layer(body + " y = Abs (a)", ", float mhalf = {-0.5}")
    assert found.taps["activation"] == "a"
    assert found.activation.through[-1] in ("Relu", "Max")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("m = ReduceMean (c, spatial) s = Sigmoid (m) p = Mul (c, s) y = Relu (p)", "ReduceMean·Sigmoid·Mul follows"),
        ("m = ReduceMean (c, spatial) p = Mul (c, m) y = Relu (p)", "ReduceMean·Mul follows"),
        ("m = ReduceMean (c, spatial) p = Add (c, m) y = Relu (p)", "ReduceMean·Add follows"),
        ("m = AveragePool <kernel_shape = [1, 1]> (c) p = Sub (m, c) y = Relu (p)", "AveragePool·Sub follows"),
        ("s = Softmax <axis = 3> (c) p = Mul (c, s) y = Relu (p)", "Softmax·Mul follows"),
        ("r = Relu (c) p = Add (r, c) y = Relu (p)", "Relu·Add follows"),
        ("p = Add (c, other) y = Relu (p)", "Add joins another branch"),
        ("s = Sigmoid (other) p = Mul (c, s) y = Relu (p)", "Mul joins another branch"),
        ("z = InstanceNormalization (c, g, g) p = Mul (z, other) y = Relu (p)",
         "no activation behind InstanceNormalization: Mul joins another branch"),
        ("p = Round (c) y = Relu (p)", "Round follows"),
        ("q = Mul (c, c) y = Relu (q)", "Mul follows"),
        ("q = Div (one, c) y = Relu (q)", "Div follows"),
        ("a, b = Split <axis = 1, num_outputs = 2> (c) p = Mul (a, b) y = Relu (p)", "Mul follows"),
        ("a, b = Split <axis = 2, num_outputs = 2> (c) s = Sigmoid (b) y = Mul (a, s)", "Sigmoid·Mul follows"),
        ("t = Reshape (c, flat) y = Relu (t)", "Relu gives 'y', which is not (N, C, spatial…)"),
        ("y = Identity (c)", "nothing of the graph follows"),
    ],
)  # fmt: skip
def test_what_is_no_activation_of_the_layer_is_said(body: str, said: str) -> None:
    found = layer(body, ", float[4] g = {1.0, 1.0, 1.0, 1.0}")
    assert found.taps["activation"] == "c"
    assert found.tapped("activation") == f"the operator's own output: {said}"
    assert found.tapped("conv") == "the operator's own output"
    assert found.row()["activation"] == {"through": [], "ends": said}


def test_a_quantised_activation_of_several_nodes() -> None:
    """SiLU between pairs of QuantizeLinear and DequantizeLinear, as static quantisation writes it."""
    inits = ", float s = {0.1}, uint8 z = {100}"
    body = """
        q1 = QuantizeLinear (c, s, z) d1 = DequantizeLinear (q1, s, z)
        g = Sigmoid (d1) q2 = QuantizeLinear (g, s, z) d2 = DequantizeLinear (q2, s, z)
        p = Mul (d1, d2) y = Abs (p)
    """
    found = layer(body, inits)
    assert found.taps["activation"] == "p"
    assert found.activation.through == ("Sigmoid·Mul",)


def test_channels_last_in_between() -> None:
    body = """
        t = Transpose <perm = [0, 2, 3, 1]> (c) n = LayerNormalization (t, g) r = Gelu2 (n)
        b = Transpose <perm = [0, 3, 1, 2]> (r) y = Abs (b)
    """.replace("Gelu2", "Relu")
    found = layer(body, ", float[4] g = {1.0, 1.0, 1.0, 1.0}")
    assert found.taps["activation"] == "b"
    assert found.tapped("activation") == "after LayerNormalization, Relu"
