"""Exports from PyTorch: TorchScript, dynamo and onnxviz's own converter."""

from __future__ import annotations

import contextlib
import io
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional as F

from exports.rows import Traced, fed

C = 4


class ChannelsLast(nn.Module):
    """A module on the last axis, as ConvNeXt normalises."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Branch(nn.Module):
    """A convolution, what follows it, and a tail that reads that and the input."""

    def __init__(self, conv, block=(), tail=None, seen_as=lambda x: x):
        super().__init__()
        self.conv = conv
        self.block = nn.Sequential(*block)
        halved = any(isinstance(module, nn.GLU) for module in block)
        self.tail = tail or Next(conv.weight.ndim - 2, C // 2 if halved else C)
        self.seen_as = seen_as

    def forward(self, x):
        self.seen = self.block(self.conv(self.seen_as(x)))
        return self.tail(self.seen, x).flatten(1)


class Next(nn.Module):
    """Another convolution."""

    def __init__(self, rank=2, channels=C):
        super().__init__()
        self.conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1](channels, 1, 1)

    def forward(self, y, x):
        return self.conv(y)


class Tail(nn.Module):
    """A function of what the block gives, of the input, and of modules with weights."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function = function
        self.modules_used = nn.ModuleList(modules)

    def forward(self, y, x):
        return self.function(y, x, *self.modules_used)


class Network(nn.Module):
    """All branches side by side."""

    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleDict(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches.values()], 1)


def conv():
    return nn.Conv2d(2, C, 1)


NORMALISATIONS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(C),
    "batch_no_affine": lambda: nn.BatchNorm2d(C, affine=False),
    "batch_no_statistics": lambda: nn.BatchNorm2d(C, track_running_stats=False),
    "batch_nothing": lambda: nn.BatchNorm2d(C, track_running_stats=False, affine=False),
    "cross_map": lambda: nn.CrossMapLRN2d(3),
    "group": lambda: nn.GroupNorm(2, C),
    "group_no_affine": lambda: nn.GroupNorm(2, C, affine=False),
    "group_one": lambda: nn.GroupNorm(1, C),
    "instance": lambda: nn.InstanceNorm2d(C),
    "instance_affine": lambda: nn.InstanceNorm2d(C, affine=True),
    "instance_statistics": lambda: nn.InstanceNorm2d(C, affine=True, track_running_stats=True),
    "layer": lambda: nn.LayerNorm([C, 5, 6]),
    "layer_channels": lambda: ChannelsLast(nn.LayerNorm(C)),
    "layer_no_affine": lambda: nn.LayerNorm([C, 5, 6], elementwise_affine=False),
    "layer_width": lambda: nn.LayerNorm(6),
    "local_response": lambda: nn.LocalResponseNorm(3),
    "rms": lambda: nn.RMSNorm([C, 5, 6]),
    "rms_channels": lambda: ChannelsLast(nn.RMSNorm(C)),
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "celu": nn.CELU,
    "celu_two": lambda: nn.CELU(2.0),
    "elu": nn.ELU,
    "elu_half": lambda: nn.ELU(0.5),
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "glu": lambda: nn.GLU(1),
    "hardshrink": nn.Hardshrink,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "hardtanh": nn.Hardtanh,
    "leaky_relu": nn.LeakyReLU,
    "log_sigmoid": nn.LogSigmoid,
    "log_softmax": lambda: nn.LogSoftmax(1),
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "prelu_channels": lambda: nn.PReLU(C),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "rrelu": nn.RReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softmax": lambda: nn.Softmax(1),
    "softmax2d": nn.Softmax2d,
    "softmin": lambda: nn.Softmin(1),
    "softplus": nn.Softplus,
    "softplus_two": lambda: nn.Softplus(2.0, 10.0),
    "softshrink": nn.Softshrink,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "tanhshrink": nn.Tanhshrink,
    "threshold": lambda: nn.Threshold(0.1, -2.0),
}


def simple_attention(y, x):
    """SimAM (Yang et al. 2021), a gate without weights."""
    centred = (y - y.mean((2, 3), keepdim=True)) ** 2
    return y * torch.sigmoid(centred / (4 * (centred.sum((2, 3), keepdim=True) / 29 + 1e-4)) + 0.5)


# What begins a new module: none of it is the convolution's own.
TAILS: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: Tail(lambda y, x: y * F.softmax(y.flatten(2), 2).view_as(y)),
    "average_pool": lambda: Tail(lambda y, x: F.avg_pool2d(y, 2)),
    "concatenation": lambda: Tail(lambda y, x: torch.cat([y, F.relu(y)], 1)),
    "convolution": Next,
    "efficient_attention": lambda: Tail(
        lambda y, x, one: y * torch.sigmoid(one(y.mean((2, 3))[:, None]).transpose(1, 2)[..., None]),
        nn.Conv1d(1, 1, 3, padding=1),
    ),
    "fork": lambda: Tail(lambda y, x, one, two: one(y) + F.relu(two(y)), nn.Conv2d(C, 1, 1), nn.Conv2d(C, 1, 1)),
    "gate": lambda: Tail(lambda y, x, one: y * torch.sigmoid(one(x)), nn.Conv2d(2, C, 1)),
    "global_pool": lambda: Tail(lambda y, x: y.mean((2, 3))),
    "max_pool": lambda: Tail(lambda y, x: F.max_pool2d(y, 2)),
    "pixel_shuffle": lambda: Tail(lambda y, x: F.pixel_shuffle(y, 2)),
    "pool_mixer": lambda: Tail(lambda y, x: F.avg_pool2d(y, 3, 1, 1, count_include_pad=False) - y),
    "residual": lambda: Tail(lambda y, x, one: F.relu(y + one(x)), nn.Conv2d(2, C, 1)),
    "shuffle": lambda: Tail(lambda y, x: y.view(2, 2, 2, 5, 6).transpose(1, 2).reshape(2, C, 5, 6).relu()),
    "simple_attention": lambda: Tail(simple_attention),
    "skipped_relu": lambda: Tail(lambda y, x: y + F.relu(y)),
    "squeeze_excitation": lambda: Tail(
        lambda y, x, one, two: y * torch.sigmoid(two(F.relu(one(y.mean((2, 3), keepdim=True))))),
        nn.Conv2d(C, 2, 1),
        nn.Conv2d(2, C, 1),
    ),
    "upsampling": lambda: Tail(lambda y, x: F.interpolate(y, scale_factor=2)),
}


def volume(x):
    return x[:, :, None]


def line(x):
    return x.flatten(2)


def branches() -> dict[str, Branch]:
    """A branch for each row of the table."""
    made = {f"{name}__relu": Branch(conv(), [module(), nn.ReLU()]) for name, module in NORMALISATIONS.items()}
    made |= {f"none__{name}": Branch(conv(), [module()]) for name, module in ACTIVATIONS.items()}
    made |= {f"batch__{name}": Branch(conv(), [nn.BatchNorm2d(C), module()]) for name, module in ACTIVATIONS.items()}
    made["dropout__relu"] = Branch(conv(), [nn.Dropout(), nn.ReLU()])
    made["instance_affine__leaky_relu"] = Branch(conv(), [nn.InstanceNorm2d(C, affine=True), nn.LeakyReLU()])
    made["group__silu"] = Branch(conv(), [nn.GroupNorm(2, C), nn.SiLU()])
    made["layer_channels__gelu"] = Branch(conv(), [ChannelsLast(nn.LayerNorm(C)), nn.GELU()])
    made["line_group__relu"] = Branch(nn.Conv1d(2, C, 1), [nn.GroupNorm(2, C), nn.ReLU()], seen_as=line)
    made["line_instance__relu"] = Branch(nn.Conv1d(2, C, 1), [nn.InstanceNorm1d(C), nn.ReLU()], seen_as=line)
    made["line_batch__gelu"] = Branch(nn.Conv1d(2, C, 1), [nn.BatchNorm1d(C), nn.GELU()], seen_as=line)
    affine = nn.InstanceNorm3d(C, affine=True)
    made["volume_instance__leaky_relu"] = Branch(nn.Conv3d(2, C, 1), [affine, nn.LeakyReLU()], seen_as=volume)
    made["volume_group__relu"] = Branch(nn.Conv3d(2, C, 1), [nn.GroupNorm(2, C), nn.ReLU()], seen_as=volume)
    made["transposed_instance__relu"] = Branch(nn.ConvTranspose2d(2, C, 2, 2), [nn.InstanceNorm2d(C), nn.ReLU()])
    made["transposed_group__relu"] = Branch(nn.ConvTranspose2d(2, C, 2, 2, groups=2), [nn.GroupNorm(2, C), nn.ReLU()])
    made |= {f"then__{name}": Branch(conv(), [], tail()) for name, tail in TAILS.items()}
    made |= {f"{name}__alone": Branch(conv(), [NORMALISATIONS[name]()]) for name in ("batch", "instance", "group")}
    return made


def network(left_out=()) -> Network:
    """The network with seeded weights, in evaluation mode."""
    made = Network({row: branch for row, branch in branches().items() if row not in left_out})
    with torch.no_grad():
        for name, value in [*made.named_parameters(), *made.named_buffers()]:
            if value.dtype.is_floating_point:
                positive = "var" in name or (name.endswith("weight") and value.ndim == 1)
                draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
                value.copy_(torch.rand(value.shape, generator=draw) + 0.5)
                if not positive:
                    value.copy_(torch.randn(value.shape, generator=draw))
    return made.eval()


NO_TRANSLATION = "no translation"
# Rows that an exporter refuses; by the exporter's name.
LEFT_OUT = {
    "torchscript": ("cross_map__relu", "rms__relu", "rms_channels__relu", "none__threshold", "batch__threshold"),
    "dynamo": ("cross_map__relu", "none__rrelu", "batch__rrelu"),
    "convert": ("cross_map__relu", "none__rrelu", "batch__rrelu"),
}
# CELU is an operator since opset 12; these normalisations need sizes that are known.
AT_OPSET_11 = ("none__celu", "none__celu_two", "batch__celu", "batch__celu_two")
OF_OPEN_SIZE = ("batch_no_statistics__relu", "batch_nothing__relu", "instance_statistics__relu")


def exported(exporter: str, options: str = "", rows=None) -> Traced:
    """The network as one exporter writes it.

    Args:
        exporter: "torchscript", "dynamo" or "convert".
        options: an opset, "open" for open sizes, "raw" for an export that is not optimised.
        rows: those of the table to export; None for all.
    """
    left_out = [*LEFT_OUT[exporter]]
    left_out += AT_OPSET_11 if options == "11" else []
    left_out += OF_OPEN_SIZE if exporter == "torchscript" and options == "open" else []
    others = () if rows is None else [row for row in branches() if row not in rows]
    source = network({*left_out, *others})
    x = torch.tensor(fed())
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "network.onnx"
        if exporter == "torchscript":
            opset = int(options) if options.isdigit() else 17
            axes = {"x": {0: "n", 2: "h", 3: "w"}} if options == "open" else None
            torch.onnx.export(
                source, (x,), path, dynamo=False, opset_version=opset, input_names=["x"], dynamic_axes=axes
            )
        elif exporter == "dynamo":
            shapes = ({0: torch.export.Dim("n")},) if options == "open" else None
            torch.onnx.export(
                source, (x,), path, dynamo=True, input_names=["x"], dynamic_shapes=shapes, verbose=False,
                optimize=options != "raw", external_data=False,
            )  # fmt: skip
        else:
            import onnxviz

            onnxviz.convert(source, output=path, input_shape=tuple(x.shape), verify=False)
        proto = onnx.load(path)
    with torch.no_grad():
        source(x)
    given = {row: branch.seen.numpy() for row, branch in source.branches.items()}
    bare = frozenset(row for row in given if row.startswith("then__") or row.endswith("__alone"))
    made_by = f"torch {torch.__version__.partition('+')[0]}, {exporter} {options}".rstrip()
    return Traced(made_by, proto, given, bare, dict.fromkeys(left_out, NO_TRANSLATION))
