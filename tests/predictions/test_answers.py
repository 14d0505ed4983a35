"""Answers of scores that are no numbers: said, never a class with a share of NaN."""

import numpy as np
import onnx
import pytest
from protos import normal, parsed

import onnxviz

NAN, INF = np.nan, np.inf


def told(values, **options):
    """What `predict` says of scores, (classes, …), which the model gives as they are fed."""
    values = np.asarray(values, np.float32)
    sizes = ", ".join(map(str, values.shape))
    proto = parsed(f'g (float["n", {sizes}] x) => (float["n", {sizes}] logits) {{ logits = Identity (x) }}')
    return onnxviz.predict(proto, values[None], **options)[0].answer


@pytest.mark.parametrize(
    ("scores", "remark"),
    [
        ([NAN, 1, 2], "no answer: of 3 scores 1 NaN"),
        ([NAN] * 3, "no answer: of 3 scores 3 NaN"),
        ([INF, 1, NAN], "no answer: of 3 scores 1 NaN and 1 infinite"),
        ([-INF] * 3, "no answer: of 3 scores all minus infinity"),
    ],
)
def test_scores_that_put_no_class_first_are_said_to_be_no_answer(scores, remark):
    answer = told(scores)
    assert (answer.kind, answer.top, answer.remark, answer.sentence) == ("classes", (), remark, remark)
    assert answer.as_dict()["top"] == []


def test_minus_infinity_rules_a_class_out():
    answer = told([-INF, 0.0, np.log(3)])
    assert [(one.number, pytest.approx(one.share)) for one in answer.top] == [(2, 0.75), (1, 0.25), (0, 0.0)]


def test_positions_of_a_mask_that_are_nan_are_counted_apart():
    scores = np.abs(normal(3, 4, 5))
    scores[1] = 9
    scores[0, 0, :2] = NAN
    answer = told(scores)
    assert answer.kind == "mask"
    assert answer.remark == "of 20 positions, by the largest score; at 2 a score is NaN"
    assert [(one.number, one.share) for one in answer.top] == [(1, 18 / 20)]
    scores[:] = NAN
    nothing = told(scores)
    assert (nothing.top, nothing.remark) == ((), "no answer: all 20 positions are NaN")


def test_the_terminal_says_so(tmp_path, run_command):
    proto = parsed('g (float["n", 2] x) => (float["n", 2] logits) { logits = Identity (x) }')
    onnx.save(proto, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.array([[NAN, 1], [1, 0]], np.float32))
    ran = run_command("predict", "m.onnx", "x.npy")
    assert ran.code == 0
    assert "no answer: of 2 scores 1 NaN" in ran.out
    assert "nan %" not in ran.out.lower()
    ran = run_command("compare", "m.onnx", "m.onnx", "--data", "x.npy")
    assert "the same for 1 of 2 inputs; the answer is NaN for 1" in " ".join(ran.out.split())
    assert "x.npy[0]: NaN in both" in " ".join(ran.out.split())
