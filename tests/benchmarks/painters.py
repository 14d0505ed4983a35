"""Pictures that excite filters most, by onnxviz, lucent and tf-keras-vis, each with its own defaults.

The others' packages want old companions: they are installed without dependencies (tests/requirements-bench.txt), and
lucent gets what it imports and does not use.
"""

from __future__ import annotations

import os
import random
import sys
import types
from collections.abc import Sequence

import numpy as np
from trained import Target

STEPS = 256


def onnxviz(target: Target, filters: Sequence[int], seed: int) -> np.ndarray:
    """Pictures (filters, H, W, 3) in 0…1."""
    import onnxviz

    side = target.network.size
    made = onnxviz.maximize(target.file, target.layer, filters=list(filters), steps=STEPS, size=(side, side), seed=seed,
                            preprocess=target.network.preprocess, threads=1)  # fmt: skip
    return made.images


def lucent(target: Target, filters: Sequence[int], seed: int) -> np.ndarray:
    """Pictures (filters, H, W, 3) in 0…1, by lucent 0.1.8: Fourier, Adam 0.05, its standard transforms.

    Its default is 128 pixels, enlarged to 224 after the transforms; here the network sees each picture's own pixels,
    which is how it is judged.
    """
    for name in ("torchvision", "torchvision.transforms", "IPython", "IPython.display"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.transforms"].Normalize = None
    sys.modules["IPython"].display = sys.modules["IPython.display"]
    import kornia
    import torch
    from kornia.geometry import transform

    # Where kornia 0.4 had them.
    kornia.get_rotation_matrix2d, kornia.warp_affine = transform.get_rotation_matrix2d, transform.warp_affine
    from lucent.optvis import objectives, param, render

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - its transforms draw from it
    network = target.torch()
    probe = np.random.default_rng(0).random((2, target.network.size, target.network.size, 3), np.float32)
    with torch.no_grad():
        target.check(probe, network(torch.tensor(np.moveaxis(probe, -1, 1))).numpy())
    wanted = sum(objectives.channel("target", number, batch=place) for place, number in enumerate(filters))
    return render.render_vis(
        network, wanted, lambda: param.image(target.network.size, batch=len(filters)), thresholds=(STEPS,),
        preprocess=False, fixed_image_size=0, progress=False, show_image=False,
    )[0]  # fmt: skip


def tf_keras_vis(target: Target, filters: Sequence[int], seed: int) -> np.ndarray:
    """Pictures (filters, H, W, 3) in 0…1, by tf-keras-vis 0.8.7: pixels, RMSprop 1, jitter, rotation, TV, L1."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    if not tf.config.threading.get_intra_op_parallelism_threads():  # it refuses a second time
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.input_modifiers import Jitter, Rotate2D
    from tf_keras_vis.utils.scores import CategoricalScore

    np.random.seed(seed)  # noqa: NPY002 - its jitter draws from it
    random.seed(seed)
    network, rotate = target.keras(), Rotate2D(degree=1)
    rotate.random_generator = np.random.default_rng(seed)
    rng = np.random.default_rng(seed)
    shape = (len(filters), target.network.size, target.network.size, 3)
    start = rng.uniform(0, 255, shape).astype(np.float32)
    target.check(start[:2] / 255, np.moveaxis(np.asarray(network(start[:2])), -1, 1))
    score, scale = CategoricalScore(list(filters)), target.network.scale
    found = ActivationMaximization(network, clone=False)(
        lambda output: scale * score(output), seed_input=tf.constant(start), steps=STEPS,
        input_modifiers=[Jitter(jitter=4), rotate],
    )  # fmt: skip
    return np.asarray(found) / 255


PAINTERS = {"onnxviz": onnxviz, "lucent": lucent, "tf-keras-vis": tf_keras_vis}
