"""Heads of exported detectors, exporter by exporter: boxes and what they are ranked by, as the source has them."""

from __future__ import annotations

import numpy as np
import pytest
from detectors import SIZE, detectors

import onnxviz
from onnxviz.model.detection.box_scores import with_box_scores
from onnxviz.model.detection.boxes import Boxes
from onnxviz.model.detection.heads import find_head
from onnxviz.model.scores import class_names
from onnxviz.runtime.session import Session

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.framework

X = np.random.default_rng(0).random((1, 3, SIZE, SIZE)).astype(np.float32)


def check(name, **options):
    detector = detectors()[name]()
    opened = onnxviz.load(detector.proto(**options))
    head = find_head(opened, class_names(opened))
    assert head is not None
    assert (head.background == detector.background) or not detector.names
    added, tensors = with_box_scores(opened, head), Boxes.tensors(head)
    found = dict(zip(tensors, Session.of(added, tensors).run(tensors, {"images": X}), strict=True))
    boxes = Boxes.read(head, {tensor: values[0] for tensor, values in found.items()}, (SIZE, SIZE))
    with torch.no_grad():
        scores = detector.probabilities(torch.tensor(X))[0].numpy()
        assert np.abs(boxes.scores - scores).max() < 1e-5
        assert sum(boxes.counts) == len(scores)
        if detector.corners is not None:
            assert np.abs(boxes.corners - detector.corners(torch.tensor(X))[0].numpy()).max() < 1e-2


@pytest.mark.parametrize("name", ["v8", "v8 best", "v5", "v5 raw", "yolox raw", "detr"])
def test_open_sizes(name):
    check(name, dynamic=True)


@pytest.mark.parametrize("name", ["v8", "v8 nms", "v5", "v5 flat", "yolox raw", "ssd"])
def test_an_old_operator_set(name):
    check(name, opset=11)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v8", "v8 raw", "v11", "v5", "v5 raw", "yolox", "yolox raw", "ssd", "detr"])
def test_the_exporter_of_torch_export(name):
    check(name, dynamo=True)
