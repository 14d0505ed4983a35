"""A framework of its own: models of numpy and onnx alone, so that converting needs no other."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper

from onnxviz import CodeExecution, ConversionError
from onnxviz.conversion.converter import Observed, SourceInput, SourceLayer, SourceModel, Traced
from onnxviz.messages import option
from onnxviz.model.graph.names import distinct

STAGES = ["opening", "tracing", "folding", "writing", "verifying"]
RNG = np.random.default_rng(41)


class Toy:
    """A model of the toy framework: two convolutions of 3x3 with ReLU, a mean over the map.

    Its weights are as a channels-last framework has them: (height, width, in, out). `calls` are its convolutions as
    they are run, `harm` is what goes wrong with it.
    """

    def __init__(self, shape=(None, 3, 7, 9), dtype="float32", preprocessing=None, harm=""):
        self.kernels = {
            "body/first": RNG.normal(0, 0.3, (3, 3, 3, 4)).astype(np.float32),
            "body/second": RNG.normal(0, 0.3, (3, 3, 4, 5)).astype(np.float32),
        }
        self.biases = {
            "body/first": RNG.normal(0, 0.1, 4).astype(np.float32),
            "body/second": RNG.normal(0, 0.1, 5).astype(np.float32),
        }
        self.shape, self.dtype, self.preprocessing, self.harm = shape, dtype, preprocessing, harm
        self.calls = list(self.kernels)


def conv(x, kernel, bias):
    """A convolution by its definition: x (N, C, H, W), kernel (h, w, C, O), no padding."""
    windows = sliding_window_view(x, kernel.shape[:2], axis=(2, 3))
    return np.einsum("nchwyx,yxco->nohw", windows, kernel).astype(np.float32) + bias[None, :, None, None]


class ToySource(SourceModel):
    """What the toy converter opens; `harm` names what goes wrong in it."""

    framework = "Toy"

    def __init__(self, model, harm=""):
        self.model, self.harm = model, harm or model.harm
        self.versions = {"toy": "1.5"}
        self.inputs = (SourceInput("image", model.shape, model.dtype),)
        self.preprocessing = model.preprocessing
        self.notes = ["a note of the toy's"]
        self.fed = []
        self.calls = 0
        self.layers = tuple(
            SourceLayer(
                path,
                f"{path}/kernel",
                lambda path=path: np.moveaxis(model.kernels[path], (-1, -2), (0, 1)),
                f"{path}/bias",
                lambda path=path: model.biases[path],
            )
            for path in model.kernels
        )

    def trace(self, opset):
        if self.harm == "tracing":
            raise ConversionError("the toy has an operation 'Twist' in body/second that ONNX lacks")
        nodes, last = [], "image"
        if self.model.dtype != "float32":
            nodes.append(helper.make_node("Cast", ["image"], ["real"], name="cast", to=TensorProto.FLOAT))
            last = "real"
        for path, call in zip(self.model.calls, distinct(self.model.calls), strict=True):
            turned = f"{call}/turned"
            nodes.append(helper.make_node("Transpose", [f"{path}/kernel"], [turned], perm=[3, 2, 0, 1]))
            nodes.append(helper.make_node("Conv", [last, turned, f"{path}/bias"], [f"{call}/out"], name=f"{call}/Conv"))
            nodes.append(helper.make_node("Relu", [f"{call}/out"], [f"{call}/relu"], name=f"{call}/Relu"))
            last = f"{call}/relu"
        nodes.append(helper.make_node("GlobalAveragePool", [last], ["mean"], name="mean"))
        nodes.append(helper.make_node("Flatten", ["mean"], ["score"], name="flatten"))
        names = ["batch", "channels", "height", "width"]
        dims = [name if size is None else size for name, size in zip(names, self.model.shape, strict=True)]
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.model.dtype))
        graph = helper.make_graph(
            nodes,
            "toy",
            [helper.make_tensor_value_info("image", element, dims)],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, [dims[0], len(self.model.biases[path])])],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        weights = {f"{path}/kernel": kernel for path, kernel in self.model.kernels.items()}
        weights.update({f"{path}/bias": bias for path, bias in self.model.biases.items()})
        self._harm_graph(proto, weights)
        return Traced(proto, weights)

    def _harm_graph(self, proto, weights):
        nodes = {node.name: node for node in proto.graph.node}
        if self.harm == "one bit of a filter":
            harmed = weights["body/second/kernel"].copy()
            harmed.view(np.uint32)[1, 2, 3, 4] ^= 1
            weights["body/second/kernel"] = harmed
        elif self.harm == "one bit of a bias":
            harmed = weights["body/first/bias"].copy()
            harmed.view(np.uint32)[2] ^= 1
            weights["body/first/bias"] = harmed
        elif self.harm == "filters flipped":
            weights["body/second/kernel"] = weights["body/second/kernel"][::-1]
        elif self.harm == "padding":
            nodes["body/second/Conv"].attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
        elif self.harm == "activation":
            nodes["body/first/Relu"].op_type = "Sigmoid"
        elif self.harm == "both":
            nodes["body/first/Relu"].op_type = "Sigmoid"
            nodes["body/second/Relu"].op_type = "Sigmoid"
        elif self.harm == "output":
            nodes["mean"].op_type = "GlobalMaxPool"
        elif self.harm == "no kernel in onnxruntime":
            nodes["mean"].op_type, nodes["mean"].domain = "Twist", "com.example"
            proto.opset_import.add(domain="com.example", version=1)

    def run(self, feeds, observe=()):
        self.fed.append({name: (array.shape, array.dtype.name) for name, array in feeds.items()})
        self.calls += 1
        x = feeds["image"].astype(np.float32)
        if self.harm == "never runs":
            raise ValueError("\nthe toy is too small\nfor anything")
        if self.harm == "needs 100" and x.shape[-1] < 100:
            raise ValueError("too small")
        maps = {path: [] for path in self.model.kernels}
        for path in self.model.calls:
            x = conv(x, self.model.kernels[path], self.model.biases[path])
            maps[path].append(x)
            x = np.maximum(x, 0)
        score = x.mean((2, 3))
        if self.harm == "nan":
            score[-1, 2] = np.nan
        elif self.harm == "unsteady":
            score += np.random.default_rng(self.calls).normal(size=score.shape).astype(np.float32)
        elif self.harm == "unsteady maps":
            maps["body/first"][0] = x = RNG.normal(size=maps["body/first"][0].shape).astype(np.float32)
            score += x.mean()
        elif self.harm == "a call too many":
            maps["body/first"] *= 2
        return Observed([score], {path: maps[path] for path in observe})


class ToyConverter:
    """Converts `Toy` models and files of them, as `saved_toy` writes them."""

    framework = "Toy"
    packages = ("colorsys",)  # of Python's own, and nobody imports it
    install = "onnxviz[toy]"

    def __init__(self, harm=""):
        self.harm = harm
        self.asked = {}

    def recognises(self, source):
        return isinstance(source, Toy) or (isinstance(source, Path) and source.suffix == ".toy")

    def open(self, source, *, weights=None, input_shapes=None, allow_code_execution=False):
        self.asked = {"weights": weights, "input_shapes": input_shapes, "allow": allow_code_execution}
        if self.harm == "opening":
            raise ConversionError("the toy is broken")
        if self.harm == "code":
            raise CodeExecution(f"the toy would run code: add {option('allow_code_execution', python='True')}")
        model = source if isinstance(source, Toy) else loaded_toy(source, allow_code_execution)
        if weights is not None:
            arrays = read_arrays(weights)
            if {f"{path}/kernel" for path in model.kernels} - set(arrays):
                raise ConversionError(f"the weights in {weights} do not fit the toy")
            model = filled(model, arrays)
        for name, shape in (input_shapes or {}).items():
            if name not in ("", "image"):
                raise ConversionError(f"the toy has no input '{name}'; it has image")
            fits = len(shape) == 4 and all(
                None in pair or pair[0] == pair[1] for pair in zip(shape, model.shape, strict=True)
            )
            if not fits:
                raise ConversionError(f"the toy refuses an input of {'x'.join(map(str, shape))}")
        self.opened = ToySource(model, self.harm)
        return self.opened


def read_arrays(path):
    if not path.is_file():
        raise ConversionError(f"there is no file {path}")
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return dict(stored)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise ConversionError(f"{path} is no file of the toy's") from None


def filled(model, arrays):
    """A toy like `model` with these weights."""
    made = Toy(model.shape, model.dtype, model.preprocessing, model.harm)
    made.calls = model.calls
    made.kernels = {path: arrays[f"{path}/kernel"] for path in model.kernels}
    made.biases = {path: arrays[f"{path}/bias"] for path in model.biases}
    return made


def saved_toy(model, path, **more):
    """The toy in a file; of any file with an array `code` it says that it would run code."""
    arrays = {f"{layer}/kernel": kernel for layer, kernel in model.kernels.items()}
    arrays |= {f"{layer}/bias": bias for layer, bias in model.biases.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays, **more)
    return path


def loaded_toy(path, allow_code_execution):
    arrays = read_arrays(path)
    if "code" in arrays and not allow_code_execution:
        raise CodeExecution(f"{path} would run code: add {option('allow_code_execution', python='True')}")
    return filled(Toy(), arrays)


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


MODULE = """
import sys
from toy_framework import Toy

count = 0

def factory(*arguments, **keywords):
    global count
    count += 1
    made = Toy()
    made.given = arguments, keywords
    return made

class Nested:
    inner = Toy()
    build = staticmethod(factory)

instance = Toy()
number = 5

def fails():
    raise ValueError("the weights are\\nelsewhere")

def leaves():
    sys.exit(3)

def nothing():
    pass
"""
