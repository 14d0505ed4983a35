"""Modules that normalise in `forward`, as public code writes it: PyTorch's own answer for a photo is ours by `auto`."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from oracles import relative, untouched
from PIL import Image

import onnxviz
from onnxviz.inputs.expectation import Expectation

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402
from torch_checks import Calls  # noqa: E402

from onnxviz.conversion.convert import conversion  # noqa: E402

PHOTO = np.random.default_rng(8).integers(0, 256, (12, 10, 3), np.uint8)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
CAFFE = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
CLIP = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
SHIFT = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
SCALE = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)


def transform_input(x):
    """torchvision's GoogLeNet and Inception v3, `transform_input=True`."""
    red = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
    green = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
    blue = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
    return torch.cat((red, green, blue), 1)


def by_channel(x):
    x = x.clone()
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        x[:, channel] = (x[:, channel] - mean) / std
    return x


def mean_shift():
    """EDSR's, of pixels of 0…255."""
    shift = nn.Conv2d(3, 3, kernel_size=1)
    shift.weight.data = torch.eye(3).view(3, 3, 1, 1)
    shift.bias.data = -255 * torch.tensor([0.4488, 0.4371, 0.4040])
    return shift


# What is done in `forward`, and what people feed: pixels (N, 3, H, W) of 0…255 to the module's input.
RAW, UNIT, SIGNED = (lambda p: p), (lambda p: p / 255), (lambda p: p / 127.5 - 1)
TORCH, BGR = (lambda p: (p / 255 - MEAN) / STD), (lambda p: p.flip(1))
WAYS = {
    "x / 255": (lambda x: x / 255, RAW),
    "x / 255.0, then Normalize": (lambda x: (x / 255.0 - MEAN) / STD, RAW),
    "x.div(127.5).sub(1)": (lambda x: x.div(127.5).sub(1), RAW),
    "facenet: (x − 127.5) / 128": (lambda x: (x - 127.5) / 128, RAW),
    "FCN: BGR by index, minus Caffe's mean": (lambda x: x[:, [2, 1, 0]] - CAFFE, RAW),
    "SSD: minus Caffe's mean, fed in BGR": (lambda x: x - CAFFE, BGR),
    "detectron2: pixel mean and std": (lambda x: (x - 255 * MEAN) / (255 * STD), RAW),
    "mmdet: bgr_to_rgb inside, fed in BGR": (lambda x: (x.flip(1) - 255 * MEAN) / (255 * STD), BGR),
    "Normalize alone": (lambda x: (x - MEAN) / STD, UNIT),
    "in place, as torchvision's functional": (lambda x: x.clone().sub_(MEAN).div_(STD), UNIT),
    "a channel at a time": (by_channel, UNIT),
    "CLIP": (lambda x: (x - CLIP) / CLIP_STD, UNIT),
    "2 * x − 1": (lambda x: 2 * x - 1, UNIT),
    "(x − 0.5) / 0.5": (lambda x: (x - 0.5) / 0.5, UNIT),
    "RAFT: 2 * (x / 255) − 1": (lambda x: 2 * (x / 255.0) - 1.0, RAW),
    "x * 255 in BGR, minus Caffe's mean": (lambda x: (x * 255)[:, [2, 1, 0]] - CAFFE, UNIT),
    "LPIPS": (lambda x: (x - SHIFT) / SCALE, SIGNED),
    "(x + 1) / 2, then Normalize": (lambda x: ((x + 1) / 2 - MEAN) / STD, SIGNED),
    "StyleGAN's features: (x + 1) * 127.5": (lambda x: (x + 1) * 127.5, SIGNED),
    "transform_input": (transform_input, TORCH),
    "clamp to 0…1": (lambda x: x.clamp(0, 1), UNIT),
    "channels last and back": (lambda x: (x.permute(0, 2, 3, 1) / 255).permute(0, 3, 1, 2), RAW),
    "resized first": (lambda x: nn.functional.interpolate(x, size=(8, 8), mode="bilinear") / 255, RAW),
    "EDSR's mean shift": (mean_shift(), RAW),
}
SILENT = {
    "nothing": lambda x: x,
    "each picture by its own": lambda x: (x - x.mean()) / x.std(),
    "each picture by its largest": lambda x: x / x.amax(dim=(1, 2, 3), keepdim=True),
    "a fresh batch normalisation": nn.BatchNorm2d(3),
    "a learnt scale": lambda x: x * torch.tensor([0.9, 1.2, 1.1]).view(1, 3, 1, 1),
    "relu": torch.relu,
}


class Normalising(nn.Module):
    """A convolution behind `inside`, which belongs to `forward`."""

    def __init__(self, inside):
        super().__init__()
        self.inside = inside
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(self.inside(x))


def exported(module, how, path):
    if how == "converted":
        done = conversion(module, output=path, input_shape=(1, 3, 12, 10), verify=False)
        return done.model
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(1, 3, 12, 10),), buffer, dynamo=how == "dynamo", verbose=False,
            opset_version=18 if how == "dynamo" else 17,
        )  # fmt: skip
    path.write_bytes(buffer.getvalue())
    return onnxviz.load(path)


# x[:, 0] = … with indices that are computed from sizes, as for an open batch: nothing is said of it.
UNREAD = {("a channel at a time", "torchscript"), ("a channel at a time", "converted")}


# Of torch.export's own exporter, which takes seconds each, those that it writes in a form of its own.
OF_DYNAMO = ("FCN: BGR by index, minus Caffe's mean", "a channel at a time", "transform_input", "resized first")
TRIED = [(way, how) for way in WAYS for how in ("converted", "torchscript")] + [(way, "dynamo") for way in OF_DYNAMO]


@pytest.mark.parametrize(("way", "how"), TRIED)
def test_a_photo_gets_the_sources_answer(way, how, tmp_path):
    inside, people_feed = WAYS[way]
    torch.manual_seed(0)
    module = Normalising(inside).eval()
    pixels = torch.from_numpy(PHOTO).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        fed = people_feed(pixels)
        truth = module(fed).numpy()
        model = exported(module, how, tmp_path / "m.onnx")
    found = Expectation.of(model)
    if (way, how) in UNREAD:
        assert found.assumed
        return
    assert not found.assumed, found
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    ours = onnxviz.capture(model, tmp_path / "photo.png", layers="last", at="conv")
    (output,) = (port.name for port in model.outputs)
    proto = onnxviz.load(tmp_path / "m.onnx").proto
    assert relative(untouched(proto, [output], {model.inputs[0].name: fed.numpy()})[output], truth) < 1e-5
    assert relative(next(iter(ours.values())), truth) < 1e-4
    if how == "converted":
        assert found.source == "metadata"
        assert found.remark


@pytest.mark.parametrize("how", ["converted", "torchscript"])
@pytest.mark.parametrize("way", SILENT)
def test_what_tells_nothing_is_assumed(way, how, tmp_path):
    module = Normalising(SILENT[way]).eval()
    with torch.no_grad():
        model = exported(module, how, tmp_path / "m.onnx")
    assert model.input_ranges == {}
    assert Expectation.of(model).assumed


def test_a_wrapper_around_a_network_is_read_through(tmp_path):
    """`nn.Sequential(Normalize, backbone)`, with buffers, as robustness benchmarks and CLIP's users write it."""

    class Normalize(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", MEAN.clone())
            self.register_buffer("std", STD.clone())

        def forward(self, x):
            return (x - self.mean) / self.std

    done = conversion(nn.Sequential(Normalize(), nn.Conv2d(3, 4, 3)).eval(), input_shape=(1, 3, 12, 10), verify=False)
    assert done.preprocessing == onnxviz.Preprocessing.parse("unit")
    assert done.notes[-1] == (
        "images are prepared as 'unit': the model subtracts 0.485, 0.456, 0.406 and divides by 0.229, 0.224, 0.225 "
        "itself (preprocess= changes it)"
    )


def test_what_is_asked_for_is_kept_and_the_contradiction_said():
    module = Calls(lambda self, x: self.part0(x / 255), nn.Conv2d(3, 4, 3)).eval()
    done = conversion(module, input_shape=(1, 3, 12, 10), preprocess="unit", verify=False)
    assert done.model.preprocessing["name"] == "unit"
    assert "'unit' is kept as asked, but the graph expects 'raw': the model divides by 255 itself" in done.notes
    assert "'raw' is what the graph expects" in done.model.preprocessing_conflict


def test_an_open_order_is_left_to_the_user():
    module = Calls(lambda self, x: self.part0(x.flip(1) / 255), nn.Conv2d(3, 4, 3)).eval()
    done = conversion(module, input_shape=(1, 3, 12, 10), verify=False)
    assert done.preprocessing is None
    assert "images may be RGB or BGR: say which with preprocess=" in done.notes[-1]
    kept = conversion(module, input_shape=(1, 3, 12, 10), preprocess="order=BGR", verify=False)
    assert (kept.preprocessing.order, kept.model.preprocessing_conflict) == ("BGR", "")
