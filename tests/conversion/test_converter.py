"""The contract of converters, fulfilled by one of numpy and onnx alone."""

import numpy as np
from converter_contract import ConverterContract
from toy_framework import Toy, conv, saved_toy

from onnxviz import Preprocessing


class TestToy(ConverterContract):
    module, converter, framework = "toy_framework", "ToyConverter", "Toy"
    suffixes, weights_suffix = (".toy",), ".npz"
    odd = "'Twist' in body/second"

    def network(self, seed=0, size=9):
        return Toy((None, 3, size, size))

    def scaled(self):
        return Toy((None, 3, 9, 9), preprocessing=Preprocessing.parse("raw"))

    def shared(self):
        model = Toy((None, 3, 9, 9))
        model.kernels = {"again": model.kernels["body/first"][..., :3]}
        model.biases = {"again": model.biases["body/first"][:3]}
        model.calls = ["again", "again"]
        return model

    def unsteady(self):
        return Toy((None, 3, 9, 9), harm="unsteady")

    def untraceable(self):
        return Toy((None, 3, 9, 9), harm="tracing")

    def saved(self, model, path):
        return saved_toy(model, path)

    saved_weights = saved

    def saved_code(self, path):
        return saved_toy(Toy(), path, code=np.zeros(1))

    def kernels(self, model):
        return {path.partition("/")[2]: np.moveaxis(one, (-1, -2), (0, 1)) for path, one in model.kernels.items()}

    def biases(self, model):
        return {path.partition("/")[2]: one for path, one in model.biases.items()}

    def answers(self, model, x):
        maps = {}
        for path, kernel in model.kernels.items():
            maps[path.partition("/")[2]] = conv(x, kernel, model.biases[path])
            x = np.maximum(maps[path.partition("/")[2]], 0)
        return x.mean((2, 3)), maps

    def state(self, model):
        return {path: one.tobytes() for path, one in [*model.kernels.items(), *model.biases.items()]}
