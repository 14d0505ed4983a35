"""Maps of views, frames, stacked inputs and tokens, against the gradients of the same network in PyTorch."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from oracles import relative

import onnxviz

torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install torch")
pytest.importorskip("onnxscript", reason="PyTorch's exporter needs it: pip install onnxscript")
pytestmark = pytest.mark.framework

nn = torch.nn
CLASS = 1
EXPORTERS = ("torchscript", "dynamo")


class Net(nn.Module):
    """Two convolutions for each picture; `keep` holds what is explained."""

    def __init__(self, features: int = 6) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(features, 3)
        self.kept: list[Any] = []

    def keep(self, tensor: Any) -> Any:
        if tensor.requires_grad and not torch.onnx.is_in_onnx_export() and not torch.compiler.is_compiling():
            tensor.retain_grad()
            self.kept.append(tensor)
        return tensor

    def maps(self, pictures: Any) -> Any:
        pooled = nn.functional.max_pool2d(nn.functional.silu(self.first(pictures)), 2)
        return self.keep(nn.functional.silu(self.second(pooled)))


class Views(Net):
    """Views in the batch, the largest of their features."""

    def forward(self, views: Any) -> Any:
        maps = self.maps(views.flatten(0, 1))
        return self.head(maps.mean((2, 3)).reshape(views.shape[0], -1, 6).amax(1))


class Frames(Net):
    """The network once for each frame, a dense layer over all of them: Flatten over time."""

    def __init__(self) -> None:
        super().__init__(4 * 6)

    def forward(self, clip: Any) -> Any:
        each = [self.maps(frame).mean((2, 3)) for frame in clip.unbind(1)]
        return self.head(torch.stack(each, 1).flatten(1))


class Averaged(Net):
    """The network once for each frame, picked by number; their mean, later frames more."""

    def forward(self, clip: Any) -> Any:
        each = [self.maps(clip[:, number]).mean((2, 3)) * (number + 1) for number in range(4)]
        return self.head(sum(each))


class Stacked(Net):
    """Two inputs along the batch, one backbone, taken apart again."""

    def __init__(self) -> None:
        super().__init__(12)

    def forward(self, before: Any, after: Any) -> Any:
        first, second = self.maps(torch.cat([before, after], 0)).mean((2, 3)).chunk(2, 0)
        return self.head(torch.cat([first, second], 1))


class PerView(Net):
    """Scores of each view, in the batch."""

    def forward(self, views: Any) -> Any:
        return self.head(self.maps(views.flatten(0, 1)).mean((2, 3)))


class Attention(nn.Module):
    """A residual block of attention and a dense layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        batch, count, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, count, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = (q @ k.transpose(-2, -1) / (width // 2) ** 0.5).softmax(-1) @ v
        return x + self.out(mixed.transpose(1, 2).reshape(batch, count, width))


class Vit(Net):
    """A class token before 4x4 tokens."""

    def __init__(self) -> None:
        super().__init__(8)
        self.patches, self.blocks = nn.Conv2d(3, 8, 4, 4), nn.ModuleList([Attention(8), Attention(8)])
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 17, 8))

    def forward(self, x: Any) -> Any:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1) + self.place
        return self.head(self.blocks[1](self.keep(self.blocks[0](tokens)))[:, 0])


class Windows(Net):
    """Attention in shifted windows of 4x4, channels last: Swin in small."""

    def __init__(self) -> None:
        super().__init__(8)
        self.patches, self.block = nn.Conv2d(3, 8, 2, 2), Attention(8)

    def forward(self, x: Any) -> Any:
        maps = torch.roll(self.patches(x).permute(0, 2, 3, 1), (-2, -2), (1, 2))
        batch, height, width, count = maps.shape
        parts = maps.view(batch, height // 4, 4, width // 4, 4, count).permute(0, 1, 3, 2, 4, 5)
        parts = self.keep(self.block(parts.reshape(-1, 16, count)))
        back = parts.view(batch, height // 4, width // 4, 4, 4, count).permute(0, 1, 3, 2, 4, 5)
        maps = torch.roll(back.reshape(batch, height, width, count), (2, 2), (1, 2))
        return self.head((maps * torch.linspace(0, 1, width)[None, None, :, None]).mean((1, 2)))


def made(kind: type[Net]) -> Net:
    torch.manual_seed(3)
    return kind().eval()


def exported(net: Net, inputs: dict[str, Any], path: Any, exporter: str) -> str:
    """The network as `.onnx`, with an open batch."""
    given, names = tuple(inputs.values()), list(inputs)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            if exporter == "torchscript":
                axes = {name: {0: "batch"} for name in names}
                torch.onnx.export(net, given, path, dynamo=False, input_names=names, dynamic_axes=axes)
            else:
                torch.onnx.export(net, given, path, dynamo=True, input_names=names, verbose=False)
        finally:
            logging.disable(logging.NOTSET)
    return str(path)


def truth(net: Net, inputs: dict[str, Any], weigh: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """What `weigh` makes of the maps that were kept and of their gradients, each (n, C, H, W); and those maps."""
    net.kept.clear()
    scores = net(*inputs.values())
    scores[:, CLASS].sum().backward()
    kept = [(tensor.detach().numpy(), tensor.grad.numpy()) for tensor in net.kept]
    return np.concatenate([weigh(maps, slopes) for maps, slopes in kept]), [maps for maps, _ in kept]


def grad_cam(maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    return np.maximum((slopes.mean((2, 3), keepdims=True) * maps).sum(1), 0)


def hires_cam(maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    return np.maximum((slopes * maps).sum(1), 0)


def drawn(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).random(shape, np.float32))


def tensor_of(path: str, feeds: dict[str, np.ndarray], value: np.ndarray) -> str:
    """The name of the last tensor with this value."""
    proto = onnx.load(path)
    names = list(dict.fromkeys(name for node in proto.graph.node for name in node.output if name))
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict(zip(names, session.run(names, feeds), strict=True))
    alike = [n for n in names if np.shape(found[n]) == value.shape and np.allclose(found[n], value, atol=1e-4)]
    return alike[-1]


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(
    ("kind", "name", "labels"),
    [
        (Views, "views", [f"view {number}" for number in range(4)]),
        (Frames, "clip", [f"frame {number}" for number in range(4)]),
        (Averaged, "clip", [f"frame {number}" for number in range(4)]),
        (PerView, "views", [f"view {number}" for number in range(4)]),
    ],
)
def test_each_view_and_each_frame_has_the_map_that_pytorch_gives(
    kind: type[Net], name: str, labels: list[str], exporter: str, tmp_path: Any
) -> None:
    net, inputs = made(kind), {name: drawn(1, 4, 3, 12, 16)}
    path = exported(net, inputs, tmp_path / "net.onnx", exporter)
    for method, weigh in (("grad-cam", grad_cam), ("hires-cam", hires_cam)):
        expected, _ = truth(net, inputs, weigh)
        found = onnxviz.explain(path, inputs[name].numpy(), method=method, class_=CLASS)
        assert found.map.shape == (4, 6, 8)
        assert relative(found.map, expected) < 1e-4
        assert list(found.labels) == labels
        assert found.as_dict()["map_axes"] == [*found.axes.letters]
    x = inputs[name].clone().requires_grad_()
    net(x)[:, CLASS].sum().backward()
    assert x.grad is not None
    found = onnxviz.explain(path, inputs[name].numpy(), method="saliency", class_=CLASS)
    assert relative(found.map, x.grad[0].abs().amax(1).numpy()) < 1e-4
    assert found.upsampled().shape == found.size == (4, 12, 16)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_of_inputs_stacked_in_the_batch_the_explained_one_is_shown(exporter: str, tmp_path: Any) -> None:
    net, inputs = made(Stacked), {"before": drawn(1, 3, 12, 16), "after": drawn(1, 3, 12, 16, seed=1)}
    path = exported(net, inputs, tmp_path / "net.onnx", exporter)
    expected, maps = truth(net, inputs, grad_cam)
    feeds = {name: array.numpy() for name, array in inputs.items()}
    for number, wrt in enumerate(inputs):
        found = onnxviz.explain(path, feeds, wrt=wrt, class_=CLASS)
        assert (found.map.shape, found.labels) == ((6, 8), ())
        assert relative(found.map, expected[number]) < 1e-4
        flat = maps[0][number].reshape(6, -1)
        flat = flat - flat.mean(1, keepdims=True)
        main = np.linalg.svd(flat.T, full_matrices=False)[2][0] @ flat
        shown = onnxviz.explain(path, feeds, wrt=wrt, class_=CLASS, method="eigen-cam").map.reshape(-1)
        assert min(relative(shown, main), relative(shown, -main)) < 1e-3


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_score_cam_masks_every_view_by_its_own_part_of_a_channel(exporter: str, tmp_path: Any) -> None:
    net, views = made(Views), drawn(1, 4, 3, 12, 16)
    path = exported(net, {"views": views}, tmp_path / "net.onnx", exporter)
    with torch.no_grad():
        maps = net.maps(views[0])
        large = nn.functional.interpolate(maps, (12, 16), mode="bilinear", align_corners=True).transpose(0, 1)
        low, high = (large.reshape(6, -1).amin(1), large.reshape(6, -1).amax(1))
        masks = (large - low[:, None, None, None]) / (high - low + 1e-8)[:, None, None, None]
        scores = torch.stack([net(views * mask[None, :, None])[0, CLASS] for mask in masks])
        expected = torch.relu((torch.softmax(scores, 0)[None, :, None, None] * maps).sum(1)).numpy()
    found = onnxviz.explain(path, views.numpy(), class_=CLASS, method="score-cam")
    assert relative(found.map, expected) < 1e-4


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_tokens_are_laid_out_as_the_picture_and_the_class_token_is_left_out(exporter: str, tmp_path: Any) -> None:
    net, x = made(Vit), drawn(1, 3, 16, 16)
    path = exported(net, {"x": x}, tmp_path / "net.onnx", exporter)

    def pictures(tokens: np.ndarray) -> np.ndarray:
        return tokens[:, 1:].transpose(0, 2, 1).reshape(1, 8, 4, 4)

    expected, kept = truth(net, {"x": x}, lambda maps, slopes: grad_cam(pictures(maps), pictures(slopes)))
    layer = tensor_of(path, {"x": x.numpy()}, kept[0])
    found = onnxviz.explain(path, x.numpy(), layer=layer, class_=CLASS)
    assert relative(found.map, expected[0]) < 1e-4
    assert any("1 token" in text and "left out" in text for text in found.warnings)
    said = onnxviz.explain(path, x.numpy(), layer=layer, class_=CLASS, axes={layer: "N,1+H*W,C"})
    assert np.array_equal(said.map, found.map)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_shifted_windows_are_put_together(exporter: str, tmp_path: Any) -> None:
    net, x = made(Windows), drawn(1, 3, 16, 24)
    path = exported(net, {"x": x}, tmp_path / "net.onnx", exporter)

    def pictures(parts: np.ndarray) -> np.ndarray:
        grid = parts.reshape(1, 2, 3, 4, 4, 8).transpose(0, 5, 1, 3, 2, 4).reshape(1, 8, 8, 12)
        return np.roll(grid, (2, 2), (2, 3))

    expected, kept = truth(net, {"x": x}, lambda maps, slopes: grad_cam(pictures(maps), pictures(slopes)))
    layer = tensor_of(path, {"x": x.numpy()}, kept[0])
    found = onnxviz.explain(path, x.numpy(), layer=layer, class_=CLASS)
    assert found.axes.letters == "HW"
    assert relative(found.map, expected[0]) < 1e-4


class Shifted(Net):
    """Temporal shift: of each frame, some channels of the one before and the one behind."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, clip: Any) -> Any:
        batch, frames = clip.shape[:2]
        maps = nn.functional.silu(self.first(clip.flatten(0, 1)))
        maps = maps.reshape(batch, frames, *maps.shape[1:])
        none = torch.zeros_like(maps[:, :1, :1])
        behind = torch.cat([maps[:, 1:, :1], none], 1)
        before = torch.cat([none, maps[:, :-1, 1:2]], 1)
        maps = torch.cat([behind, before, maps[:, :, 2:]], 2).flatten(0, 1)
        maps = self.keep(nn.functional.silu(self.second(maps)))
        return self.head(maps.mean((2, 3))).reshape(batch, frames, -1).mean(1)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_frames_that_see_their_neighbours_stay_frames(exporter: str, tmp_path: Any) -> None:
    net, clip = made(Shifted), drawn(1, 4, 3, 12, 16)
    path = exported(net, {"clip": clip}, tmp_path / "net.onnx", exporter)
    expected, _ = truth(net, {"clip": clip}, grad_cam)
    found = onnxviz.explain(path, clip.numpy(), class_=CLASS)
    assert found.axes.letters == "THW"
    assert relative(found.map, expected) < 1e-4
