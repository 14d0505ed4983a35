"""Checks of calibration: the sample classifier as onnxruntime quantises it, with scales and zero points put wrong."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from planted_images import audited, classifier, crop_inputs, ending, findings, why_not_run
from protos import parsed
from quantised import quantise

from onnxviz.auditing.finding import Severity

X = crop_inputs(12)


@pytest.fixture(scope="module", params=["QDQ", "QOperator"])
def calibrated(request, tmp_path_factory):
    """The sample classifier with a softmax, quantised by onnxruntime on crops that are prepared as it wants them."""
    folder = tmp_path_factory.mktemp(request.param)
    onnx.save(ending(classifier(), "out = Softmax (end)"), folder / "float.onnx")
    made = onnx.load(quantise(folder / "float.onnx", folder / "int8.onnx", [X], form=request.param))
    made.metadata_props.extend(classifier().metadata_props)
    return made


def moved(proto: onnx.ModelProto, tensor: str, factor: float = 1, zero: int | None = None) -> onnx.ModelProto:
    """The model with another scale, or zero point, of a tensor."""
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    seen = 0
    for one in made.graph.initializer:
        if one.name == f"{tensor}_scale":
            array = onnx.numpy_helper.to_array(one) * np.float32(factor)
        elif one.name == f"{tensor}_zero_point" and zero is not None:
            array = np.asarray(zero, onnx.numpy_helper.to_array(one).dtype)
        else:
            continue
        one.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array), one.name))
        seen += 1
    assert seen
    return made


def scale_of(proto: onnx.ModelProto, tensor: str) -> float:
    return next(float(onnx.numpy_helper.to_array(one)) for one in proto.graph.initializer
                if one.name == f"{tensor}_scale")  # fmt: skip


def test_what_was_calibrated_well(calibrated):
    assert not findings(calibrated, None, "A06")


@pytest.mark.parametrize("top", [0.899, 0.5, 0.05])
def test_a_softmax_that_cannot_be_sure(calibrated, top):
    before = scale_of(calibrated, "new/out") * 255
    (found,) = findings(moved(calibrated, "new/out", top / before), None, "A06")
    assert (found.severity, found.threshold) == (Severity.ERROR, 0.9)
    assert found.value == pytest.approx(top, rel=1e-5)
    assert not findings(moved(calibrated, "new/out", 0.901 / before), None, "A06")


@pytest.mark.parametrize("zero", [154, 200, 255])
def test_codes_that_a_relu_never_uses(zero):
    made = parsed(
        "g (float[n,3,4,4] x) => (float[n,3,4,4] y) "
        "{ r = Relu (x) q = QuantizeLinear (r, s, z) y = DequantizeLinear (q, s, z) }",
        s=np.float32(0.02), z=np.uint8(zero),
    )  # fmt: skip
    (found,) = findings(made, None, "A06")
    assert found.severity is Severity.WARNING
    assert found.value == pytest.approx((255 - zero) / 255)
    twin = moved_zero(made, 152)
    assert not findings(twin, None, "A06")


def moved_zero(proto, zero):
    made = onnx.ModelProto.FromString(proto.SerializeToString())
    for one in made.graph.initializer:
        if one.name == "z":
            one.CopyFrom(onnx.numpy_helper.from_array(np.asarray(np.uint8(zero)), "z"))
    return made


@pytest.mark.parametrize(
    ("node", "bounds"),
    [("Sigmoid (x)", (0, 1)), ("Tanh (x)", (-1, 1)), ("Clip (x, low, high)", (0, 6)), ("Softmax (x)", (0, 1))],
)
@pytest.mark.parametrize("width", [2.6, 4, 100])
def test_codes_beyond_the_bounds_of_an_operator(node, bounds, width):
    """Codes for `width` times what the operator gives."""
    span = bounds[1] - bounds[0]

    def made(times):
        scale = span * times / 255
        return parsed(
            f"g (float[n,3,4,4] x) => (float[n,3,4,4] y) {{ a = {node} q = QuantizeLinear (a, s, z)"
            " d = DequantizeLinear (q, s, z) y = Neg (d) }",
            s=np.float32(scale), z=np.uint8(max(0, round(-bounds[0] / scale))), low=np.float32(0), high=np.float32(6),
        )  # fmt: skip

    (found,) = findings(made(width), None, "A06")
    assert found.severity is Severity.WARNING
    step = span * width / 255
    codes = (np.arange(256) - max(0, round(-bounds[0] / step))) * step
    assert found.value == pytest.approx((min(codes[-1], bounds[1]) - max(codes[0], bounds[0])) / (span * width))
    assert not findings(made(2.4), None, "A06")


def test_symmetric_int8_is_right():
    made = parsed(
        "g (float[n,3,4,4] x) => (float[n,3,4,4] y) "
        "{ r = Relu (x) q = QuantizeLinear (r, s, z) y = DequantizeLinear (q, s, z) }",
        s=np.float32(0.02), z=np.int8(0),
    )  # fmt: skip
    assert not findings(made, None, "A06")


@pytest.mark.parametrize("factor", [0.89, 0.5, 1 / 255])
def test_an_input_that_is_cut_off(calibrated, factor):
    """The scale of images of 0…1, or of smaller ones, for those of −1…1."""
    whole = 2 / 255 / scale_of(calibrated, "image")
    found = findings(moved(calibrated, "image", factor * whole), None, "A06")
    assert [one.severity for one in found] == [Severity.WARNING]
    assert found[0].value == pytest.approx(factor, rel=0.03)
    assert "prepared as 'signed'" in found[0].message
    assert not findings(moved(calibrated, "image", 0.94 * whole), None, "A06")


@pytest.mark.parametrize("factor", [4.1, 20, 127.5])
def test_an_input_that_uses_few_codes(calibrated, factor):
    whole = 2 / 255 / scale_of(calibrated, "image")
    (found,) = findings(moved(calibrated, "image", factor * whole), None, "A06")
    assert (found.severity, found.threshold) == (Severity.WARNING, 0.25)
    assert found.value == pytest.approx(1 / factor, rel=1e-3)
    assert not findings(moved(calibrated, "image", 3.9 * whole), None, "A06")


def test_what_is_assumed_is_not_held_against_the_input(calibrated):
    made = moved(calibrated, "image", 100)
    del made.metadata_props[:]
    assert not findings(made, None, "A06")


def test_a_float_model_has_nothing_to_calibrate():
    assert why_not_run(classifier(), None, "A06") == "no activation is quantised"
    assert not audited(classifier(), None, "A06").passed
