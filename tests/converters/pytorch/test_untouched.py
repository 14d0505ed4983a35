"""A PyTorch module is after its conversion as it was before."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from torch_checks import check, conv, drawn, small

from onnxviz.errors import ConversionError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from onnxviz_converters import pytorch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402


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
