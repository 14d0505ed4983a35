"""Audits without data beside the least that reads all weights: ten models of 100 MB, each with weights of its own.

Each function gives a piece of work for `work.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

MODELS = 10
# Checks that run the model, or open it in onnxruntime: what is left reads the file alone.
RUNNING = ("A07", "G02", "G07", "G09")
# So many times they run one picture: G09 once, G07 three alone and three together, A07 noise and three plain pictures.
RUNS = 11
SIDE = 64
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
DENSE = ((2048, 2560), (2560, 2048), (2048, 200))


def make(folder: str) -> Callable[[], object]:
    """VGG16 (Simonyan & Zisserman 2014, configuration D) for pictures of 64x64, 25.6 million parameters.

    Every second one with batch normalisations; every second one with its weights in a file of their own.
    """
    import onnx

    def write() -> None:
        for seed in range(MODELS):
            path = Path(folder, f"vgg{seed}.onnx")
            proto = network(seed, normalised=seed % 2 == 1)
            onnx.save(proto, path, save_as_external_data=seed % 4 > 1, location=f"{path.name}.data")

    return write


def network(seed: int, *, normalised: bool):
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    nodes, weights, last, channels = [], [], "image", 3

    def stored(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def layer(op: str, name: str, shape: tuple[int, ...], **attributes: object) -> None:
        nonlocal last
        kernel = rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        inputs = [last, stored(f"{name}.weight", kernel), stored(f"{name}.bias", rng.uniform(-0.1, 0.1, shape[0]))]
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        last = name
        if op == "Conv" and normalised:
            ranges = {"gamma": (0.5, 2), "beta": (-1, 1), "mean": (-1, 1), "variance": (0.5, 2)}
            parts = [stored(f"{name}.{part}", rng.uniform(*ends, shape[0])) for part, ends in ranges.items()]
            nodes.append(helper.make_node("BatchNormalization", [last, *parts], [f"{name}.norm"]))
            last = f"{name}.norm"

    def then(op: str, **attributes: object) -> None:
        nonlocal last
        nodes.append(helper.make_node(op, [last], [f"{last}.{op}"], **attributes))
        last = f"{last}.{op}"

    for block, (width, depth) in enumerate(BLOCKS, 1):
        for index in range(1, depth + 1):
            layer("Conv", f"block{block}_conv{index}", (width, channels, 3, 3), kernel_shape=[3, 3], pads=[1] * 4)
            then("Relu")
            channels = width
        then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    then("Flatten")
    for number, (inputs, outputs) in enumerate(DENSE, 1):
        layer("Gemm", f"fc{number}", (outputs, inputs), transB=1)
        if number < len(DENSE):
            then("Relu")
    ends = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE]),
        helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", 200]),
    ]
    graph = helper.make_graph(nodes, "vgg16", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def models(folder: str, count: str) -> list[str]:
    return sorted(map(str, Path(folder).glob("*.onnx")))[: int(count)]


def audit(folder: str, count: str, *ignore: str) -> Callable[[], object]:
    """As `onnxviz audit FOLDER` does it, after its imports."""
    from onnxviz.auditing.many import Confinement, audit_each
    from onnxviz.auditing.registry import load_checks

    load_checks()
    paths = models(folder, count)

    def run() -> None:
        found = audit_each(paths, Confinement(), {"ignore": ignore})
        assert all(one.passed for one in found)

    return run


def finite(folder: str, count: str) -> Callable[[], object]:
    """Each weight mapped from its file and looked at once, whether it is finite."""
    import onnxviz

    def run() -> None:
        for path in models(folder, count):
            model = onnxviz.load(path)
            arrays = map(model.constants.file.read, model.proto.graph.initializer)
            assert all(np.isfinite(array).all() for array in arrays)

    return run


def bare(folder: str, count: str) -> Callable[[], object]:
    """Each model opened by onnxruntime and run on as many pictures as an audit runs it on."""
    import onnxruntime

    x = np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)

    def run() -> None:
        for path in models(folder, count):
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            for _ in range(RUNS):
                session.run(None, {"image": x})

    return run
