"""The contract of converters, fulfilled by PyTorch's."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from converter_contract import ConverterContract
from torch_checks import Calls, saved

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402

RNG = np.random.default_rng(3)


class Net(nn.Module):
    """A body, and the mean of each map."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, image):
        return self.body(image).mean((2, 3))


def body():
    parts = [
        ("first", nn.Conv2d(3, 4, 3)),
        ("r", nn.ReLU()),
        ("second", nn.Conv2d(4, 5, 3)),
        ("s", nn.ReLU(inplace=True)),
    ]
    return nn.Sequential(OrderedDict(parts))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.again = nn.Conv2d(3, 3, 3)

    def forward(self, image):
        return self.again(self.again(image))


class TestPyTorch(ConverterContract):
    module, framework, separator = "onnxviz_converters.pytorch", "PyTorch", "."
    suffixes, weights_suffix = (".pt", ".pt2", ".torchscript"), ".pth"
    stranger = 13

    def network(self, seed=0, size=9):
        torch.manual_seed(seed)
        made = Net(body())
        made.size = size
        return made

    def told(self, model):
        if not isinstance(model, nn.Module):
            return {}
        size = getattr(model, "size", 9)
        return {"input_shape": (None if size is None else 1, 3, size, size)}

    def scaled(self):
        return Net(Calls(lambda self, x: self.part0(x / 255), body()))

    def shared(self):
        return Shared()

    def unsteady(self):
        return Net(Calls(lambda self, x: self.part0(x) * float(RNG.normal()), body()))

    def untraceable(self):
        return Net(nn.Sequential(OrderedDict(c=body(), odd=Calls(lambda self, x: torch.linalg.svd(x)[1][..., None]))))

    def saved(self, model, path: Path):
        example = torch.rand(2, 3, 9, 9)
        if path.suffix == ".pt2":
            batch = {0: torch.export.Dim("batch")}
            torch.export.save(torch.export.export(model.eval(), (example,), dynamic_shapes=(batch,)), path)
        elif path.suffix == ".torchscript":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.jit.trace(model.eval(), example).save(str(path))
        else:
            saved(model, path)
        return path

    def saved_weights(self, model, path):
        return saved(model.state_dict(), path)

    def saved_code(self, path):
        return saved(self.network(), path)

    def kernels(self, model):
        return {name: getattr(model.body, name).weight.detach().numpy() for name in ("first", "second")}

    def biases(self, model):
        return {name: getattr(model.body, name).bias.detach().numpy() for name in ("first", "second")}

    def answers(self, model, x):
        maps, features = {}, torch.from_numpy(x)
        with torch.no_grad():
            for name, part in model.body.named_children():
                features = part(features.clone())
                if name in ("first", "second"):
                    maps[name] = features.numpy()
            return model(torch.from_numpy(x)).numpy(), maps

    def state(self, model):
        parts = list(model.modules())
        return {
            "weights": {name: value.numpy().tobytes() for name, value in model.state_dict().items()},
            "ids": [id(one) for one in (*parts, *model.parameters())],
            "kinds": [(type(one), one.training, sorted(one.__dict__), len(one._forward_hooks)) for one in parts],
            "random": torch.get_rng_state().numpy().tobytes(),
        }
