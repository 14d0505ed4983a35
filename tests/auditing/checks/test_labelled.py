"""Labelled data: counts by hand, Wilson's interval beside its table, orders of classes, floors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drifting import CLASSES, scoring
from protos import parsed
from samples import CLASSIFIER, MODELS, UNET

from onnxviz.auditing.audit import audit
from onnxviz.auditing.checks.labelled import Proportion

PHOTOS = MODELS / "photos"
RIGHT = {"cat.jpg": 2, "dog.jpg": 4, "macaw.jpg": 8}


def answering(answers: list[int], classes: int = CLASSES) -> np.ndarray:
    """Samples (n, classes, 2, 2) that `scoring` puts into these classes, each a little surer than the one before."""
    scores = np.zeros((len(answers), classes), np.float32)
    scores[np.arange(len(answers)), answers] = 1 + 0.01 * np.arange(len(answers))
    return np.repeat(scores, 4).reshape(-1, classes, 2, 2)


def labels_of(labels: list[int]) -> dict[str, int]:
    return {f"array[{place}]": label for place, label in enumerate(labels)}


def wide(classes: int):
    """As `scoring`, with so many classes."""
    return parsed(
        f"wide (float[n,{classes},2,2] x) => (float[n,{classes}] y) "
        "{ c = Conv (x, w) p = GlobalAveragePool (c) y = Flatten (p) }",
        w=np.eye(classes, dtype=np.float32)[:, :, None, None],
    )


def audited(answers: list[int], labels: list[int], classes: int = CLASSES, **options):
    model = scoring() if classes == CLASSES else wide(classes)
    options.setdefault("select", ["I04"])
    return audit(model, answering(answers, classes), classes=labels_of(labels), **options)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(hits: int, total: int, low: float, high: float) -> None:
    """The last from Newcombe (1998), table I; the others from its formula, solved by hand."""
    one = Proportion(hits, total)
    assert (one.low, one.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_interval_solves_its_equation() -> None:
    """Its ends are the shares from which the measured one is z standard deviations away."""
    for hits, total in ((3, 17), (90, 100), (1, 1000)):
        one = Proportion(hits, total)
        for end in (one.low, one.high):
            assert abs(hits / total - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / total), rel=1e-5)


def test_the_sample_classifier_knows_its_photos() -> None:
    result = audit(CLASSIFIER, str(PHOTOS), classes=RIGHT, select=["I04"])
    (one,) = result.findings
    assert (one.severity.value, one.value) == ("note", 1.0)
    assert one.message.startswith("top-1 100.0% (43.9% to 100.0%), top-5 100.0%")


def test_accuracy_confusions_and_the_worst_images() -> None:
    answers, labels = [0, 0, 1, 1, 2, 2, 3, 1], [0, 0, 1, 1, 2, 2, 1, 3]
    (one,) = audited(answers, labels).findings
    assert (one.code, one.severity.value, one.value) == ("I04", "note", 0.75)
    assert "most often confused: 3 as 1 (1), 1 as 3 (1); most certain and wrong: array[7], array[6]" in one.message


def test_the_first_five_of_several_classes() -> None:
    x = np.tile(np.arange(8, 0, -1, dtype=np.float32), (4, 1))
    x = np.repeat(x, 4).reshape(4, 8, 2, 2)
    (one,) = audit(wide(8), x, classes=labels_of([0, 4, 5, 7]), select=["I04"]).findings
    assert "top-1 25.0%" in one.message
    assert "top-5 50.0%" in one.message


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_labels_that_are_shifted_are_an_error(shift: int) -> None:
    labels = [place % CLASSES for place in range(40)]
    found = audited([(label + shift) % CLASSES for label in labels], labels).findings
    assert [(one.code, one.severity.value) for one in found] == [("I04", "error"), ("I04", "note")]
    assert (found[0].value, found[1].value) == (1.0, 0.0)


@pytest.mark.parametrize("swapped", [2, 6, 10])
def test_classes_that_are_swapped_are_an_error(swapped: int) -> None:
    """Of ten classes with twenty samples each, the first few are answered in pairs the wrong way round."""
    labels = [place % 10 for place in range(200)]
    answers = [label ^ 1 if label < swapped else label for label in labels]
    found = audited(answers, labels, 10).findings
    assert [one.severity.value for one in found] == ["error", "note"]
    assert f"{swapped} classes are moved" in found[0].message
    assert found[0].value == 1.0
    assert found[1].value == 1 - swapped / 10


@pytest.mark.parametrize(("each", "expected"), [(4, ["error", "note"]), (3, ["note"])])
def test_as_few_samples_as_tell_an_order(each: int, expected: list[str]) -> None:
    """Two of ten classes swapped: 80 % and 100 % of 40 samples are apart by Wilson's intervals, of 30 they are not."""
    labels = [place % 10 for place in range(10 * each)]
    answers = [label ^ 1 if label < 2 else label for label in labels]
    (right, all_of) = (Proportion(8 * each, 10 * each), Proportion(10 * each, 10 * each))
    assert (all_of.low > right.high) == (len(expected) == 2)
    assert [one.severity.value for one in audited(answers, labels, 10).findings] == expected


def test_a_swap_in_a_few_samples_is_no_order() -> None:
    """Two of three samples of a class; chance alone makes that."""
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    answers = [1, 1, 0, 0, 1, 1, 2, 2, 3, 3]
    assert [one.severity.value for one in audited(answers, labels).findings] == ["note"]


def test_answers_without_meaning_are_no_order() -> None:
    rng = np.random.default_rng(1)
    labels = [int(one) for one in rng.integers(0, 10, 300)]
    for answers in ([int(one) for one in rng.integers(0, 10, 300)], [3] * 300):
        assert "error" not in [one.severity.value for one in audited(answers, labels, 10).findings]


def test_a_model_that_is_no_better_than_chance_is_a_warning() -> None:
    found = audited([0] * 8, [0, 1, 2, 3] * 2).findings
    assert [(one.severity.value, one.value, one.threshold) for one in found] == [("warning", 0.25, 0.25)]
    (better,) = audited([0, 0, 0, 0, 0, 1, 0, 0], [0, 1, 2, 3] * 2).findings
    assert (better.severity.value, better.value) == ("note", 0.375)


# ---------------------------------------------------------------- I08


@pytest.mark.parametrize(("floor", "expected"), [(0.76, 1), (0.8, 1), (1.0, 1), (0.75, 0), (0.1, 0)])
def test_a_floor(floor: float, expected: int, tmp_path: Path) -> None:
    config = tmp_path / "onnxviz.toml"
    config.write_text(f"[audit.budgets]\ntop-1 = {floor}\n")
    result = audited([0, 0, 1, 1, 2, 2, 3, 1], [0, 0, 1, 1, 2, 2, 1, 3], config=config, select=["I"])
    found = [one for one in result.findings if one.code == "I08"]
    assert len(found) == expected
    assert all((one.severity.value, one.value, one.threshold) == ("error", 0.75, floor) for one in found)


def test_without_a_floor_it_is_not_run() -> None:
    result = audited([0], [0], select=["I08"])
    assert (result.passed, [one.why for one in result.not_run]) == (
        (),
        ["no floor is set: top-1 or top-5 in [audit.budgets]"],
    )


# ---------------------------------------------------------------- not run


@pytest.mark.parametrize(
    ("model", "classes", "said"),
    [
        (CLASSIFIER, None, "the data have no classes"),
        (CLASSIFIER, {"other.jpg": 1}, "no sample has a class"),
        (CLASSIFIER, {"cat.jpg": 11}, "the labels go up to 11, but the model scores 11 classes"),
        (UNET, {"cat.jpg": 0}, "the model gives mask of a sample, not one class"),
    ],
)
def test_not_run(model: Path, classes, said: str) -> None:
    size = {"size": (64, 64)} if model == UNET else {}
    result = audit(model, str(PHOTOS), classes=classes, select=["I04"], **size)
    assert not result.passed
    assert said in result.not_run[0].why
