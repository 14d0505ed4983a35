"""Raw maps against captum, and against pytorch-grad-cam's formulae written anew with torch."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from oracles import relative

import onnxviz
from onnxviz.explanations.methods import METHODS
from onnxviz.explanations.methods.perturbation import random_mask

torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install torch")
pytest.importorskip("onnxscript", reason="PyTorch's exporter needs it: pip install onnxscript")

nn, f = torch.nn, torch.nn.functional
CLASS = 3
CAMS = ("grad-cam", "grad-cam++", "layer-cam", "hires-cam", "xgrad-cam")


class Plain(nn.Module):
    """Convolutions and poolings, then a mean: VGG in small. `act` is Relu, or smooth where kinks would blur a test."""

    def __init__(self, act):
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), act(), nn.Conv2d(8, 8, 3, padding=1), act())
        self.back = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), act())
        self.head = nn.Linear(12, 5)

    def maps(self, x):
        return self.back(self.front(x))

    def behind(self, maps):
        return self.head(maps.mean((2, 3)))

    def forward(self, x):
        return self.behind(self.maps(x))


class Residual(Plain):
    """A sum after the last convolution, and a dense layer that sees positions."""

    def __init__(self, act):
        super().__init__(act)
        self.side = nn.Conv2d(12, 12, 3, padding=1)
        self.act = act()
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5), nn.Softmax(1))

    def maps(self, x):
        x = super().maps(x)
        return self.act(x + self.side(x))

    def behind(self, maps):
        return self.head(maps)

    def scores(self, x):
        return self.head[:-1](self.maps(x))


def exported(module, x, path, exporter):
    """The module as `.onnx`, with an open batch."""
    names = {"input_names": ["x"], "output_names": ["y"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters announce what will change in them
        logging.disable(logging.WARNING)
        try:
            if exporter == "torchscript":
                axes = {"x": {0: "batch"}, "y": {0: "batch"}}
                torch.onnx.export(module, (x,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
            else:
                shapes = ({0: torch.export.Dim("batch")},)
                pair = torch.cat([x, x])
                torch.onnx.export(module, (pair,), path, dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
        finally:
            logging.disable(logging.NOTSET)
    return onnxviz.load(path)


class Scores(nn.Module):
    """A network without its softmax, as captum wants it: a module."""

    def __init__(self, net):
        super().__init__()
        self.module, self.forward = net.module, net.scores


class Net:
    """One network in both forms, and a sample."""

    def __init__(self, kind, act, exporter, path):
        torch.manual_seed(0)
        self.module = kind(act).eval()
        self.x = torch.randn(1, 3, 16, 12)
        self.model = exported(self.module, self.x, path, exporter)

    def scores(self, x):
        return getattr(self.module, "scores", self.module)(x)

    def score(self, x):
        return self.scores(x)[:, CLASS]

    def behind(self, maps):
        head = self.module.head[:-1] if hasattr(self.module, "scores") else self.module.behind
        return head(maps)

    def gradient(self, x):
        point = x.clone().requires_grad_()
        return torch.autograd.grad(self.score(point).sum(), point)[0]

    def explain(self, method, **options):
        return onnxviz.explain(self.model, self.x.numpy(), method=method, class_=CLASS, **options)


@pytest.fixture(scope="module", params=["torchscript", "dynamo"])
def exporter(request):
    return request.param


@pytest.fixture(scope="module", params=[Plain, Residual], ids=["plain", "residual"])
def relu(request, exporter, tmp_path_factory):
    return Net(request.param, nn.ReLU, exporter, tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module", params=[Plain, Residual], ids=["plain", "residual"])
def smooth(request, exporter, tmp_path_factory):
    return Net(request.param, nn.SiLU, exporter, tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module")
def captum():
    return pytest.importorskip("captum.attr", reason="the oracle is captum: pip install captum")


def summed(attribution):
    return attribution[0].sum(0).detach().numpy()


def largest(attribution):
    return attribution[0].abs().amax(0).detach().numpy()


def test_score_and_probability(relu):
    found = relu.explain("saliency")
    with torch.no_grad():
        logits = relu.scores(relu.x)
    assert found.score == pytest.approx(logits[0, CLASS].item(), rel=1e-5)
    assert found.probability == pytest.approx(torch.softmax(logits, 1)[0, CLASS].item(), rel=1e-5)
    top = onnxviz.explain(relu.model, relu.x.numpy(), method="saliency")
    assert top.class_ == int(logits.argmax())


def test_saliency(relu, captum):
    expected = captum.Saliency(relu.scores).attribute(relu.x.clone().requires_grad_(), target=CLASS)
    assert relative(relu.explain("saliency").map, largest(expected)) < 1e-5


def test_input_x_gradient(relu, captum):
    expected = captum.InputXGradient(relu.scores).attribute(relu.x.clone().requires_grad_(), target=CLASS)
    found = relu.explain("input-x-gradient")
    assert relative(found.map, summed(expected)) < 1e-5
    assert relative(found.attribution, expected[0].detach().numpy()) < 1e-5


def test_guided(relu, captum):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks
        expected = captum.GuidedBackprop(Scores(relu)).attribute(relu.x.clone().requires_grad_(), target=CLASS)
    found = relu.explain("guided")
    assert relative(found.map, largest(expected)) < 1e-5
    assert any("Adebayo" in text for text in found.warnings)


@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_integrated_gradients(smooth, captum, baseline):
    method = captum.IntegratedGradients(smooth.scores)
    expected, delta = method.attribute(
        smooth.x, baselines=baseline, target=CLASS, n_steps=50, return_convergence_delta=True
    )
    found = smooth.explain("integrated-gradients", baseline=baseline)
    assert relative(found.map, summed(expected)) < 1e-5
    assert abs(found.gap - delta.item()) < 1e-5 * max(1, abs(found.score))


def test_integrated_gradients_are_complete(relu, smooth):
    for net in (relu, smooth):
        found = net.explain("integrated-gradients", samples=200)
        with torch.no_grad():
            change = (net.score(net.x) - net.score(torch.zeros_like(net.x))).item()
        assert abs(found.attribution.sum() - change) < 0.02 * abs(change)
        assert found.gap == pytest.approx(found.attribution.sum() - change, abs=1e-4)
    assert abs(smooth.explain("integrated-gradients").gap) < 1e-5


def test_smooth_grad(smooth):
    x = smooth.x.numpy()[0]
    noise = np.random.default_rng(7).standard_normal((20, *x.shape)) * 0.1 * float(x.max() - x.min())
    gradients = smooth.gradient(torch.tensor(x + noise, dtype=torch.float32))
    expected = gradients.mean(0).abs().amax(0).numpy()
    found = smooth.explain("smooth-grad", samples=20, noise=0.1, seed=7)
    assert relative(found.map, expected) < 1e-5
    assert np.array_equal(found.map, smooth.explain("smooth-grad", samples=20, noise=0.1, seed=7).map)
    assert not np.array_equal(found.map, smooth.explain("smooth-grad", samples=20, noise=0.1, seed=8).map)


def activations(net):
    """A and ∂S/∂A, (C, H, W) float64."""
    maps = net.module.maps(net.x).detach().requires_grad_()
    slopes = torch.autograd.grad(net.behind(maps)[:, CLASS].sum(), maps)[0]
    return maps[0].detach().numpy().astype(np.float64), slopes[0].numpy().astype(np.float64)


def reference_cam(method, a, g):
    """pytorch-grad-cam 1.5.7: `get_cam_weights`, `get_cam_image` and np.maximum(cam, 0), for one image."""
    if method == "layer-cam":
        return np.maximum((np.maximum(g, 0) * a).sum(0), 0)
    if method == "hires-cam":
        return np.maximum((g * a).sum(0), 0)
    if method == "grad-cam":
        weights = g.mean((1, 2))
    elif method == "xgrad-cam":
        weights = (g * a / (a.sum((1, 2), keepdims=True) + 1e-7)).sum((1, 2))
    else:
        alpha = g**2 / (2 * g**2 + a.sum((1, 2), keepdims=True) * g**3 + 0.000001)
        weights = (np.maximum(g, 0) * np.where(g != 0, alpha, 0)).sum((1, 2))
    return np.maximum((weights[:, None, None] * a).sum(0), 0)


@pytest.mark.parametrize("method", CAMS)
def test_cam(relu, smooth, method):
    for net in (relu, smooth):
        found = net.explain(method)
        assert found.map.shape == (8, 6)
        assert relative(found.map, reference_cam(method, *activations(net))) < 1e-5


def test_grad_cam_against_captum(relu, captum):
    layer = relu.module.back if type(relu.module) is Plain else relu.module.act
    expected = captum.LayerGradCam(Scores(relu), layer)
    # In Residual `act` runs once, after the sum.
    attributed = expected.attribute(relu.x, target=CLASS, relu_attributions=True)[0, 0]
    assert relative(relu.explain("grad-cam").map, attributed.detach().numpy()) < 1e-5


def test_eigen_cam(relu):
    a, _ = activations(relu)
    flat = a.reshape(len(a), -1).T
    flat = flat - flat.mean(axis=0)
    expected = (flat @ np.linalg.svd(flat, full_matrices=True)[2][0]).reshape(a.shape[1:])
    found = relu.explain("eigen-cam").map
    assert min(relative(found, expected), relative(found, -expected)) < 1e-5
    assert abs(found.max()) >= abs(found.min())


def test_score_cam(relu):
    a, _ = activations(relu)
    with torch.no_grad():
        masks = nn.UpsamplingBilinear2d(size=relu.x.shape[-2:])(torch.tensor(a, dtype=torch.float32)[None])[0]
        flat = masks.view(len(masks), -1)
        low, high = flat.min(1)[0][:, None, None], flat.max(1)[0][:, None, None]
        masks = (masks - low) / (high - low + 1e-8)
        weights = torch.softmax(relu.score(relu.x * masks[:, None]), 0).numpy()
    expected = np.maximum((weights[:, None, None] * a).sum(0), 0)
    assert relative(relu.explain("score-cam").map, expected) < 1e-5


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (5, 3), (3, 3), (16, 1), (1, 1)])
def test_occlusion(smooth, captum, window, stride):
    window = min(window, 12)
    expected = captum.Occlusion(smooth.scores).attribute(
        smooth.x, sliding_window_shapes=(3, window, window), strides=(3, stride, stride), target=CLASS, baselines=0.2
    )[0, 0]
    found = smooth.explain("occlusion", window=window, stride=stride, baseline=0.2)
    assert relative(found.map, expected.numpy()) < 1e-4  # differences of scores, of which float32 keeps less


def test_occlusion_loop(smooth):
    total, times = np.zeros((16, 12)), np.zeros((16, 12))
    with torch.no_grad():
        whole = smooth.score(smooth.x).item()
        for top in range(0, 13, 2):
            for left in range(0, 9, 2):
                covered = smooth.x.clone()
                covered[:, :, top : top + 4, left : left + 4] = 0
                total[top : top + 4, left : left + 4] += whole - smooth.score(covered).item()
                times[top : top + 4, left : left + 4] += 1
    assert relative(smooth.explain("occlusion", window=4, stride=2).map, total / times) < 1e-4


def test_rise_loop(smooth):
    rng = np.random.default_rng(5)
    total = np.zeros((16, 12))
    with torch.no_grad():
        for _ in range(37):
            mask = random_mask(rng, (16, 12), 4, 0.4)
            chance = torch.softmax(smooth.scores(smooth.x * torch.tensor(mask)), 1)[0, CLASS].item()
            total += chance * mask
    found = smooth.explain("rise", samples=37, cells=4, keep=0.4, seed=5)
    assert relative(found.map, total / 37 / 0.4) < 1e-5


def test_masks_of_rise_are_the_authors():
    """`generate_masks` of github.com/eclique/RISE: a grid enlarged with half-pixel centres, cut at a random shift."""
    for number in range(20):
        mask = random_mask(np.random.default_rng(number), (30, 20), 7, 0.5)
        rng = np.random.default_rng(number)
        grid = (rng.random((7, 7)) < 0.5).astype(np.float32)
        cell = (5, 3)
        x, y = int(rng.integers(0, cell[0])), int(rng.integers(0, cell[1]))
        large = f.interpolate(torch.tensor(grid)[None, None], (8 * cell[0], 8 * cell[1]), mode="bilinear")[0, 0]
        assert relative(mask, large.numpy()[x : x + 30, y : y + 20]) < 1e-6


def test_every_method_has_an_oracle():
    here = set(CAMS) | {
        "saliency", "input-x-gradient", "guided", "integrated-gradients", "smooth-grad", "eigen-cam", "score-cam",
        "occlusion", "rise",
    }  # fmt: skip
    assert here == set(METHODS)
