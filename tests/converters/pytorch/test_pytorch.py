"""The PyTorch converter on small modules of every kind: outputs, weights, maps."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from torch_checks import Calls, Small, Twice, check, conv, drawn, operators, small

from onnxviz.model.naming import LAYER_KEY

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from onnxviz_converters import pytorch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn import utils  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402


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
    for leftover in ("pkg.torch", "stack_trace", "torch_checks", "/work", "namespace", "doc_string"):
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
