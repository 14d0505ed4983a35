"""Checks of images: constant, fragile and saturated answers, at and below each threshold."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from planted_images import audited, classifier, crop_inputs, crops, ending, findings, run, why_not_run
from protos import normal, parsed
from samples import UNET

from onnxviz.auditing.finding import Severity

X = crop_inputs(20)
LOGITS = run(classifier(), X)[0].astype(np.float64)


def nearly_constant(share: float) -> onnx.ModelProto:
    """The classifier whose logits vary between images by that share of what they vary between classes."""
    offset = np.linspace(0, 1, 11)

    def measured(factor: float) -> float:
        made = LOGITS * factor + offset
        return made.std(axis=0).mean() / made.mean(axis=0).std()

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if measured(middle) < share else (low, middle)
    return ending(
        classifier(), "s = Mul (end, k) out = Add (s, c)", k=np.float32(low).reshape(()), c=offset.astype(np.float32)
    )


@pytest.mark.parametrize("share", [0.0098, 0.001, 0])
def test_one_answer_for_all(share):
    (found,) = findings(nearly_constant(share), X, "I02")
    assert found.severity is Severity.ERROR
    assert found.value == pytest.approx(share, rel=1e-3, abs=1e-7)
    assert "class 10 ('rocket') comes first on all 20 samples" in found.message


def test_answers_that_vary():
    assert not findings(nearly_constant(0.0102), X, "I02")
    assert not findings(classifier(), X, "I02")
    # One class first on all is no defect where the scores vary.
    same = X[LOGITS.argmax(axis=1) == LOGITS[0].argmax()]
    assert not findings(classifier(), np.concatenate([same[:4], same[:4][..., ::-1], same[:4][:, :, ::-1]]), "I02")


def test_a_constant_answer_of_one_logit_and_of_probabilities():
    made = parsed(
        "g (float[n,3,8,8] x) => (float[n,1] y) { c = Conv (x, w, b) p = GlobalAveragePool (c) y = Flatten (p) }",
        w=normal(1, 3, 3, 3) * np.float32(1e-5), b=np.float32([2]),
    )  # fmt: skip
    (found,) = findings(made, normal(9, 3, 8, 8), "I02")
    assert "class 1 " in found.message
    saturated = parsed(
        "g (float[n,3,8,8] x) => (float[n,4] y) { c = Conv (x, w, b) p = GlobalAveragePool (c) f = Flatten (p) "
        "e = Exp (f) s = ReduceSum <keepdims=1> (e, one) y = Div (e, s) }",
        w=normal(4, 3, 3, 3), b=np.float32([0, 0, 40, 0]), one=np.array([1]),
    )  # fmt: skip
    # All probabilities are 1 or 0, yet their logarithms vary.
    assert not findings(saturated, normal(9, 3, 8, 8), "I02")


def test_too_few_samples_or_samples_that_are_alike():
    assert "it needs 8 samples, and 7 could be used" in why_not_run(nearly_constant(0), X[:7], "I02")
    alike = np.repeat(X[:1], 9, axis=0) + normal(9, 3, 96, 96) * np.float32(1e-3)
    assert "the samples are too much alike" in why_not_run(nearly_constant(0), alike, "I02")
    maps = parsed("g (float[n,3,8,8] x) => (float[n,3,8,8] y) { y = Conv (x, w) }", w=normal(3, 3, 1, 1))
    assert "nothing says that the channels of 'y' are classes" in why_not_run(maps, normal(9, 3, 8, 8), "I02")


# Black or white, by the mean of all pixels of −1…1: class 1 where it is above 0, and sure of it.
BRIGHT = parsed(
    "g (float[n,3,96,96] x) => (float[n,2] y) { p = GlobalAveragePool (x) f = Flatten (p) y = MatMul (f, w) }",
    w=np.float32([[-100, 100]] * 3),
)


def pictures(folder: Path, pixels: list[np.ndarray]) -> list[str]:
    paths = [folder / f"{number:02}.png" for number in range(len(pixels))]
    for path, one in zip(paths, pixels, strict=True):
        Image.fromarray(one).save(path)
    return list(map(str, paths))


def flat(level: int, side: int = 96) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


@pytest.mark.parametrize(
    ("fragile", "severity"),
    # Of 20: more than one is above 5 %; the 95 % interval of 8 begins at 21.9 %, that of 7 at 18.1 %.
    [(2, Severity.NOTE), (4, Severity.NOTE), (7, Severity.NOTE), (8, Severity.WARNING), (12, Severity.WARNING),
     (20, Severity.WARNING)],
)  # fmt: skip
def test_answers_that_brightness_changes(tmp_path, fragile, severity):
    levels = [125] * fragile + [40, 220] * 10
    paths = pictures(tmp_path, [flat(level) for level in levels[:20]])
    (found,) = findings(BRIGHT, paths, "I05", preprocess="signed")
    assert (found.severity, found.value) == (severity, pytest.approx(fragile / 20))
    assert f"under 5 % more brightness {fragile / 20:.1%} of the sure answers on 20 photos change" in found.message
    assert "JPEG at 75 0.0%, a shift by one pixel 0.0%, 5 % less brightness 0.0%" in found.message


def test_answers_that_hold(tmp_path):
    paths = pictures(tmp_path, [flat(level) for level in [125, *[40, 220] * 10][:20]])
    assert not findings(BRIGHT, paths, "I05", preprocess="signed")


def test_only_sure_answers_count(tmp_path):
    unsure = parsed(
        "g (float[n,3,96,96] x) => (float[n,3] y) { p = GlobalAveragePool (x) f = Flatten (p) y = MatMul (f, w) }",
        w=np.float32([[-0.1, 0, 0.1]] * 3),
    )
    paths = pictures(tmp_path, [flat(125)] * 20)
    assert "of which the model is sure; there are 0" in why_not_run(unsure, paths, "I05", preprocess="signed")


def test_shift_and_jpeg_and_good_models(tmp_path):
    corner = parsed(
        "g (float[n,3,96,96] x) => (float[n,2] y) { s = Slice (x, from, to, axes) p = GlobalAveragePool (s) "
        "f = Flatten (p) y = MatMul (f, w) }",
        w=np.float32([[-100, 100]] * 3), **{"from": np.array([95, 95]), "to": np.array([96, 96]),
                                           "axes": np.array([2, 3])},
    )  # fmt: skip
    dotted = flat(40)
    dotted[95, 95] = 220
    (found,) = findings(corner, pictures(tmp_path, [dotted] * 10), "I05", preprocess="signed")
    assert "under a shift by one pixel 100.0%" in found.message
    (tmp_path / "good").mkdir()
    assert not findings(classifier(), crops(tmp_path / "good", 24, side=200), "I05")
    found = audited(UNET, crops(tmp_path / "good", 8), "I05", size=(96, 96))
    assert not found.findings
    assert not found.not_run


def marking(stride: int = 1, board: bool = False) -> onnx.ModelProto:
    """A mask of bright and dark parts of a photo; with `board`, every second column has it the other way."""
    side = 96 // stride
    turned = np.ones((1, 1, side, side), np.float32)
    if board:
        turned[..., ::2] *= -1
    return parsed(
        f"g (float[n,3,96,96] x) => (float[n,2,{side},{side}] y) {{ c = Conv <strides = [{stride}, {stride}]> (x, w) "
        "m = Mul (c, t) y = Softmax <axis = 1> (m) }",
        w=np.float32([[[[100]]] * 3, [[[-100]]] * 3]), t=turned,
    )  # fmt: skip


@pytest.mark.parametrize(("stride", "board", "expected"), [(1, False, 0), (1, True, 1), (4, False, None)])
def test_a_mask_that_moves_with_the_photo_holds(tmp_path, stride, board, expected):
    """Parts of 8x8 pixels at random, of which a shift moves many: it is what should be. The board is not moved."""
    rng = np.random.default_rng(0)
    photos = [
        np.kron(rng.integers(0, 2, (12, 12, 1)), np.ones((8, 8, 3))).astype(np.uint8) * 180 + 30 for _ in range(8)
    ]
    paths = pictures(tmp_path, photos)
    config = tmp_path / "onnxviz.toml"
    config.write_text("[audit.thresholds.I05]\nnote = -1\n")
    (found,) = findings(marking(stride, board), paths, "I05", preprocess="signed", config=config)
    share = re.search(r"shift by one pixel ([\d.]+)%", found.message)
    assert (share is None) == (expected is None)
    assert share is None or float(share[1]) == pytest.approx(100 * expected)
    assert found.value == pytest.approx(expected or 0)


def striped(bright: bool) -> np.ndarray:
    """192 pixels of which nearest takes the bright ones, or the dark; averaged it is dark."""
    taken = np.asarray(Image.fromarray(np.arange(192, dtype=np.uint8)[None]).resize((96, 1), Image.Resampling.NEAREST))
    made = flat(0, 192)
    made[:, taken[0] if bright else taken[0] - 1] = 200
    return made


@pytest.mark.parametrize(
    ("fragile", "severity"),
    # Of 20: the 95 % interval of 2 begins at 2.8 %, that of 1 at 0.9 %.
    [(1, Severity.NOTE), (2, Severity.WARNING), (6, Severity.WARNING), (20, Severity.WARNING)],
)
def test_answers_that_the_filter_changes(tmp_path, fragile, severity):
    paths = pictures(tmp_path, [striped(number < fragile) for number in range(20)])
    (found,) = findings(BRIGHT, paths, "I07", preprocess="signed")
    assert (found.severity, found.value) == (severity, pytest.approx(fragile / 20))
    assert f"resized by 'nearest' {fragile / 20:.1%} of the sure answers on 20 photos change" in found.message
    assert "area 0.0%, bilinear without averaging 0.0%, crop 0.0%" in found.message


def test_filters_that_change_nothing(tmp_path):
    assert not findings(BRIGHT, pictures(tmp_path, [striped(False)] * 20), "I07", preprocess="signed")
    same = pictures(tmp_path, [flat(40)] * 20)
    assert "of another size than the model's" in why_not_run(BRIGHT, same, "I07", preprocess="signed")
    assert "each photo keeps its own size" in why_not_run(UNET, crops(tmp_path, 8), "I07")


@pytest.mark.parametrize(
    ("tail", "severity"),
    [("a = Softmax (end) out = Softmax (a)", Severity.ERROR),
     ("a = Softmax (end) b = Identity (a) out = Softmax (b)", Severity.ERROR),
     ("a = Softmax (end) out = Sigmoid (a)", Severity.WARNING)],
)  # fmt: skip
def test_a_softmax_that_is_taken_twice(tail, severity):
    (found,) = findings(ending(classifier(), tail), None, "I06")
    assert (found.severity, found.value) == (severity, 2)
    assert "needs data" in why_not_run(ending(classifier(), "out = Softmax (end)"), None, "I06")


def test_a_softmax_in_arithmetic_before_another():
    inner = "e = Exp (end) z = ReduceSum <keepdims=1> (e, one) p = Div (e, z)"
    (found,) = findings(ending(classifier(), f"{inner} out = Softmax (p)", one=np.array([1])), X, "I06")
    assert (found.severity, found.where) == (Severity.ERROR, "p")
    assert not findings(ending(classifier(), f"{inner} out = Identity (p)", one=np.array([1])), X, "I06")


def test_a_softmax_that_is_missing_is_a_note():
    (found,) = findings(classifier(), X, "I06")
    assert found.severity is Severity.NOTE
    assert f"{LOGITS.min():.4g}…{LOGITS.max():.4g}" in found.message
    assert not findings(ending(classifier(), "out = Softmax (end)"), X, "I06")


def sharpened(full: int) -> onnx.ModelProto:
    """The classifier whose best share is 1 in float32 on so many of the 20 images."""
    for factor in np.geomspace(1, 1e5, 4000):
        scores = LOGITS * factor
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = (1 / powers.sum(axis=1)).astype(np.float32)
        if (shares == 1).sum() == full:
            scale = np.float32(factor).reshape(())
            return ending(classifier(), "s = Mul (end, k) out = Softmax (s)", k=scale)
    raise AssertionError("no factor gives so many")


@pytest.mark.parametrize("full", [19, 20])
def test_saturated_shares(full):
    (found,) = findings(sharpened(full), X, "I06")
    assert (found.severity, found.value) == (Severity.WARNING, full / 20)


def test_shares_that_are_not_saturated():
    assert not findings(sharpened(18), X, "I06")
    assert "it needs 8 samples, and 7" in why_not_run(sharpened(18), X[:7], "I06")
