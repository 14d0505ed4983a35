"""A model on the CPU and on CUDA."""

import numpy as np
import pytest
from samples import CLASSIFIER, UNET, photo_crops

from onnxviz import compare


@pytest.mark.cuda
@pytest.mark.parametrize("path", [CLASSIFIER, UNET], ids=["classifier", "unet"])
def test_float_models_drift_by_rounding(path) -> None:
    x = (photo_crops(4, 96, 3).transpose(0, 3, 1, 2) / 255).astype(np.float32)
    found = compare(f"{path}@cpu", f"{path}@cuda:use_tf32=0", x)
    assert found.first_divergent is None
    assert found.agreement.share > 0.999
    assert found.b.provider == "cuda:use_tf32=0"
