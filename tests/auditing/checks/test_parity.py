"""Parity: drift planted at three strengths and just short of the threshold; a flip beyond rounding is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import zoo
from drifting import CLASSES, folding, images, outcome, scoring, unsteady
from planted_images import crop_inputs
from quantised import UNSIGNED, folded, halve, quantise
from samples import CLASSIFIER, MODELS, UNET

from onnxviz.auditing.audit import audit

PHOTOS = str(MODELS / "photos")
RUNNING = ["P02", "P03", "P04", "P06", "P10"]


def found(model, data, **options):
    """(code, severity) of each finding, and codes that were not run."""
    options.setdefault("select", RUNNING)
    result = audit(model, data, **options)
    return [(one.code, one.severity.value) for one in result.findings], {one.code for one in result.not_run}


def saved(proto: onnx.ModelProto, path: Path) -> str:
    onnx.save(proto, path)
    return str(path)


def noisy(seed: int = 0) -> np.ndarray:
    """Two samples (2, 4, 8, 8) with clear answers."""
    rough = np.random.default_rng(seed).uniform(-0.05, 0.05, (2, CLASSES, 8, 8)).astype(np.float32)
    return images(0.4).repeat(4, 2).repeat(4, 3) + rough


# ---------------------------------------------------------------- P02: another model, another provider


@pytest.mark.parametrize("margin", [0.00105, 0.02, 0.4])
def test_a_flip_beyond_rounding_is_an_error(margin: float, tmp_path: Path) -> None:
    right = saved(scoring(), tmp_path / "right.onnx")
    x = images(margin)
    result = audit(scoring(margin + 1e-5), x, against=right, select=["P02"])
    (one,) = result.findings
    assert (one.code, one.severity.value, one.threshold, one.where) == ("P02", "error", 1e-3, "array[0]")
    scores = [outcome(proto, x)[0] for proto in (scoring(), scoring(margin + 1e-5))]
    assert (scores[0].argmax(1) != scores[1].argmax(1)).sum() == 1
    ahead = np.sort(scores[0][0])[-1] - np.sort(scores[0][0])[-2]
    assert one.value == pytest.approx(ahead / np.ptp(scores[0]), rel=1e-4)
    assert f"1 of 2 have another class: one was ahead by {one.value:.2g}" in one.message


def test_a_flip_that_rounding_explains_is_a_note(tmp_path: Path) -> None:
    right = saved(scoring(), tmp_path / "right.onnx")
    assert found(scoring(0.00097), images(0.00095), against=right, select=["P02"]) == ([("P02", "note")], set())


@pytest.mark.parametrize("offset", [0.00105, 0.02, 0.3])
def test_drift_without_a_flip_is_a_warning(offset: float, tmp_path: Path) -> None:
    right = saved(scoring(), tmp_path / "right.onnx")
    (one,) = audit(scoring(offset), images(0.9), against=right, select=["P02"]).findings
    assert (one.code, one.severity.value) == ("P02", "warning")
    assert one.value == pytest.approx(offset, rel=1e-4)
    assert found(scoring(offset / 400), images(0.9), against=right, select=["P02"]) == ([], set())


def test_drift_that_rounding_explains_is_silent(tmp_path: Path) -> None:
    right = saved(scoring(), tmp_path / "right.onnx")
    assert found(scoring(0.00095), images(0.9), against=right, select=["P02"]) == ([], set())


def test_a_value_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    right = saved(scoring(), tmp_path / "right.onnx")
    (one,) = audit(scoring(np.nan), images(0.9), against=right, select=["P02"]).findings
    assert (one.severity.value, one.value) == ("error", 1.0)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0.9e-5, []), (1.1e-5, [("P02", "warning")]), (1.0, [("P02", "warning")])]
)
def test_answers_that_are_all_alike(offset: float, expected: list, tmp_path: Path) -> None:
    """Their range is nothing; a hundred thousandth of the largest value is rounding."""
    right = saved(scoring(1e-3), tmp_path / "right.onnx")
    x = np.ones((2, CLASSES, 2, 2), np.float32)
    x[:, 1] -= 1e-3
    x[:, 0] += 1e-6
    found_here = found(scoring(1e-3 - offset), x, against=right, select=["P02"])
    assert found_here == ([("P02", "warning")] if offset > 1e-5 else [], set())


def test_what_is_moved_by_the_configuration(tmp_path: Path) -> None:
    right = saved(scoring(), tmp_path / "right.onnx")
    config = tmp_path / "onnxviz.toml"
    config.write_text("[audit.thresholds.P02]\nfull = 0.05\n")
    assert found(scoring(0.02), images(0.9), against=right, select=["P02"], config=config) == ([], set())


def test_without_another_model_the_cpu_is_not_run() -> None:
    result = audit(scoring(), images(0.9), select=["P02", "P04", "P05"])
    assert not result.passed
    assert {one.code: one.why for one in result.not_run} == {
        "P02": "no model was given to hold it against (against=), and it runs on the CPU",
        "P04": "no model was given to hold it against (against=)",
        "P05": "no provider other than the CPU was asked for (provider=)",
    }


# ---------------------------------------------------------------- P03, P06: optimisations, taps


def strength_for(share: float, other: dict) -> float:
    """How strong `folding` must be for its answers to drift by a share of their range, by onnxruntime itself."""
    probe = 1e4
    proto, x = folding(probe), noisy()
    one, far = outcome(proto, x)[0], outcome(proto, x, **other)[0]
    apart = np.abs(one - far).max()
    assert apart > 0
    # The range is that of the first run, which moves with the strength by far less than a tenth.
    return probe * share * np.ptp(far) / apart


@pytest.mark.parametrize("share", [0.00115, 0.01, 0.04])
def test_optimisations_that_change_answers(share: float) -> None:
    strength = strength_for(share, {"optimise": False})
    (one,) = audit(folding(strength), noisy(), select=["P03"]).findings
    assert (one.code, one.severity.value) == ("P03", "warning")
    plain, optimised = (outcome(folding(strength), noisy(), optimise=on)[0] for on in (False, True))
    assert one.value == pytest.approx(np.abs(plain - optimised).max() / np.ptp(plain), rel=1e-3)
    assert found(folding(strength_for(0.0008, {"optimise": False})), noisy(), select=["P03"]) == ([], set())


def test_optimisations_that_flip_an_answer_are_an_error() -> None:
    x = noisy()
    strength = strength_for(0.03, {"optimise": False})
    for margin in np.linspace(-0.04, 0.04, 33):
        x[0, 1] = x[0, 0] + margin
        plain, optimised = (outcome(folding(strength), x, optimise=on)[0] for on in (False, True))
        ahead = np.diff(np.sort(plain[0]))[-1] / np.ptp(plain)
        if plain[0].argmax() != optimised[0].argmax() and ahead > 2e-3:
            break
    else:
        pytest.fail("no margin flips")
    assert found(folding(strength), x, select=["P03"]) == ([("P03", "error")], set())


@pytest.mark.parametrize("share", [0.00115, 0.01, 0.04])
def test_taps_that_change_answers(share: float) -> None:
    strength = strength_for(share, {"tap": "a"})
    (one,) = audit(folding(strength), noisy(), select=["P06"]).findings
    assert (one.code, one.severity.value) == ("P06", "note")
    plain, tapped = (outcome(folding(strength), noisy(), tap=name)[0] for name in ("", "a"))
    assert one.value == pytest.approx(np.abs(plain - tapped).max() / np.ptp(plain), rel=1e-3)
    assert found(folding(strength_for(0.0008, {"tap": "a"})), noisy(), select=["P06"]) == ([], set())


# ---------------------------------------------------------------- P10: from run to run


def random_runs() -> np.ndarray:
    """What onnxruntime's seeded random numbers are in the first runs of a session, of each of two samples three."""
    return np.array(
        [run[0, 1] for run in outcome(unsteady(), np.zeros((1, CLASSES, 2, 2), np.float32), runs=6)]
    ).reshape(2, 3)


def spread_out(margin: float) -> np.ndarray:
    """As `images`, with a range of 4."""
    x = images(margin)
    x[:, 3] = -3
    return x


@pytest.mark.parametrize("share", [0.00105, 0.01, 0.04])
def test_answers_that_change_from_run_to_run(share: float) -> None:
    runs = random_runs()
    gap = np.abs(runs[:, 1:] - runs[:, :1]).max()
    (one,) = audit(unsteady(share * 4 / gap), spread_out(1.0), select=["P10"]).findings
    assert (one.code, one.severity.value) == ("P10", "note")
    assert one.value == pytest.approx(share, rel=1e-3)
    assert "over 3 runs" in one.message
    assert found(unsteady(0.00095 * 4 / gap), spread_out(1.0), select=["P10"]) == ([], set())


@pytest.mark.parametrize("margin", [0.00105, 0.01, 0.2])
def test_an_answer_that_flips_from_run_to_run_is_a_warning(margin: float) -> None:
    """Class 1 is raised now by more, now by less than what class 0 is ahead by."""
    first, second, _ = random_runs()[0]
    strength = 2 * margin * 4 / abs(first - second)
    x = spread_out(strength * (first + second) / 2)
    (one,) = audit(unsteady(strength), x, select=["P10"]).findings
    assert (one.code, one.severity.value) == ("P10", "warning")


# ---------------------------------------------------------------- samples that cannot be read


def test_a_broken_photo_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    data = [str(tmp_path / "bad.png"), PHOTOS]
    codes = ["P02", "P03", "P06", "P08", "P10", "P11"]
    result = audit(CLASSIFIER, data, against=str(CLASSIFIER), select=codes)
    assert (list(result.passed), result.not_run) == (codes, ())
    nothing = audit(CLASSIFIER, data[:1], against=str(CLASSIFIER), select=codes)
    assert {one.code for one in nothing.not_run} == {*codes} - {"P08"}
    assert all("none of 1 inputs could be used; the first: " in one.why for one in nothing.not_run)


# ---------------------------------------------------------------- P04: lower precision


def crops() -> list[np.ndarray]:
    """Six crops of photos, (1, 3, 96, 96) each, to calibrate with."""
    return list(crop_inputs(6, seed=3)[:, None])


@pytest.fixture(scope="module")
def lowered(tmp_path_factory) -> dict[str, Path]:
    """The sample classifier, its batch norms folded: as it is, in float16, and quantised per tensor and per channel.

    With signed weights it is not sound on processors without VNNI, and P02 to P06 say so there.
    """
    folder = tmp_path_factory.mktemp("lowered")
    plain = folded(CLASSIFIER, folder / "plain.onnx")
    return {
        "plain": plain,
        "QDQ": quantise(plain, folder / "QDQ.onnx", crops(), types=UNSIGNED),
        "channels": quantise(plain, folder / "channels.onnx", crops(), per_channel=True, types=UNSIGNED),
        "half": halve(CLASSIFIER, folder / "half.onnx"),
    }


def test_a_sound_quantised_model_and_half_precision_are_clean(lowered) -> None:
    for name in ("QDQ", "channels", "half"):
        assert found(lowered[name], PHOTOS, against=str(lowered["plain"])) == ([], set()), name


def uneven(path: Path, factor: float) -> Path:
    """The classifier with one filter of its third convolution larger by a factor, and what reads it smaller by it.

    It computes the same; one scale for all filters of the layer no longer fits.
    """
    proto = onnx.load(path)
    convs = [node for node in proto.graph.node if node.op_type == "Conv"]
    stored = {one.name: one for one in proto.graph.initializer}
    for node, place, scale in ((convs[2], 1, factor), (convs[2], 2, factor), (convs[3], 1, 1 / factor)):
        tensor = stored[node.input[place]]
        values = onnx.numpy_helper.to_array(tensor).copy()
        values[(slice(None), 0) if scale < 1 else 0] *= scale
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    target = path.with_name(f"uneven{factor:g}.onnx")
    onnx.save(proto, target)
    return target


@pytest.mark.parametrize("factor", [60, 200, 1000])
def test_layers_that_quantisation_costs_too_much(lowered, factor: float) -> None:
    from onnxviz import compare

    plain = uneven(lowered["plain"], factor)
    low = quantise(plain, plain.with_suffix(".int8.onnx"), crops())
    result = audit(low, PHOTOS, against=str(plain), select=["P04"])
    alone = {one.b: one.alone for one in compare(plain, low, PHOTOS).layers if one.alone is not None}
    loud = {name for name, one in alone.items() if one.sqnr < 20}
    coarse = {
        name: one.rmse_over_scale for name, one in alone.items() if name not in loud and one.rmse_over_scale > 0.7
    }
    assert loud or coarse
    warnings = [one for one in result.findings if one.severity.value == "warning"]
    notes = [one for one in result.findings if one.severity.value == "note"]
    assert {one.layer for one in warnings} == loud
    assert [(one.layer, one.value) for one in notes] == (
        [max(coarse.items(), key=lambda one: one[1])] if coarse else []
    )
    assert "nodes_to_exclude = " in result.findings[0].do
    assert all("no VNNI, quantise with reduce_range=True or uint8 weights (W06)" in one.do for one in result.findings)
    if factor == 1000:
        assert loud


def test_integers_that_no_processor_cuts_off_are_not_advised_otherwise(lowered) -> None:
    plain = uneven(lowered["plain"], 1000)
    low = quantise(plain, plain.with_suffix(".uint8.onnx"), crops(), types=UNSIGNED)
    for one in audit(low, PHOTOS, against=str(plain), select=["P02", "P04", "W06"]).findings:
        assert one.code != "W06"
        assert "VNNI" not in one.do


def test_a_model_of_the_same_precision_is_not_run() -> None:
    result = audit(CLASSIFIER, PHOTOS, against=str(CLASSIFIER), select=["P04"])
    assert "no layer is of lower precision" in result.not_run[0].why


# ---------------------------------------------------------------- P05: off the provider


def test_a_provider_that_is_not_there_is_an_error() -> None:
    (one,) = audit(scoring(), select=["P05"], provider="tensorrt").findings
    assert (one.code, one.severity.value) == ("P05", "error")
    assert "provider 'tensorrt' was asked for, but this onnxruntime" in one.message


# ---------------------------------------------------------------- good models


@pytest.mark.parametrize("model", [CLASSIFIER, UNET], ids=lambda path: path.stem)
def test_the_sample_models_are_clean(model: Path) -> None:
    size = {"size": (64, 64)} if model == UNET else {}
    assert found(model, PHOTOS, against=str(model), **size) == ([], {"P04"})


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_is_clean(name: str) -> None:
    """No batch norm is folded wrongly, no tap changes an answer, nothing differs from run to run."""
    proto = zoo.model(name)
    findings, _ = found(proto, zoo.feeds(proto), select=["P03", "P06", "P10"])
    assert findings == []
