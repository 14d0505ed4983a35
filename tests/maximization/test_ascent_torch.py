"""The climb of `onnxviz.maximize` against a plain PyTorch loop from the same start."""

import copy
import logging
import warnings

import numpy as np
import pytest

from onnxviz.inputs.preprocessing import NAMED
from onnxviz.maximization.half_spectrum import COLOURS
from onnxviz.maximization.maximize import maximize
from onnxviz.maximization.objectives import Filter
from onnxviz.maximization.parametrisation import Fourier, Pixels
from onnxviz.maximization.variation import RATES

torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
STEPS = 16
FILTERS = [1, 4, 7]
STILL = {"transforms": "none", "leak": 0}


def network():
    """Strided, dilated, padded, pooled; channels 3, 8, 12, 10."""
    torch.manual_seed(3)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, padding=2, stride=2),
        torch.nn.ReLU(),
        torch.nn.BatchNorm2d(8).requires_grad_(False),
        torch.nn.MaxPool2d(3, 2, padding=1),
        torch.nn.Conv2d(8, 12, 3, padding=2, dilation=2),
        torch.nn.SiLU(),
        torch.nn.Conv2d(12, 10, 3),
        torch.nn.ReLU(),
    ).eval()
    module[6].bias.data += 0.1  # no filter begins silent
    return module


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The module and its `.onnx`, for any number of 40x36 pictures."""
    module = network()
    path = tmp_path_factory.mktemp("torch") / "small.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces what will change in it
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(
                module, (torch.zeros(2, 3, 40, 36),), path, dynamo=False, opset_version=17,
                input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    return module, path


def start(way, seed):
    """The parameters that `maximize` begins with."""
    return torch.tensor(way.start([np.random.default_rng((seed, number, 0)) for number in FILTERS]))


def pictures(way, parameters):
    """Lucid's formula, written anew in PyTorch."""
    if isinstance(way, Pixels):
        return torch.sigmoid(parameters)
    height, width = way.shape[1:]
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    scale = 1 / torch.clamp(torch.sqrt(down**2 + across**2), min=1 / max(height, width)) ** way.decay
    counts = torch.full((width // 2 + 1,), 2.0)
    counts[0], counts[-1] = 1, 2 if width % 2 else 1
    scale[0, 0] = torch.sqrt(scale[0, 0] * torch.sqrt(((scale * counts) ** 2).sum() - scale[0, 0] ** 2))
    spectrum = torch.view_as_complex(parameters) * scale
    plane = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho") / 4
    return torch.sigmoid(torch.einsum("dc,nchw->ndhw", torch.tensor(COLOURS, dtype=plane.dtype), plane))


def plain_loop(module, way, parameters, how, objective, noise=None):
    """The activations before each of 16 steps of torch's Adam, and the last pictures, in float64.

    With `noise`, a generator, the pictures of each step are off as if they had been rounded to float32.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        module = copy.deepcopy(module).double()
        mean, std = (torch.tensor(value).reshape(1, -1, 1, 1) for value in (how.mean, how.std))
        parameters = parameters.double().requires_grad_()
        adam = torch.optim.Adam([parameters], lr=RATES["pixel" if isinstance(way, Pixels) else "fourier"])
        trace = []
        for _ in range(STEPS):
            images = pictures(way, parameters)
            if noise is not None:
                images = images * (1 + 2**-23 * torch.randn(images.shape, generator=noise))
            turned = images[:, [2, 1, 0]] if how.order == "BGR" else images
            values = objective(module((turned * 255 * how.scale - mean) / std))
            trace.append(values.detach().numpy().copy())
            adam.zero_grad()
            (-values.sum()).backward()
            adam.step()
        return np.array(trace).T, pictures(way, parameters).detach().permute(0, 2, 3, 1).numpy()
    finally:
        torch.set_default_dtype(before)


def check_trace(found, module, way, parameters, how, objective):
    """The trace is that of the plain loop to 1e-4, in most pictures; 3e-7 is usual.

    Where a number stands near a kink (a Relu, the maximum of a window), rounding decides on which side it goes on, and
    Adam makes much of it. How far that takes the loop itself is measured: with pictures that are off by a unit in the
    last place of float32 at each step.
    """
    trace, images = plain_loop(module, way, parameters, how, objective)
    assert np.abs(found.images - images).mean() < 1e-2
    gaps = apart(found.trace, trace)
    excused = gaps >= 1e-4
    assert excused.sum() <= 1, gaps
    if excused.any():
        noise = torch.Generator().manual_seed(0)
        rough = np.zeros(len(gaps))
        for _ in range(16):
            shaken, _ = plain_loop(module, way, parameters, how, objective, noise)
            rough = np.maximum(rough, apart(shaken, trace))
        assert (gaps < 1e-4 + 2 * rough).all(), (gaps, rough)
    return trace, excused.sum()


def apart(one, other):
    """The largest difference of the traces of each picture, relative to the other's values, (N,)."""
    return (np.abs(one - other) / np.maximum(np.abs(other), 1e-3 * np.abs(other).max())).max(axis=1)


@pytest.mark.parametrize("preprocess", ["torch", "signed", "caffe"])
@pytest.mark.parametrize("param", ["fourier", "pixel"])
def test_the_trace_is_a_plain_torch_loops(exported, param, preprocess):
    module, path = exported
    shape = (3, 40, 36)
    way = Fourier(shape) if param == "fourier" else Pixels(shape)

    def means(values):
        return values.mean(dim=(2, 3))[range(3), FILTERS]

    excused = 0
    for seed in range(3):
        found = maximize(
            path, "6", filters=FILTERS, steps=STEPS, param=param, preprocess=preprocess, seed=seed, **STILL
        )
        trace, more = check_trace(found, module, way, start(way, seed), NAMED[preprocess], means)
        assert (trace[:, -1] > trace[:, 0]).all()
        excused += more
    assert excused <= 2


def test_a_sum_of_objectives_climbs_as_in_torch(exported):
    module, path = exported
    way = Fourier((3, 40, 36))
    wanted = [Filter("6", number) - 0.3 * Filter("6", 0) for number in FILTERS]
    found = maximize(path, wanted, steps=STEPS, preprocess="torch", seed=1, **STILL)
    sources = [np.random.default_rng((1, 0, 0)) for _ in FILTERS]

    def sums(values):
        maps = values.mean(dim=(2, 3))
        return maps[range(3), FILTERS] - 0.3 * maps[:, 0]

    check_trace(found, module, way, torch.tensor(way.start(sources)), NAMED["torch"], sums)
