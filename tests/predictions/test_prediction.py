"""Answers in a few words."""

import pytest

from onnxviz.model.detection.boxes import Detection
from onnxviz.predictions.prediction import ClassShare, OutputPrediction


@pytest.mark.parametrize(
    ("class_", "said"),
    [
        (ClassShare(235, "German shepherd", 9.0, 0.8789), "German shepherd 87.9 %"),
        (ClassShare(235, "", 9.0, 0.8789), "class 235, 87.9 %"),
        (ClassShare(3, "dog", -3.21, None), "dog, score −3.21"),
        (ClassShare(3, "", 12345.6, None), "class 3, score 1.235e+04"),
        (ClassShare(0, "cat", 40.0, 0.99999), "cat above 99.9 %"),
        (ClassShare(1, "a\nb" + "x" * 200, 1.0, 0.5), f"a�b{'x' * 26}…{'x' * 30} 50.0 %"),
    ],
)
def test_a_class_with_its_share(class_, said):
    assert class_.sentence == said
    assert OutputPrediction("y", (1000,), "classes", top=(class_,)).sentence == said


def box(class_, score, name):
    return Detection(0, class_, score, None), name


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            OutputPrediction(
                "y", (3, 4, 4), "mask", top=(ClassShare(0, "road", 1, 0.5), ClassShare(2, "", 1, 0.3),
                ClassShare(1, "car", 1, 0.15), ClassShare(4, "sky", 1, 0.05)),
            ),
            "road 50.0 %, class 2, 30.0 %, car 15.0 % of the positions",
        ),
        (OutputPrediction("y", (9, 6), "boxes", boxes=(box(1, 0.923, "dog"),), found=1), "dog 0.92"),
        (
            OutputPrediction("y", (9, 6), "boxes", boxes=(box(1, 0.9, "dog"), box(7, 0.5, "")), found=6),
            "dog 0.90, class 7 0.50 and 4 more",
        ),
        (OutputPrediction("y", (9, 6), "boxes"), "no box"),
        (OutputPrediction("y", (1,), "numbers", numbers={"first": [-0.25]}), "−0.25"),
        (OutputPrediction("y", (2,), "numbers", numbers={"first": [1.0, 2.0]}), ""),
        (OutputPrediction("y", (2,), "numbers", "of type string"), ""),
    ],
)  # fmt: skip
def test_other_answers(output, said):
    assert output.sentence == said
