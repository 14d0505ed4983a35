"""The networks of models/torch_models.py: reproducible, varied, and as their docstrings say."""

import random

import numpy as np
import pytest
from examples import representatives
from factories import waves
from factory_checks import check_factories, check_outputs, check_weights, furthest

# Stand for the others in what costs several networks each; all of them are for `make test-all`.
SMALL_TORCH = {"shared_twice", "signal_net", "mobilenet"}
TORCH = {
    "resnet": 384_042,
    "unet": 479_874,
    "mobilenet": 218_002,
    "densenet": 182_186,
    "inception": 375_234,
    "convnext": 553_066,
    "yolo_like": 755_153,
    "signal_net": 66_317,
    "volume_net": 86_201,
    "shared_twice": 29_282,
}


def torch_inputs(module, name, seed=0):
    import torch

    return [torch.from_numpy(waves(shape, 1, seed)) for shape in module.INPUT_SHAPES[name]]


def torch_outputs(model, inputs):
    import torch

    with torch.no_grad():
        outputs = model(*inputs)
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return [output.numpy().copy() for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def torch_weights(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def test_torch_factories_take_keywords_only(torch_models):
    check_factories(torch_models, TORCH)


@pytest.mark.parametrize("name", representatives(TORCH, SMALL_TORCH))
def test_torch_weights_follow_from_the_seed_alone(torch_models, name):
    import torch

    factory = getattr(torch_models, name)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    weights = torch_weights(factory())
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        check_weights(weights, torch_weights(factory(seed=0)), torch_weights(factory(seed=1)))


@pytest.mark.parametrize("name", TORCH)
def test_torch_parameters_and_outputs(torch_models, name):
    model = getattr(torch_models, name)()
    assert not any(module.training for module in model.modules())
    assert sum(parameter.numel() for parameter in model.parameters()) == TORCH[name]
    check_outputs([torch_outputs(model, torch_inputs(torch_models, name, seed)) for seed in range(3)])


@pytest.mark.parametrize("name", representatives(TORCH, SMALL_TORCH))
def test_torch_every_weight_matters(torch_models, name):
    import torch

    model = getattr(torch_models, name)()
    inputs = torch_inputs(torch_models, name)
    reference = torch_outputs(model, inputs)
    for path, tensor in model.state_dict().items():  # shares its memory with the module
        if not tensor.is_floating_point():
            continue
        kept = tensor.clone()
        scale = path.endswith(("running_var", "original0")) or (path.endswith("weight") and tensor.ndim == 1)
        with torch.no_grad():
            tensor.copy_(torch.ones_like(tensor) if scale else kept.flip(0) if tensor.ndim > 1 else 0 * kept)
            if path.endswith("weight") and tensor.ndim > 1 and len(tensor) == 1:
                tensor.zero_()
        changed = torch_outputs(model, inputs)
        most = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(reference, changed, strict=True))
        assert most > 1e-4, path
        tensor.copy_(kept)
    assert furthest(reference, torch_outputs(model, inputs)) == 0


@pytest.mark.parametrize(
    ("name", "convolutions", "transposed"),
    [
        ("resnet", 24, 0),
        ("unet", 16, 2),
        ("mobilenet", 33, 0),
        ("densenet", 27, 0),
        ("inception", 38, 0),
        ("convnext", 10, 0),
        ("yolo_like", 58, 0),
        ("signal_net", 10, 0),
        ("volume_net", 11, 2),
        ("shared_twice", 5, 0),
    ],
)
def test_torch_convolutions(torch_models, name, convolutions, transposed):
    modules = list(getattr(torch_models, name)().modules())
    assert sum(isinstance(module, torch_models.CONVOLUTIONS) for module in modules) == convolutions
    assert sum(isinstance(module, torch_models.TRANSPOSED) for module in modules) == transposed


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("resnet", ["BasicBlock", "Bottleneck", "BatchNorm2d", "MaxPool2d"]),
        ("unet", ["ConvTranspose2d", "Upsample", "GroupNorm"]),
        ("mobilenet", ["Hardswish", "ReLU6", "Hardsigmoid", "SqueezeExcite"]),
        ("densenet", ["DenseLayer", "AvgPool2d"]),
        ("inception", ["AvgPool2d", "MaxPool2d"]),
        ("convnext", ["LayerNorm", "GELU", "Linear"]),
        ("yolo_like", ["CSP", "SPP", "SiLU", "Upsample"]),
        ("signal_net", ["ParametrizedConv1d", "BatchNorm1d", "ELU"]),
        ("volume_net", ["Conv3d", "ConvTranspose3d", "MaxPool3d", "BatchNorm3d"]),
    ],
)
def test_torch_kinds_of_modules(torch_models, name, kinds):
    assert set(kinds) <= {type(module).__name__ for module in getattr(torch_models, name)().modules()}


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet", [(1, 10)]),
        ("unet", [(1, 2, 64, 96)]),
        ("yolo_like", [(1, 27, 16, 12), (1, 27, 8, 6), (1, 27, 4, 3)]),
        ("volume_net", [(1, 1, 16, 24, 20)]),
        ("shared_twice", [(1, 1, 46, 62), (1, 1)]),
    ],
)
def test_torch_output_shapes(torch_models, name, shapes):
    outputs = torch_outputs(getattr(torch_models, name)(), torch_inputs(torch_models, name))
    assert [output.shape for output in outputs] == shapes


def test_inception_pools_over_the_edge(torch_models):
    model = torch_models.inception()
    sizes = {}
    for name in ("stem2", "pool", "reduction"):
        getattr(model, name).register_forward_hook(
            lambda module, inputs, output, name=name: sizes.update({name: tuple(output.shape[2:])})
        )
    torch_outputs(model, torch_inputs(torch_models, "inception"))
    assert sizes == {"stem2": (35, 35), "pool": (18, 18), "reduction": (9, 9)}
    assert (model.pool.ceil_mode, model.pool.count_include_pad) == (True, False)
    kernels = {
        tuple(module.kernel_size)
        for module in model.modules()
        if hasattr(module, "weight") and hasattr(module, "groups")
    }
    assert {(1, 7), (7, 1)} <= kernels


def test_shared_twice_applies_one_convolution_to_both_inputs(torch_models):
    model = torch_models.shared_twice()
    sizes = []
    model.shared.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[2:])))
    torch_outputs(model, torch_inputs(torch_models, "shared_twice"))
    assert sizes == [(48, 64), (24, 32)]
    assert [model.reflected.padding_mode, model.around.padding_mode] == ["reflect", "circular"]
    assert [model.same.padding, model.map.padding] == ["same", "valid"]
    assert list(model(*torch_inputs(torch_models, "shared_twice"))) == ["map", "score"]


def test_signal_net_keeps_length_and_direction_of_its_filters_apart(torch_models):
    import torch

    convolution = torch_models.signal_net().blocks[1].conv1
    length = convolution.parametrizations.weight.original0.detach()
    direction = convolution.parametrizations.weight.original1.detach()
    norm = direction.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(convolution.weight.detach(), length * direction / norm)
    assert not torch.allclose(length, norm, rtol=0.01)
