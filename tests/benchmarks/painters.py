"""Pictures that excite filters and classes most, by onnxviz, lucent, tf-keras-vis and Horama, with their defaults.

The others' packages want old companions: they are installed without dependencies (tests/requirements-bench.txt), and
lucent gets what it imports and does not use. A target's "filters" are classes where its layer gives logits.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from trained import Target


def onnxviz(target: Target, filters: Sequence[int], seed: int, **options: Any) -> np.ndarray:
    """Pictures (filters, H, W, 3) in 0…1; `options` are those of `onnxviz.maximize`."""
    import onnxviz

    side = target.network.size
    wanted = {"class_": list(filters)} if target.is_classes else {"layer": target.layer, "filters": list(filters)}
    return onnxviz.maximize(
        target.file, **wanted, size=(side, side), seed=seed, preprocess=target.network.preprocess, threads=1, **options
    ).images


@cache
def torch_network(target: Target) -> Any:
    """The target in PyTorch, held against onnxruntime."""
    import torch

    torch.set_num_threads(1)
    network = target.torch()
    with torch.no_grad():
        target.check(_probe(target), network(torch.tensor(np.moveaxis(_probe(target), -1, 1))).numpy())
    return network


@cache
def keras_network(target: Target) -> Any:
    """The target in Keras, held against onnxruntime."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    if not tf.config.threading.get_intra_op_parallelism_threads():  # it refuses a second time
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    network = target.keras()
    found = np.asarray(network(255 * _probe(target)))
    target.check(_probe(target), np.moveaxis(found, -1, 1) if found.ndim == 4 else found)
    return network


def _probe(target: Target) -> np.ndarray:
    """Noise (2, H, W, 3) in 0…1."""
    return np.random.default_rng(0).random((2, target.network.size, target.network.size, 3), np.float32)


def lucent(target: Target, filters: Sequence[int], seed: int) -> np.ndarray:
    """Pictures (filters, H, W, 3) in 0…1, by lucent 0.1.8: Fourier, Adam 0.05, 512 steps, its transforms.

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

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - its transforms draw from it
    network = torch_network(target)
    wanted = sum(objectives.channel("target", number, batch=place) for place, number in enumerate(filters))
    return render.render_vis(
        network, wanted, lambda: param.image(target.network.size, batch=len(filters)), preprocess=False,
        fixed_image_size=0, progress=False, show_image=False,
    )[0]  # fmt: skip


def tf_keras_vis(target: Target, filters: Sequence[int], seed: int) -> np.ndarray:
    """Pictures (filters, H, W, 3) in 0…1, by tf-keras-vis 0.8.7: pixels, RMSprop 1, 200 steps, jitter, TV, L1."""
    import tensorflow as tf
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.input_modifiers import Jitter, Rotate2D
    from tf_keras_vis.utils.scores import CategoricalScore

    np.random.seed(seed)  # noqa: NPY002 - its jitter draws from it
    random.seed(seed)
    network, rotate = keras_network(target), Rotate2D(degree=1)
    rotate.random_generator = np.random.default_rng(seed)
    rng = np.random.default_rng(seed)
    shape = (len(filters), target.network.size, target.network.size, 3)
    start = rng.uniform(0, 255, shape).astype(np.float32)
    score, scale = CategoricalScore(list(filters)), target.network.scale
    found = ActivationMaximization(network, clone=False)(
        lambda output: scale * score(output), seed_input=tf.constant(start), input_modifiers=[Jitter(jitter=4), rotate],
    )  # fmt: skip
    return np.asarray(found) / 255


def earlier(target: Target, filters: Sequence[int], seed: int) -> np.ndarray:
    """As `onnxviz`, by what was the default once, but for its contrast without a bound: for the time it takes."""
    from onnxviz.maximization.transforms import standard

    return onnxviz(target, filters, seed, steps=256, rate=0.05, transforms=standard(16))


# Horama's pictures are larger than what the network sees; the side of the crops, 0.25 to 0.30 of the picture's, is
# drawn at every step.
HORAMA_SIDE, HORAMA_STEPS = 1280, 1000


def horama(target: Target, filters: Sequence[int], seed: int, *, maco: bool, steps: int = HORAMA_STEPS) -> np.ndarray:
    """Pictures (filters, 1280, 1280, 3) in 0…1, by Horama 0.3: NAdam 1, 6 crops a step, noise.

    Its colours are in the range of the network's own input. The magnitude for MaCo, which it would fetch, is a power
    law of the frequency, onnxviz' own, the same for each of the decorrelated colours.
    """
    import torch

    _stand_in_for_torchvision()
    from horama import fourier_fv, maco_fv

    network, how = torch_network(target), target.how
    scale, mean, std = (float(np.mean(value)) for value in (how.scale, how.mean, how.std))
    low, high = -mean / std, (255 * scale - mean) / std
    found = []
    for number in filters:
        torch.manual_seed(seed)
        options = {"values_range": (low, high), "device": "cpu", "total_steps": steps, "image_size": HORAMA_SIDE,
                   "model_input_size": target.network.size}  # fmt: skip
        with _magnitude() if maco else contextlib.nullcontext():
            climb = maco_fv.maco if maco else fourier_fv.fourier
            picture, _ = climb(
                lambda seen, number=number: network((seen - low) / (high - low))[:, number].mean(), **options
            )
        found.append((np.moveaxis(picture.detach().numpy(), 0, -1) - low) / (high - low))
    return np.stack(found)


def _stand_in_for_torchvision() -> None:
    """What Horama imports of torchvision, whose compiled operators are those of a PyTorch for CUDA."""
    names = ("torchvision", "torchvision.ops", "torchvision.datasets", "torchvision.datasets.utils")
    for name in names:
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.ops"].roi_align = roi_align
    sys.modules["torchvision.datasets.utils"].download_url = None


def roi_align(image, boxes, output_size):
    """RoIAlign (He et al. 2017) of one image (1, C, H, W) by boxes (N, 5) of its index and x, y, x, y; (N, C, h, w).

    One sample a bin, in its middle, as torchvision's with its defaults takes where no box is larger than the output.
    """
    import torch

    height, width = output_size
    left, top, right, bottom = boxes[:, 1:].T[..., None]
    x = left + (right - left) * (torch.arange(width) + 0.5) / width
    y = top + (bottom - top) * (torch.arange(height) + 0.5) / height
    x, y = torch.broadcast_tensors(x[:, None, :], y[:, :, None])
    ends = image.shape[3] - 1, image.shape[2] - 1
    grid = torch.stack([2 * x / ends[0] - 1, 2 * y / ends[1] - 1], dim=-1)
    seen = torch.nn.functional.grid_sample(
        image.expand(len(boxes), -1, -1, -1), grid, padding_mode="border", align_corners=True
    )
    inside = (x >= -1) & (x <= ends[0] + 1) & (y >= -1) & (y <= ends[1] + 1)
    return seen * inside[:, None]


@contextlib.contextmanager
def _magnitude() -> Iterator[None]:
    """A folder to be in, where Horama's MaCo finds a magnitude and does not fetch one."""
    import tempfile

    from horama.maco_fv import MACO_SPECTRUM_FILENAME

    from onnxviz.maximization.phase import PhotoSpectrum

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        np.save(Path(folder) / MACO_SPECTRUM_FILENAME, PhotoSpectrum.power_law((3, HORAMA_SIDE, HORAMA_SIDE)).magnitude)
        yield


PAINTERS: dict[str, Callable[..., np.ndarray]] = {
    "onnxviz": onnxviz,
    "onnxviz-maco": partial(onnxviz, param="maco"),
    "onnxviz-earlier": earlier,
    "lucent": lucent,
    "tf-keras-vis": tf_keras_vis,
    "horama-fourier": partial(horama, maco=False),
    "horama-maco": partial(horama, maco=True),
}

# What is made ready before the clock of a picture starts.
READY: dict[str, Callable[[Target], Any]] = {
    "lucent": torch_network,
    "tf-keras-vis": keras_network,
    "horama-fourier": torch_network,
    "horama-maco": torch_network,
}
