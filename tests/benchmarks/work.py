"""The measured pieces of work; each run prints one line of JSON: seconds after imports, peak memory in MiB
of the process or its largest child.

What gives a number has measured its seconds itself.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import auditing
import numpy as np
import steps
import watching


def make_vgg16(model: str) -> Callable[[], object]:
    import onnx

    sys.path.insert(0, str(Path(__file__).parents[1]))
    import specimens

    return lambda: onnx.save(specimens.vgg16(), model)


def image(count: int = 1) -> np.ndarray:
    return np.random.default_rng(1).random((count, 224, 224, 3), dtype=np.float32)


def first_map(model: str) -> Callable[[], object]:
    import onnxviz

    _, x = onnxviz.capture, image()
    return lambda: onnxviz.capture(model, x, layers="first")


def by_hand(model: str, tensors: Callable[[object], list[str]]) -> Callable[[], dict[str, np.ndarray]]:
    """What people are told to do: load, append outputs, serialise, run."""
    import onnx
    import onnxruntime

    x = image()

    def run() -> dict[str, np.ndarray]:
        proto = onnx.load(model)
        names = tensors(proto)
        for name in names:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, {"image": x}), strict=True))

    return run


def relus(proto) -> list[str]:
    return [node.output[0] for node in proto.graph.node if node.op_type == "Relu" and "conv" in node.name]


def first_map_by_hand(model: str) -> Callable[[], object]:
    return by_hand(model, lambda proto: relus(proto)[:1])


def all_maps(model: str, file: str) -> Callable[[], object]:
    import onnxviz

    _, x = onnxviz.capture, image()
    return lambda: np.savez(file, **onnxviz.capture(model, x))


def all_maps_by_hand(model: str, file: str) -> Callable[[], object]:
    run = by_hand(model, relus)
    return lambda: np.savez(file, **{name.removesuffix("/relu"): array for name, array in run().items()})


def maps_of_64(model: str) -> Callable[[], object]:
    import onnxviz

    _, x = onnxviz.capture, image(64)

    def run() -> None:
        maps = onnxviz.capture(model, x)
        assert [array.shape[0] for array in maps.values()] == [64] * 13

    return run


def maps() -> np.ndarray:
    """64 smooth maps, as a first layer gives them: noise would measure the PNG encoder."""
    y, x = np.mgrid[0:224, 0:224] / 224
    waves = np.random.default_rng(0).uniform(1, 12, (64, 2))
    return np.stack([np.sin(6 * a * x + b) * np.cos(6 * b * y) for a, b in waves]).astype(np.float32)


def draw() -> Callable[[], object]:
    from onnxviz.plots import plot_maps, save_figure

    tiles, file = maps(), Path(tempfile.mkdtemp()) / "ours.png"
    return lambda: save_figure(plot_maps(tiles, title="conv"), file)


def draw_subplots(ticks: bool = True) -> Callable[[], object]:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    tiles, file = maps(), Path(tempfile.mkdtemp()) / "theirs.png"

    def run() -> None:
        figure = plt.figure(figsize=(12, 12))
        for index, tile in enumerate(tiles):
            axes = plt.subplot(8, 8, index + 1)
            if not ticks:
                axes.set_xticks([])
                axes.set_yticks([])
            plt.imshow(tile, cmap="gray")
        plt.savefig(file)
        plt.close(figure)

    return run


def application(name: str):
    """A model of `keras.applications` with weights that keep the signal alive, and everything imported."""
    import logging
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import onnx.reference  # noqa: F401 - imported before the clock starts
    import tf2onnx  # noqa: F401

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model = getattr(keras.applications, name)(weights=None)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if variable.name == "moving_variance":
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif variable.name in ("moving_mean", "beta", "bias"):
            variable.assign(rng.normal(0, 0.1, shape))
    return model


def convert(name: str, file: str, verify: str) -> Callable[[], object]:
    import onnxviz

    model, run = application(name), onnxviz.convert
    return lambda: run(model, output=file, verify=verify == "verify")


def convert_by_keras(name: str, file: str) -> Callable[[], object]:
    model = application(name)
    model(image(1)[:, : model.input_shape[1], : model.input_shape[2]])  # it refuses a model that was never called
    return lambda: model.export(file, format="onnx", verbose=False)


def paint(tool: str, folder: str, place: str, seeds: str) -> Callable[[], object]:
    """A tool's pictures of the subjects of a round of the measure of quality, kept in the folder."""
    import paint as painting

    subjects = painting.rounds(folder)[int(place)]

    def run() -> None:
        for seed in range(int(seeds)):
            painting.paint(tool, folder, seed, subjects)

    return run


WORK = {
    "gradient": steps.gradient,
    "gradient-by-torch": steps.gradient_by_torch,
    "maximize": steps.maximize,
    "maximize-still": steps.maximize_still,
    "maximize-by-torch": steps.maximize_by_torch,
    "maximize-by-tf-keras-vis": steps.maximize_by_tf_keras_vis,
    "convert": convert,
    "convert-by-keras": convert_by_keras,
    "make-vgg16": make_vgg16,
    "paint": paint,
    "first-map": first_map,
    "first-map-by-hand": first_map_by_hand,
    "all-maps": all_maps,
    "all-maps-by-hand": all_maps_by_hand,
    "maps-of-64": maps_of_64,
    "make-watched": watching.make,
    "bare": watching.bare,
    "watch": watching.watch,
    "watch-parts": watching.watch_parts,
    "watch-by-hand": watching.by_hand,
    "watch-by-hooks": watching.by_hooks,
    "watch-many": watching.many,
    "make-audited": auditing.make,
    "audit": auditing.audit,
    "finite": auditing.finite,
    "bare-runs": auditing.bare,
    "draw": draw,
    "draw-subplots": draw_subplots,
    "draw-subplots-no-ticks": lambda: draw_subplots(ticks=False),
}


def main() -> None:
    run = WORK[sys.argv[1]](*sys.argv[2:])
    started = time.perf_counter()
    found = run()
    seconds = found if isinstance(found, float) else time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = largest * unit / 2**20
    print(json.dumps({"seconds": seconds, "memory": peak}))


if __name__ == "__main__":
    main()
