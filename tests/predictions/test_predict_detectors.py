"""What a detector finds, beside the source framework's own scores and corners, and a naive suppression of them."""

from __future__ import annotations

import numpy as np
import pytest
from detectors import SIZE, detectors

import onnxviz
from onnxviz.model.detection.boxes import LEAST_SCORE, MOST_OVERLAP

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.framework

X = np.random.default_rng(0).random((1, 3, SIZE, SIZE)).astype(np.float32)


def suppressed(scores: np.ndarray, corners: np.ndarray) -> list[tuple[int, int]]:
    """(box, class), the best first: each pair that no better one of its class overlaps by too much."""
    pairs = [(box, class_) for box in range(len(scores)) for class_ in range(scores.shape[1])]
    pairs = sorted((pair for pair in pairs if scores[pair] >= LEAST_SCORE), key=lambda pair: -scores[pair])
    kept: list[tuple[int, int]] = []
    for box, class_ in pairs:
        mine = corners[box]
        for other, same in kept:
            theirs = corners[other]
            sides = np.minimum(mine[2:], theirs[2:]) - np.maximum(mine[:2], theirs[:2])
            shared = float(np.prod(np.maximum(sides, 0)))
            both = sum(float(np.prod(one[2:] - one[:2])) for one in (mine, theirs)) - shared
            if same == class_ and shared > MOST_OVERLAP * both:
                break
        else:
            kept.append((box, class_))
    return kept


@pytest.mark.parametrize("name", ["v5", "v8", "v11"])
def test_boxes_are_the_frameworks_own(name: str) -> None:
    detector = detectors()[name]()
    assert detector.corners is not None
    found = onnxviz.predict(onnxviz.load(detector.proto()), X, top=1000)[0].answer
    with torch.no_grad():
        scores, corners = (one(torch.tensor(X))[0].numpy() for one in (detector.probabilities, detector.corners))
    truth = suppressed(scores.astype(np.float64), corners.astype(np.float64))[:100]
    assert found.kind == "boxes"
    assert [(box.number, box.class_) for box, _ in found.boxes] == truth
    for box, _ in found.boxes:
        assert box.score == pytest.approx(float(scores[box.number, box.class_]), rel=1e-4)
        np.testing.assert_allclose(box.corners, corners[box.number], atol=1e-3)
