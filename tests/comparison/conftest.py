"""Models of lower precision made of the sample classifier, and crops of the photos."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from quantised import folded, halve, quantise
from samples import CLASSIFIER, photo_crops

SIDE = 96


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    """(6, 3, 96, 96) float32, as the classifier takes them."""
    return (photo_crops(6, SIDE, 3).transpose(0, 3, 1, 2) / 255).astype(np.float32)


@pytest.fixture(scope="session")
def lower(tmp_path_factory, crops) -> dict[str, Path]:
    """The classifier as "QDQ", "QOperator" and "half"."""
    folder = tmp_path_factory.mktemp("lower")
    plain = folded(CLASSIFIER, folder / "folded.onnx")
    made = {
        form: quantise(plain, folder / f"{form}.onnx", [one[None] for one in crops[:3]], form=form)
        for form in ("QDQ", "QOperator")
    }
    made["half"] = halve(CLASSIFIER, folder / "half.onnx")
    return made


@pytest.fixture(scope="session")
def protos(lower) -> dict[str, onnx.ModelProto]:
    """The same, read by onnx."""
    return {name: onnx.load(path) for name, path in {"float": CLASSIFIER, **lower}.items()}
