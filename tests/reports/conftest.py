"""A report of a model with planted defects, made once: on three photos, held against the sound model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from page_parts import Element, read
from planted import MODELS, changed, sample

from onnxviz.reports.report import Report, report

DEAD = [3, 9, 20]
CHECKS = ("W", "A01", "A03", "G01", "P02")


@dataclass(frozen=True)
class Made:
    """A report, the page as a tree, and what it was made of."""

    report: Report
    page: Element
    model: Path
    photos: Path


@pytest.fixture(scope="session")
def defective(tmp_path_factory):
    """The sample classifier with three dead filters and an outlier in conv2, and two dead channels behind conv1."""

    def kill(weight):
        weight[DEAD] = 0
        weight[40, 0, 0, 0] *= 400

    def silence(bias):
        bias[[2, 7]] = -50

    path = tmp_path_factory.mktemp("defective") / "defective.onnx"
    onnx.save(changed(changed(sample(), "conv2.weight", kill), "bn1.bias", silence), path)
    return path


@pytest.fixture(scope="session")
def made(defective):
    photos = MODELS / "photos"
    found = report(str(defective), [str(photos)], against=str(MODELS / "classifier.onnx"), select=CHECKS, seconds=1e6)
    return Made(found, read(found.html), defective, photos)


@pytest.fixture
def tiny():
    """Channels of a layer as arrays: 4 of (2, 3) values."""
    return np.arange(24, dtype=np.float32).reshape(4, 2, 3)
