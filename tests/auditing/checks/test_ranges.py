"""Weights that lower precision cannot hold, planted in the sample classifier; integers whose products overflow."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import zoo
from oracles import untouched
from planted import MODELS, audited, changed, found, sample
from protos import normal, parsed
from quantised import UNSIGNED, folded, quantise

OWN = "W04,W05,W06,W07"
PHOTOS = [normal(1, 3, 96, 96, seed=seed) for seed in range(3)]


@pytest.mark.parametrize("name", ["classifier", "unet"])
def test_the_sample_models_are_healthy(name):
    assert audited(MODELS / f"{name}.onnx", OWN).passed == ("W04", "W05", "W06", "W07")


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_has_no_error(name):
    audit = audited(zoo.model(name), OWN)
    assert not [one for one in audit.findings if one.severity.value == "error"]
    assert not audit.not_run


# ---------------------------------------------------------------- W04


def ranges(ratio, weak):
    """A convolution of 32 filters of which some have a range so many times smaller than the others'."""
    weight = normal(32, 4, 3, 3).astype(np.float64)
    weight /= np.abs(weight).max((1, 2, 3), keepdims=True)
    weight[:weak] /= ratio
    return parsed(
        "g (float[n,4,8,8] x) => (float[n,32,6,6] y) { y = Conv (x, w) }",
        w=weight.astype(np.float32),
    ), weight


def noise_by_hand(weight):
    """Filter by filter in float64: power of what rounding to the steps of one int8 scale changes, over the power."""
    step = np.abs(weight).max() / 127
    shares = []
    for row in weight.reshape(len(weight), -1):
        steps = [min(127, max(-127, round(value / step))) for value in row.tolist()]
        shares.append(sum((v - s * step) ** 2 for v, s in zip(row, steps, strict=True)) / sum(v * v for v in row))
    return float(np.mean(shares))


@pytest.mark.parametrize(("ratio", "weak"), [(71, 4), (50, 16), (200, 4)])
def test_filters_that_one_scale_loses(ratio, weak):
    model, weight = ranges(ratio, weak)
    (one,) = audited(model, OWN).findings
    assert (one.code, one.severity.value) == ("W04", "warning")
    assert one.value == pytest.approx(noise_by_hand(weight), rel=1e-4)
    assert one.value > 0.02
    assert one.channel < weak


def test_filters_that_one_scale_keeps():
    model, weight = ranges(69, 4)
    assert 0.019 < noise_by_hand(weight) < 0.02
    assert found(model, OWN) == []


@pytest.mark.parametrize("ratio", [258, 500, 990])
def test_one_small_filter_among_many_is_a_note(ratio):
    weight = normal(160, 2, 3, 3).astype(np.float64)
    weight /= np.abs(weight).max((1, 2, 3), keepdims=True)
    weight[7] /= ratio
    text = "g (float[n,2,8,8] x) => (float[n,160,6,6] y) { y = Conv (x, w) }"
    (one,) = audited(parsed(text, w=weight.astype(np.float32)), OWN).findings
    assert (one.code, one.severity.value, one.channel) == ("W04", "note", 7)
    assert one.value == pytest.approx(ratio, rel=1e-5)
    weight[7] *= ratio / 250
    assert found(parsed(text, w=weight.astype(np.float32)), OWN) == []


def test_a_batch_normalisation_behind_counts_and_dead_filters_do_not():
    model = changed(
        sample(), "bn3.weight", lambda values: np.divide(values, 100, out=values, where=np.arange(96) % 3 == 0)
    )
    (one,) = audited(model, OWN).findings
    assert (one.code, one.severity.value, one.layer) == ("W04", "warning", "conv3")
    assert one.channel % 3 == 0
    dead = changed(sample(), "bn3.weight", lambda values: np.put(values, np.arange(0, 96, 3), 1e-9))
    assert found(dead, "W04") == []


def test_dead_is_what_the_configuration_calls_dead(tmp_path):
    """A filter 500 times smaller than the others is not, unless W02 is told to call it so."""
    weight = normal(160, 2, 3, 3)
    weight /= np.abs(weight).max((1, 2, 3), keepdims=True)
    weight[7] /= 500
    model = parsed("g (float[n,2,8,8] x) => (float[n,160,6,6] y) { y = Conv (x, w) }", w=weight)
    config = tmp_path / "onnxviz.toml"
    for share, expected in ((0.0019, ["W04"]), (0.0021, ["W02"])):
        config.write_text(f"[audit.thresholds.W02]\nshare = {share}\n")
        assert [code for code, _ in found(model, "W02,W04", config=config)] == expected


# ---------------------------------------------------------------- W05


@pytest.mark.parametrize("value", [65536.0, -7e4, 1e30])
@pytest.mark.parametrize(("stored", "place"), [("conv3.weight", 64 * 9 * 5), ("dense.bias", 5)])
def test_a_weight_beyond_half_precision(value, stored, place):
    model = changed(sample(), stored, lambda values: np.put(values, place, value))
    (one,) = audited(model, "W05").findings
    assert (one.severity.value, one.layer, one.channel) == ("warning", stored.partition(".")[0], 5)
    assert one.value == pytest.approx(abs(value))
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(value).astype(np.float16))


def test_the_largest_of_half_precision():
    assert np.isfinite(np.float16(65504.0))
    assert found(changed(sample(), "conv3.weight", lambda values: np.put(values, 9, 65504.0)), "W05") == []


def small(share):
    """So many weights of the classifier below 2^-14, in its largest layer."""
    stored = [one for one in sample().graph.initializer if one.name.endswith("weight") and len(one.dims) > 1]
    arrays = [np.frombuffer(one.raw_data, np.float32) for one in stored]
    there = sum(int(np.count_nonzero((np.abs(a) < 2.0**-14) & (a != 0))) for a in arrays)
    total = sum(a.size for a in arrays)
    wanted = round(share * total) - there

    def plant(values):
        flat = values.reshape(-1)
        flat[np.flatnonzero(np.abs(flat) >= 2.0**-14)[:wanted]] = 6e-5

    return changed(sample(), "conv5.weight", plant)


@pytest.mark.parametrize("share", [0.0505, 0.1, 0.3])
def test_many_subnormal_weights(share):
    (one,) = audited(small(share), "W05").findings
    assert (one.severity.value, one.layer) == ("note", "conv5")
    assert one.value == pytest.approx(share, abs=1e-5)


def test_few_subnormal_weights():
    assert found(small(0.0495), "W05") == []


# ---------------------------------------------------------------- W06


def paired(first, second, *, place=0, activation=np.uint8, kind=np.int8):
    """QLinearConv whose filter 1 has these weights at two neighbouring channels; `place` is the first's."""
    weight = np.zeros((2, 6, 1, 1), kind)
    weight[:] = 1
    weight[1, place, 0, 0], weight[1, place + 1, 0, 0] = first, second
    scale, zero = np.float32(0.1), np.array(3, activation)
    name = np.dtype(activation).name
    return parsed(
        f"g ({name}[n,6,4,4] x) => ({name}[n,2,4,4] y) {{ y = QLinearConv (x, s, z, w, s, wz, s, z) }}",
        s=scale, z=zero, w=weight, wz=np.array(0, kind),
    )  # fmt: skip


def saturates(first, second):
    """Whether any pair of uint8 activations takes the sum of two products out of 16 bits."""
    sums = [a * first + b * second for a in (0, 255) for b in (0, 255)]
    return min(sums) < -(2**15) or max(sums) > 2**15 - 1


@pytest.mark.parametrize(("first", "second"), [(65, 64), (127, 127), (-128, -128), (2, 127), (-64, -65)])
def test_pairs_that_saturate(first, second):
    assert saturates(first, second)
    (one,) = audited(paired(first, second), OWN).findings
    assert (one.code, one.severity.value, one.value) == ("W06", "warning", abs(first + second))


@pytest.mark.parametrize(
    "model",
    [
        paired(64, 64),
        paired(127, -128),
        paired(127, 127, place=1),  # two pairs: each of them with a small one
        paired(127, 127, activation=np.int8),
        paired(127, 127, kind=np.uint8),
    ],
    ids=["just short", "opposite signs", "not a pair", "int8 activations", "uint8 weights"],
)
def test_pairs_that_do_not_saturate(model):
    assert not saturates(64, 64)
    assert not saturates(127, -128)
    assert found(model, OWN) == []


def test_a_convolution_pairs_the_channels_of_a_position():
    """Channels 0 and 1 at one position saturate; two positions of one channel are not added at once."""
    for along, expected in ((1, 1), (3, 0)):
        weight = np.ones((1, 2, 1, 2), np.int8)
        weight[(0, slice(None), 0, 0) if along == 1 else (0, 0, 0)] = 120
        model = parsed(
            "g (uint8[n,2,4,4] x) => (uint8[n,1,4,3] y) { y = QLinearConv (x, s, z, w, s, wz, s, z) }",
            s=np.float32(0.1), z=np.uint8(3), w=weight, wz=np.int8(0),
        )  # fmt: skip
        assert len(found(model, "W06")) == expected, along


@pytest.mark.parametrize(("form", "activations"), [("QDQ", "QUInt8"), ("QDQ", "QInt8"), ("QOperator", "QUInt8")])
def test_models_of_onnxruntimes_quantiser(tmp_path, form, activations):
    """The sample classifier per channel, int8 weights: the pairs are counted by hand from the stored integers."""
    path = quantise(
        MODELS / "classifier.onnx", tmp_path / "q.onnx", PHOTOS, form=form, per_channel=True,
        types=(activations, "QInt8"),
    )  # fmt: skip
    (one,) = audited(path, "W06").findings
    total = 0
    stored = [one for one in onnx.load(path).graph.initializer if one.data_type == onnx.TensorProto.INT8]
    for tensor in [one for one in stored if len(one.dims) > 1]:
        rows = np.frombuffer(tensor.raw_data, np.int8).reshape(tensor.dims).astype(int)
        if rows.ndim == 2:
            rows = rows.T if rows.shape[0] != 11 else rows
        else:
            rows = rows.transpose(0, 2, 3, 1).reshape(len(rows), -1)
        for row in rows:
            total += sum(saturates(a, b) for a, b in zip(row[0::2], row[1::2], strict=False))
    assert f"{total:,} pairs" in one.message
    assert total > 1000


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize(
    ("types", "seven_bits"),
    [
        (("QUInt8", "QInt8"), False),
        (("QUInt8", "QInt8"), True),
        (("QInt8", "QInt8"), False),
        (("QInt8", "QInt8"), True),
        (UNSIGNED, False),
    ],
)
def test_what_this_processor_cuts_off_is_found(tmp_path, form, types, seven_bits, per_channel):
    """Against float32, of which an 8-bit version is some hundredths of the range away; nothing is cut off with VNNI."""
    plain = folded(MODELS / "classifier.onnx", tmp_path / "plain.onnx")
    path = quantise(
        plain, tmp_path / "q.onnx", PHOTOS, form=form, types=types, seven_bits=seven_bits, per_channel=per_channel
    )
    photos = {"image": np.concatenate(PHOTOS)}
    exact, made = (untouched(onnx.load(one), ["logits"], photos)["logits"] for one in (plain, path))
    cut_off = np.abs(made - exact).max() > 0.15 * np.ptp(exact)
    assert cut_off <= bool(audited(path, "W06").findings)


# ---------------------------------------------------------------- W07


@pytest.mark.parametrize(("count", "severity"), [(1, "note"), (125, "note"), (133, "warning"), (5000, "warning")])
def test_denormal_weights(count, severity):
    """conv5 has 129,024 weights: 129 are the thousandth part."""
    model = changed(sample(), "conv5.weight", lambda values: np.put(values, np.arange(count) * 7, 1e-39))
    (one,) = audited(model, "W07").findings
    assert (one.severity.value, one.layer, one.value) == (severity, "conv5", count / 129024)


def test_the_smallest_normal_number_and_zero():
    model = changed(sample(), "conv5.weight", lambda values: np.put(values, [1, 2, 3], [2.0**-126, 0.0, -(2.0**-126)]))
    assert found(model, "W07") == []


@pytest.mark.parametrize(("gain", "expected"), [(1e-38, 1), (1e-44, 1), (1e-30, 0)])
def test_weights_that_folding_makes_denormal(gain, expected):
    model = changed(sample(), "bn5.weight", lambda values: values.__setitem__(3, gain))
    findings = audited(model, "W07").findings
    assert len(findings) == expected
    assert all("folded" in one.message for one in findings)
