"""Checks of activations: defects planted in the sample classifier and in small networks, at and below the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from planted_images import audited, changed, classifier, crop_inputs, ending, findings, run, why_not_run
from protos import normal, parsed
from samples import UNET

from onnxviz.auditing.finding import Severity

X = crop_inputs(12)
LOGITS = run(classifier(), X)[0]
PEAKS = run(classifier(), X, "relu2")[0].max(axis=(0, 2, 3))
# exp of more is infinite in float32.
OVERFLOW = float(np.log(np.float32(np.finfo(np.float32).max)))


def overflowing(samples: int, past: float = 1.0005):
    """The classifier with an exponential of its logits that overflows on so many of the samples."""
    tops = np.sort(LOGITS.max(axis=1))[::-1]
    factor = OVERFLOW / tops[max(samples, 1) - 1] * (past if samples else 2 - past)
    return ending(classifier(), "t = Mul (end, k) out = Exp (t)", k=np.float32(factor).reshape(()))


@pytest.mark.parametrize("samples", [1, 6, 12])
def test_a_value_that_is_not_finite(samples):
    (found,) = findings(overflowing(samples), X, "A01")
    assert (found.severity, found.where, found.value) == (Severity.ERROR, "planted_Exp", samples)
    assert f"outputs of {samples} of 12 samples" in found.message
    assert "it begins in Exp 'planted_Exp'" in found.message


def test_large_values_are_finite():
    assert not findings(overflowing(0), X, "A01")


def test_infinity_that_the_output_hides():
    made = parsed(
        "g (float[n,1,4,4] x) => (float[n,1,4,4] y) { c = Conv (x, w) y = Clip (c, low, high) }",
        w=np.full((1, 1, 1, 1), 1e30, np.float32), low=np.float32(0), high=np.float32(6),
    )  # fmt: skip
    x = np.ones((3, 1, 4, 4), np.float32)
    x[1] = 1e30
    made.graph.node[1].op_type = "HardSwish"
    del made.graph.node[1].input[1:]
    made.graph.node.extend(parsed("g (float[n,1,4,4] y) => (float[n,1,4,4] z) { z = Clip (y, low, high) }").graph.node)
    made.graph.output[0].name = "z"
    assert np.isfinite(run(made, x)[0]).all()
    (found,) = findings(made, x, "A01")
    assert "although the outputs are finite" in found.message
    assert "array[1]" in found.message
    assert found.layer


def test_broken_weights_are_named_as_such_and_broken_samples_left_out():
    made = changed(classifier(), conv2_weight=lambda w: np.where(np.arange(w.size).reshape(w.shape) == 5, np.nan, w))
    (found,) = findings(made, X[:2], "A01")
    assert (found.layer, found.do) == ("conv2", "its weights are not finite: see W01")
    x = X[:3].copy()
    x[1, 0, 0, 0] = np.nan
    assert not findings(classifier(), x, "A01")
    assert "all hold NaN" in why_not_run(classifier(), x[1:2], "A01")


def test_samples_that_the_model_cannot_run_do_not_count():
    """The largest value chooses among two factors; there is no sixth."""
    made = parsed(
        "g (float[n,1,2,2] x) => (float[n,1,2,2] y) "
        "{ c = Conv (x, w) m = ReduceMax <keepdims=0> (c) i = Cast <to=7> (m) k = Gather (table, i) y = Mul (c, k) }",
        w=np.ones((1, 1, 1, 1), np.float32), table=np.float32([1, np.inf]),
    )  # fmt: skip
    x = np.repeat(np.float32([0, 1, 5]), 4).reshape(3, 1, 2, 2)
    (found,) = findings(made, x, "A01")
    assert "outputs of 1 of 2 samples, first of array[1]" in found.message
    assert "no sample could be used" in why_not_run(made, x[2:], "A01")


def test_the_sample_is_named_whose_maps_are_not_finite():
    """Another tensor of all samples is infinite too, and a Clip hides it."""
    made = parsed(
        "g (float[n,1,2,2] x) => (float[n,1,2,2] y) { c = Conv (x, w) h = HardSwish (c) b = Clip (h, low, high) "
        "s = Mul (x, large) t = Mul (s, large) a = Clip (t, low, high) y = Add (a, b) }",
        large=np.float32(1e20), w=np.full((1, 1, 1, 1), 1e30, np.float32), low=np.float32(0), high=np.float32(6),
    )  # fmt: skip
    x = np.ones((3, 1, 2, 2), np.float32)
    x[2] = 1e30
    assert np.isinf(run(made, x, "t")[0]).all()
    assert np.isinf(run(made, x, "c")[0]).any(axis=(1, 2, 3)).tolist() == [False, False, True]
    (found,) = findings(made, x, "A01")
    assert "maps of array[2], although the outputs are finite: it begins in Conv" in found.message


def silent(channels: int):
    """The classifier with so many of the 32 channels of its first layer dead."""
    dead = np.arange(32) < channels
    return changed(classifier(), bn1_bias=lambda b: np.where(dead, np.float32(-1e4), b))


@pytest.mark.parametrize("channels", [17, 22, 26])
def test_dead_channels(channels):
    warned = [one for one in findings(silent(channels), X, "A02") if one.severity is Severity.WARNING]
    assert [(one.layer, one.value) for one in warned] == [("conv1", channels / 32)]
    assert f"of 32 channels {channels} dead on all 12 samples" in warned[0].message


def test_fewer_dead_channels_are_a_note():
    (found,) = findings(silent(16), X, "A02")
    assert (found.severity, found.where, found.value) == (Severity.NOTE, "conv1", 0.5)
    maps = run(silent(16), X, *(f"relu{layer}" for layer in range(1, 6)))
    dead = [(one.max(axis=(0, 2, 3)) == 0) for one in maps]
    layers, channels = sum(one.any() for one in dead), sum(one.sum() for one in dead)
    assert f"in {layers} of 5 layers" in found.message
    assert f": {channels} dead of {sum(map(len, dead))};" in found.message
    assert not findings(classifier(), X, "A02")


def test_seven_samples_are_too_few():
    assert "it needs 8, there are 7" in why_not_run(silent(17), X[:7], "A02")
    assert findings(silent(17), X[:8], "A02")


@pytest.mark.parametrize(
    ("activation", "bias", "kind"),
    [
        ("y = Clip (c, low, high)", 1e3, "saturated"),
        ("y = Sigmoid (c)", 1e3, "saturated"),
        ("y = Tanh (c)", -1e3, "saturated"),
        ("y = Relu (c)", -1e3, "dead"),
        ("y = LeakyRelu (c)", None, "constant"),
    ],
)
def test_kinds_of_silence(activation, bias, kind):
    weight = normal(4, 2, 1, 1)
    biases = np.zeros(4, np.float32)
    weight[1:3] *= 0 if bias is None else 1
    biases[1:3] = 0.7 if bias is None else bias
    made = parsed(
        f"g (float[n,2,5,5] x) => (float[n,4,5,5] y) {{ c = Conv (x, w, b) {activation} }}",
        w=weight, b=biases, low=np.float32(0), high=np.float32(6),
    )  # fmt: skip
    (found,) = findings(made, normal(9, 2, 5, 5), "A02")
    assert f"2 {kind} of 4" in found.message


@pytest.mark.parametrize(("bias", "kind"), [(-10, "saturated"), (-1e3, "dead"), (10, "saturated")])
@pytest.mark.parametrize("read", [False, True])
def test_a_score_that_says_nothing_is_there(bias, kind, read):
    """Every channel is at a bound: at 0 of a score that nothing reads, it is an answer."""
    follows = "r = Conv (s, v) y = Relu (r)" if read else "y = Identity (s)"
    made = parsed(
        f"g (float[n,2,5,5] x) => (float[n,4,5,5] y) {{ c = Conv (x, w, b) s = Sigmoid (c) {follows} }}",
        w=normal(4, 2, 1, 1) / 100, v=np.abs(normal(4, 4, 1, 1)), b=np.full(4, bias, np.float32),
    )  # fmt: skip
    found = [one for one in findings(made, normal(9, 2, 5, 5), "A02") if one.layer == "conv_0"]
    assert len(found) == (read or bias > 0)
    assert not found or f"4 {kind} on all 9" in found[0].message


def scaled(factor: float):
    """The classifier with the maps of its second layer times a factor, which the third takes back."""
    return changed(
        classifier(), bn2_weight=lambda w: w * np.float32(factor), bn2_bias=lambda b: b * np.float32(factor),
        conv3_weight=lambda w: w / np.float32(factor),
    )  # fmt: skip


@pytest.mark.parametrize("past", [1.001, 3, 100])
def test_beyond_float16(past):
    made = scaled(65504 / PEAKS.max() * past)
    np.testing.assert_allclose(run(made, X)[0], LOGITS, rtol=1e-3, atol=1e-4)
    (found,) = findings(made, X, "A03")
    assert (found.severity, found.layer, found.channel) == (Severity.WARNING, "conv2", int(PEAKS.argmax()))
    assert found.value == pytest.approx(65504 * past, rel=1e-4)


def test_within_float16():
    assert not findings(scaled(65504 / PEAKS.max() * 0.999), X, "A03")


def spread(largest: float):
    """Inputs of 1…1.4 through a layer that only copies them, but for one value in 2,500."""
    x = np.random.default_rng(3).uniform(1, 1.4, (10, 1, 50, 50)).astype(np.float32)
    x[:, 0, 7, 7] = -largest
    return x


COPY = parsed("g (float[n,1,50,50] x) => (float[n,1,50,50] y) { y = Conv (x, w) }", w=np.ones((1, 1, 1, 1), np.float32))


@pytest.mark.parametrize(
    ("largest", "severity"),
    # 99.9 % lie below 1.4, which is in the bin from 1 to 1.5.
    [(1.5 * 16.1, Severity.NOTE), (1.5 * 40, Severity.NOTE), (1.5 * 63.9, Severity.NOTE),
     (1.5 * 64.1, Severity.WARNING), (1.5 * 200, Severity.WARNING), (1.5 * 5000, Severity.WARNING)],
)  # fmt: skip
def test_outliers(largest, severity):
    (found,) = findings(COPY, spread(largest), "A04")
    assert (found.severity, found.channel) == (severity, 0)
    assert found.value == pytest.approx(largest / 1.5, rel=1e-5)


def test_few_outliers_are_no_finding():
    assert not findings(COPY, spread(1.5 * 15.9), "A04")
    assert not findings(classifier(), X, "A04")
    assert not findings(COPY, np.zeros((8, 1, 50, 50), np.float32), "A04")


def alike(apart: float):
    """The classifier whose third layer has one filter many times, one of them stronger by a part."""

    def copied(values):
        made = np.repeat(values[:1], len(values), axis=0)
        return made

    def stronger(values):
        made = copied(values)
        made[1] *= np.float32(1 + apart)
        return made

    best = int(run(classifier(), X, "relu3")[0].max(axis=(0, 2, 3)).argmax())

    def first(change):
        return lambda values: change(np.roll(values, -best, axis=0))

    return changed(
        classifier(), conv3_weight=first(copied), bn3_weight=first(stronger), bn3_bias=first(stronger),
        bn3_running_mean=first(copied), bn3_running_var=first(copied),
    )  # fmt: skip


@pytest.mark.parametrize("apart", [0.95e-4, 1e-5, 0])
def test_channels_that_are_all_alike(apart):
    (found,) = findings(alike(apart), X, "A05")
    assert (found.severity, found.layer) == (Severity.WARNING, "conv3")
    assert found.value == pytest.approx(apart, abs=2e-6)


@pytest.mark.parametrize("names", [("conv3",), ("conv3", "conv4"), ("conv2", "conv3", "conv4", "conv5")])
def test_layers_whose_filters_are_one_number_are_one_finding(names):
    """W02 says the cause: it is not told again for each layer."""
    made = classifier()
    for name in names:
        norm = name.replace("conv", "bn")
        same = {f"{norm}_{part}": lambda values: np.full_like(values, values.mean()) for part in
                ("weight", "running_var")}  # fmt: skip
        made = changed(
            made, **{f"{name}_weight": lambda values: np.full_like(values, 0.02)}, **same,
            **{f"{norm}_{part}": np.zeros_like for part in ("bias", "running_mean")},
        )  # fmt: skip
    (found,) = findings(made, X, "A05")
    assert (found.severity, found.layer, found.where in names) == (Severity.WARNING, "", True)
    assert f"in {len(names)} of 5 layers all channels are alike" in found.message


def test_channels_that_differ_a_little():
    assert not findings(alike(1.1e-4), X, "A05")
    assert not findings(classifier(), X, "A05")


def standardised(epsilon: float, nodes: str):
    """The classifier behind arithmetic on each image as a whole."""
    made = classifier()
    for node in made.graph.node:
        node.input[:] = ["prepared" if name == "image" else name for name in node.input]
    part = parsed(
        f"g (float[n,3,96,96] image) => (float[n,3,96,96] prepared) {{ {nodes} }}", eps=np.float32(epsilon),
        axes=np.array([1, 2, 3]), two=np.float32(2), one=np.float32(1),
    ).graph  # fmt: skip
    for node in part.node:
        node.name = f"planted_{node.output[0]}"
    kept = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*part.node, *kept])
    made.graph.initializer.extend(part.initializer)
    return made


SPREAD = (
    "m = ReduceMin (image, axes) h = ReduceMax (image, axes) s = Sub (h, m) c = Sub (image, m) d = Add (s, eps) "
    "prepared = Div (c, d)"
)
# Of −1…1: black is −1, white 1.
LARGEST = "u = Add (image, one) m = ReduceMax (u, axes) d = Add (m, eps) prepared = Div (u, d)"
BOTH = "a = Abs (image) r = Sub (one, a) m = ReduceMax (r, axes) d = Add (m, eps) prepared = Div (r, d)"


@pytest.mark.parametrize(
    ("nodes", "names"), [(LARGEST, "black"), (BOTH, "black, white"), (SPREAD, "black, grey, white")]
)
def test_plain_images_that_give_nan(nodes, names):
    (found,) = findings(standardised(0, nodes), None, "A07")
    count = names.count(",") + 1
    assert (found.severity, found.where, found.value) == (Severity.ERROR, "planted_prepared", count)
    assert f"for {count} of 3 plain images ({names})" in found.message
    assert not findings(standardised(1e-3, nodes), None, "A07")


def test_good_models_and_what_cannot_be_measured():
    assert not findings(classifier(), None, "A07")
    assert not findings(UNET, None, "A07", size=(64, 64))
    assert "no image can be made for it" in why_not_run(UNET, None, "A07")
    made = changed(classifier(), conv2_weight=lambda w: w * np.float32(np.nan))
    assert "noise gives NaN" in why_not_run(made, None, "A07")
    assert "0 inputs for pictures" in why_not_run(
        parsed("g (float[n,7] x) => (float[n,7] y) { y = Relu (x) }"), None, "A07"
    )


def test_a_good_model_has_no_findings():
    found = audited(classifier(), X, "A")
    assert not found.findings
    assert [one.code for one in found.not_run] == ["A06"]
