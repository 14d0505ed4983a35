"""PyTorch modules against their conversions: the modules' own forward, their own weights and forward hooks."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
from onnx import numpy_helper

import onnxviz
from onnxviz.conversion.converter import SourceModel
from onnxviz.model.naming import LAYER_KEY

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402

CLOSE = 1e-4


def attached(traced):
    """The graph with its weights inside; the checker has seen it."""
    proto = onnx.ModelProto()
    proto.CopyFrom(traced.proto)
    for name, array in traced.weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def drawn(source: SourceModel, batch: int, size: int = 40, seed: int = 0):
    rng = np.random.default_rng(seed)
    feeds = {}
    for port in source.inputs:
        shape = [(batch if axis == 0 else size) if dim is None else dim for axis, dim in enumerate(port.shape)]
        feeds[port.name] = rng.standard_normal(shape).astype(port.dtype)
    return feeds


def told(source, *texts):
    """Whether each text is in a note."""
    return all(any(text in note for note in source.notes) for text in texts)


def check(source: SourceModel, *, opset: int = 18, batches=(1, 3), close: float = CLOSE) -> onnxviz.Model:
    """Compares outputs, weights and maps of a conversion with the source's; gives the model."""
    traced = source.trace(opset)
    proto = attached(traced)
    assert proto.opset_import[0].version == opset
    assert [value.name for value in proto.graph.input] == [port.name for port in source.inputs]
    model = onnxviz.load(proto)
    by_path = collections.defaultdict(list)
    layers = {layer.node: layer for layer in model.layers}
    for node in proto.graph.node:
        path = {entry.key: entry.value for entry in node.metadata_props}.get(LAYER_KEY)
        if node.name in layers:
            by_path[path].append(layers[node.name])
    for one in source.layers:
        kernel = one.kernel()
        for layer in by_path[one.path]:
            assert layer.source.tensor == one.weight
            np.testing.assert_array_equal(layer.weight, kernel, strict=True)
            if one.offset is not None:
                np.testing.assert_array_equal(layer.bias, one.offset(), strict=True)
            else:
                assert layer.bias is None
    open_batch = source.inputs[0].shape[0] is None
    for batch in batches if open_batch else (1,):
        feeds = drawn(source, batch, seed=batch)
        seen = [one.path for one in source.layers if one.observed]
        ours = source.run(feeds, seen)
        theirs = oracles.untouched(proto, [value.name for value in proto.graph.output], feeds)
        assert len(ours.outputs) == len(theirs)
        for expected, (name, value) in zip(ours.outputs, theirs.items(), strict=True):
            assert value.shape == expected.shape, name
            assert value.dtype == expected.dtype, name
            assert oracles.relative(value.astype(np.float64), expected.astype(np.float64)) <= close, name
        if not seen:
            continue
        maps = onnxviz.capture(model, feeds, at="conv")
        for path in seen:
            found = [maps[layer.name] for layer in by_path[path]]
            assert len(found) == len(ours.maps[path]), path
            for expected, value in zip(ours.maps[path], found, strict=True):
                assert oracles.relative(value, expected) <= close, path
    return model


def operators(model: onnxviz.Model) -> collections.Counter:
    return collections.Counter(node.op_type for node in model.proto.graph.node)


def conv(inputs=3, outputs=4, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


class Calls(nn.Module):
    """A module whose forward is a function of it and its input."""

    def __init__(self, function, *parts, **named):
        super().__init__()
        for index, part in enumerate(parts):
            self.add_module(f"part{index}", part)
        for name, value in named.items():
            setattr(self, name, value)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


class Block(nn.Module):
    """Two convolutions with batch norm and a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.down(x))


class Small(nn.Module):
    """Stem, blocks, pooling and a classifier, with running statistics that are neither 0 nor 1."""

    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(16, classes)
        with torch.no_grad():
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.running_mean.normal_(0, 0.1)
                    part.running_var.uniform_(0.5, 1.5)
                    part.weight.uniform_(0.5, 1.5)
                    part.bias.normal_(0, 0.1)

    def forward(self, x):
        x = self.pool(self.blocks(self.stem(x)))
        return self.fc(self.drop(torch.flatten(x, 1)))


class Twice(nn.Module):
    """One module called twice and under two names, two that share a weight, two inputs, outputs by name."""

    def __init__(self):
        super().__init__()
        self.first = conv(3, 4)
        self.again = conv(4, 4)
        self.alias = self.again
        self.tied = conv(4, 4)
        self.tied.weight = self.again.weight
        self.never = conv(4, 4)
        self.register_buffer("offset", torch.full((1,), 0.5), persistent=False)

    def forward(self, left, right, scale=None):
        x = self.alias(self.again(self.again(self.first(left)))).relu_()
        y = self.tied(x) + self.offset + self.first(right).mean((2, 3), keepdim=True)
        self.never(y)
        return {"map": y, "means": [y.mean((2, 3)), x], "nothing": None, "same": y, "number": 3, "left": left}


def small(seed=0):
    torch.manual_seed(seed)
    return Small()


def saved(value, path: Path) -> Path:
    torch.save(value, path)
    return path
