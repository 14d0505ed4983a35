"""Defects of weights planted in the sample classifier: found just past the threshold, silent just short of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import zoo
from planted import MODELS, audited, changed, found, sample
from protos import normal, parsed

OWN = "W01,W02,W03,W08"


@pytest.mark.parametrize("name", ["classifier", "unet"])
def test_the_sample_models_are_healthy(name):
    assert audited(MODELS / f"{name}.onnx", OWN).passed == ("W01", "W02", "W03", "W08")


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_has_no_error(name):
    audit = audited(zoo.model(name), OWN)
    assert not [one for one in audit.findings if one.severity.value != "note"]
    assert not audit.not_run


# ---------------------------------------------------------------- W01


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("stored", "layer"),
    [("conv3.weight", "conv3"), ("dense.weight", "dense"), ("dense.bias", "dense"), ("bn4.running_var", "bn4")],
)
def test_one_value_that_is_not_finite(value, stored, layer):
    model = changed(sample(), stored, lambda values: np.put(values, 5, value))
    (one,) = audited(model, OWN).findings
    assert (one.code, one.severity.value, one.layer, one.value) == ("W01", "error", layer, 1.0)
    assert "1 of " in one.message


@pytest.mark.parametrize("count", [1, 3, 40])
def test_broken_filters_are_one_finding(count):
    def plant(values):
        values[10 : 10 + count, 0, 0, 0] = np.nan

    (one,) = audited(changed(sample(), "conv3.weight", plant), OWN).findings
    assert one.value == count
    assert one.channel == (10 if count == 1 else None)
    assert f"{count} of {96 * 64 * 9:,} weights" in one.message
    assert f"in {count} filters" in one.message


def test_the_largest_finite_number_is_finite():
    model = changed(sample(), "conv3.weight", lambda values: np.put(values, 5, np.finfo(np.float32).max))
    assert found(model, "W01") == []


def test_numbers_that_only_float64_holds_are_finite():
    """1e40 and 1e300 are beyond float32, but the model computes in float64."""
    weight, bias = normal(4, 3, 3, 3).astype(np.float64), np.array([1, 2, 3, 1e300])
    weight[1, 0, 0, 0] = 1e40
    text = "g (double[n,3,8,8] x) => (double[n,4,6,6] y) { y = Conv (x, w, b) }"
    assert found(parsed(text, w=weight, b=bias), "W01") == []
    (one,) = audited(parsed(text, w=weight, b=bias), "W05").findings
    assert (one.value, one.channel) == (1e300, 3)
    weight[2, 1, 1, 1] = np.inf
    (one,) = audited(parsed(text, w=weight, b=bias), "W01").findings
    assert (one.value, one.channel) == (1.0, 2)


def test_weights_of_half_precision_and_of_a_transposed_convolution():
    half = parsed(
        "g (float16[n,3,8,8] x) => (float16[n,4,6,6] y) { y = Conv (x, w) }",
        w=np.where(np.arange(108).reshape(4, 3, 3, 3) == 50, np.inf, 0.5).astype(np.float16),
    )
    (one,) = audited(half, "W01").findings
    assert one.channel == 50 // 27
    model = changed(sample("unet"), "up3.deconv.weight", lambda values: np.put(values, 0, np.nan))
    (one,) = audited(model, "W01").findings
    assert (one.layer, one.channel) == ("up3.deconv", 0)


# ---------------------------------------------------------------- W02


def scaled(share):
    """Filter 7 of `conv3` scaled so that, after its normalisation, it reaches this share of the tenth largest."""

    def plant(values):
        stored = {one.name: onnx.numpy_helper.to_array(one) for one in sample().graph.initializer}
        gain = np.abs(stored["bn3.weight"]) / np.sqrt(stored["bn3.running_var"] + 1e-5)
        reach = np.abs(values).max((1, 2, 3)) * gain
        usual = sorted(np.delete(reach, 7), reverse=True)[9]  # a tenth of 96 filters exceed it
        values[7] *= share * usual / reach[7]

    return changed(sample(), "conv3.weight", plant)


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.98e-3])
def test_a_dead_filter(share):
    (one,) = audited(scaled(share), OWN).findings
    assert (one.code, one.severity.value, one.layer, one.channel) == ("W02", "note", "conv3", 7)
    assert one.value == pytest.approx(share, rel=1e-3)
    assert "1 of 96 filters are dead" in one.message


def test_one_filter_that_stands_out_makes_no_others_dead():
    assert found(changed(sample(), "bn3.weight", lambda values: values.__setitem__(5, 40.0)), "W02") == []


def test_a_weak_filter_is_alive():
    assert found(scaled(1.02e-3), OWN) == []


@pytest.mark.parametrize("spread", [0.0, 0.5e-5, 0.98e-5])
def test_an_averaging_filter(spread):
    def plant(values):
        values[20] = 0.05
        values[20, 0, 0, 0] = 0.05 * (1 - spread)

    (one,) = audited(changed(sample(), "conv2.weight", plant), OWN).findings
    assert (one.code, one.severity.value, one.layer, one.channel) == ("W02", "note", "conv2", 20)
    assert one.value == pytest.approx(spread, abs=2e-7)  # float32


def test_nearly_averaging_is_not():
    def plant(values):
        values[20] = 0.05
        values[20, 0, 0, 0] = 0.05 * (1 - 1.05e-5)

    assert found(changed(sample(), "conv2.weight", plant), OWN) == []


LAYERS = ("conv2", "conv3", "conv4", "conv5", "conv1", "dense")


@pytest.mark.parametrize(
    ("count", "severity"), [(1, "note"), (2, "note"), (3, "warning"), (4, "warning"), (6, "warning")]
)
def test_layers_that_are_filled_in_are_one_finding(count, severity):
    """Of six layers: half of them make the weights of the model placeholders."""
    model = sample()
    for name in LAYERS[:count]:
        changed(
            model,
            f"{name}.weight",
            lambda values: np.broadcast_to(
                np.arange(1, len(values) + 1).reshape(-1, *[1] * (values.ndim - 1)), values.shape
            ),
        )
    (one,) = audited(model, OWN).findings
    assert (one.code, one.severity.value, one.value) == ("W02", severity, count / 6)
    assert one.layer == ("conv2" if severity == "note" else "")
    assert f"in {count} of 6 layers" in one.message
    assert ("placeholders" in one.message) == (severity == "warning")


def test_a_model_of_one_or_two_averages_is_meant():
    """Its weights are all equal, and it is no network whose weights were lost."""
    box = parsed(
        "g (float[n,3,16,16] x) => (float[n,3,12,12] y) { a = Conv <group = 3> (x, w) y = Conv <group = 3> (a, w) }",
        w=np.full((3, 1, 3, 3), 1 / 9, np.float32),
    )
    assert [(one.code, one.severity.value) for one in audited(box, "W02").findings] == [("W02", "note")]


# ---------------------------------------------------------------- W03


def beside(distance, sign=1.0, factor=2.5):
    """Filter 9 of `conv4` a multiple of filter 4, turned so that the directions are so far apart."""

    def plant(values):
        rows = values.reshape(len(values), -1).astype(np.float64)
        one = rows[4] / np.linalg.norm(rows[4])
        other = rows[9] - rows[9] @ one * one
        angle = 2 * np.arcsin(distance / 2)
        turned = np.cos(angle) * one + np.sin(angle) * other / np.linalg.norm(other)
        values[9] = (sign * factor * np.linalg.norm(rows[4]) * turned).reshape(values[9].shape)

    return changed(sample(), "conv4.weight", plant)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("distance", [0.0, 4e-4, 0.98e-3])
def test_a_copied_filter(distance, sign):
    (one,) = audited(beside(distance, sign), OWN).findings
    assert (one.code, one.severity.value, one.layer, one.channel) == ("W03", "note", "conv4", 9)
    assert one.value == pytest.approx(distance, abs=2e-7)
    assert ("flipped" in one.message) == (sign < 0)


def test_a_similar_filter_is_none():
    assert found(beside(1.02e-3), OWN) == []


def test_copies_are_counted_once_and_dense_rows_too():
    def plant(values):
        values[[3, 60, 90]] = values[11]

    (one,) = audited(changed(sample(), "conv3.weight", plant), OWN).findings
    assert "3 of 96 filters are copies" in one.message
    model = changed(sample(), "dense.weight", lambda values: values.__setitem__(2, 3 * values[7]))
    (one,) = audited(model, OWN).findings
    assert (one.code, one.layer, one.channel) == ("W03", "dense", 7)


def test_filters_of_other_channels_are_no_copies():
    weight = normal(6, 2, 3, 3)
    weight[3:] = weight[:3]  # the second group sees other channels
    grouped = parsed("g (float[n,4,8,8] x) => (float[n,6,6,6] y) { y = Conv <group=2> (x, w) }", w=weight)
    assert found(grouped, OWN) == []
    depthwise = parsed(
        "g (float[n,4,8,8] x) => (float[n,4,6,6] y) { y = Conv <group=4> (x, w) }",
        w=np.repeat(normal(1, 1, 3, 3), 4, 0),
    )
    assert found(depthwise, OWN) == []


# ---------------------------------------------------------------- W08


def gained(gain):
    """Channel 3 of `bn2` with this factor."""
    return changed(sample(), "bn2.weight", lambda values: values.__setitem__(3, gain * np.sqrt(variance() + 1e-5)))


def variance():
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in sample().graph.initializer}
    return float(stored["bn2.running_var"][3])


@pytest.mark.parametrize("gain", [1.01e3, 1e4, -1e6])
def test_a_large_factor(gain):
    (one,) = audited(gained(gain), "W08").findings
    assert (one.code, one.severity.value, one.layer, one.channel) == ("W08", "warning", "bn2", 3)
    assert one.value == pytest.approx(abs(gain), rel=1e-5)


def test_a_factor_that_is_large_enough():
    assert found(gained(0.99e3), "W08") == []


@pytest.mark.parametrize(
    ("value", "severity"),
    [(0.0, "note"), (0.9e-5, "note"), (-0.9e-5, "note"), (-1.1e-5, "error"), (-1.0, "error"), (1.1e-5, None)],
)
def test_variances_beside_epsilon(value, severity):
    model = changed(sample(), "bn2.running_var", lambda values: values.__setitem__(3, value))
    findings = audited(model, "W08").findings
    assert [(one.severity.value, one.channel) for one in findings] == ([(severity, 3)] if severity else [])


def test_the_configuration_moves_a_threshold(tmp_path):
    path = tmp_path / "onnxviz.toml"
    path.write_text("[audit.thresholds.W02]\nshare = 0.9e-3\n[audit.severities]\nW03 = 'warning'\n")
    assert found(scaled(0.98e-3), OWN, config=path) == []
    assert found(scaled(0.85e-3), OWN, config=path) == [("W02", "note")]
    assert found(beside(0.0), OWN, config=path) == [("W03", "warning")]
