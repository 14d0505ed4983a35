"""One step at a time: a gradient with respect to the input, and a step of activation maximisation.

Every function gives the median CPU time of a step on one thread, in seconds; building and the first steps are not
counted.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

WARM, COUNTED = 3, 20
FILTER = 3


def median(steps: Iterator[object]) -> float:
    """The median time between one step and the next."""
    ends = []
    for _, _ in zip(range(WARM + COUNTED + 1), steps, strict=False):
        ends.append(time.process_time())
    return statistics.median(np.diff(ends[WARM:]))


def forever(step: Callable[[], object]) -> Iterator[object]:
    """The step, again and again."""
    while True:
        yield step()


def network(name: str):
    """A torchvision network with drawn weights; VGG16 up to the activation of its conv4_3."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import torch
    from accuracy.torchvision_networks import import_torchvision

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = import_torchvision().models.get_model(name, weights=None).eval().requires_grad_(requires_grad=False)
    module = module.features[:23] if name == "vgg16" else module
    x = torch.rand(1, 3, 224, 224)
    return module, x, torch.randn(module(x).shape)


def gradient(name: str) -> Callable[[], float]:
    """Value and gradient by onnxviz."""
    import torch

    from onnxviz.gradients.add_gradient import add_gradient

    module, x, seed = network(name)
    file = Path(tempfile.mkdtemp()) / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces what will change in it
        torch.onnx.export(module, (x,), str(file), dynamo=False, opset_version=17, input_names=["x"])
    feeds, weights = {"x": x.numpy()}, seed.numpy()
    session = add_gradient(file).session(threads=1)
    return lambda: median(forever(lambda: session.run(feeds, weights)))


def gradient_by_torch(name: str) -> Callable[[], float]:
    """The same by torch's autograd, eager."""
    module, x, seed = network(name)
    point = x.clone().requires_grad_()

    def step() -> None:
        point.grad = None
        module(point).backward(seed)

    return lambda: median(forever(step))


def maximize(name: str, layer: str, batch: str, folder: str, transforms: str = "standard") -> Callable[[], float]:
    """A step of `onnxviz.maximize`, with all that it does beside the gradient."""
    from trained import Target

    import onnxviz

    target = Target(name, layer, folder)
    side, filters = target.network.size, list(range(FILTER, FILTER + int(batch)))
    ends: list[float] = []

    def run() -> float:
        onnxviz.maximize(
            target.file, layer, filters=filters, steps=WARM + COUNTED, size=(side, side), transforms=transforms,
            preprocess=target.network.preprocess, threads=1, progress=lambda _: ends.append(time.process_time()),
        )  # fmt: skip
        return statistics.median(np.diff(ends[WARM:]))

    return run


def maximize_still(name: str, layer: str, batch: str, folder: str) -> Callable[[], float]:
    """The same without random movements, as in `maximize_by_torch`."""
    return maximize(name, layer, batch, folder, "none")


def maximize_by_torch(name: str, layer: str, batch: str, folder: str) -> Callable[[], float]:
    """What one writes by hand in PyTorch: spectrum, decorrelated colours, sigmoid, Adam; no movements."""
    import torch
    from trained import Target

    from onnxviz.maximization.parametrisation import COLOURS

    torch.set_num_threads(1)
    target, count = Target(name, layer, folder), int(batch)
    module, side = target.torch(), target.network.size
    down, across = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    scale = 1 / torch.clamp(torch.sqrt(down**2 + across**2), min=1 / side)
    spectrum = (0.01 * torch.randn(count, 3, side, side // 2 + 1, 2)).requires_grad_()
    colours, adam = torch.tensor(COLOURS), torch.optim.Adam([spectrum], lr=0.05)
    rows, filters = range(count), list(range(FILTER, FILTER + count))

    def step() -> None:
        plane = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=(side, side), norm="ortho") / 4
        pictures = torch.sigmoid(torch.einsum("dc,nchw->ndhw", colours, plane))
        loss = -module(pictures).mean((2, 3))[rows, filters].sum()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return lambda: median(forever(step))


def maximize_by_tf_keras_vis(name: str, layer: str, batch: str, folder: str) -> Callable[[], float]:
    """A step of tf-keras-vis 0.8.7 with its defaults: jitter, rotation, total variation, norm, RMSprop."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.callbacks import Callback
    from tf_keras_vis.utils.scores import CategoricalScore
    from trained import Target

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    target, count = Target(name, layer, folder), int(batch)
    side, ends = target.network.size, []
    start = np.random.default_rng(0).uniform(0, 255, (count, side, side, 3)).astype(np.float32)

    class Clock(Callback):
        def __call__(self, *_, **__) -> None:
            ends.append(time.process_time())

    climb, score = ActivationMaximization(target.keras(), clone=False), list(range(FILTER, FILTER + count))

    def run() -> float:
        climb(CategoricalScore(score), seed_input=tf.constant(start), steps=WARM + COUNTED, callbacks=[Clock()])
        return statistics.median(np.diff(ends[WARM:]))

    return run
