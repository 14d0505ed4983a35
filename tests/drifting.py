"""Networks whose answers drift by a chosen amount: from model to model, with optimisations, from run to run."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from protos import parsed

CLASSES = 4


def outcome(
    proto: onnx.ModelProto, x: np.ndarray, *, optimise: bool = True, runs: int = 1, tap: str = ""
) -> list[np.ndarray]:
    """The first output of each of several runs of one session of onnxruntime; `tap` becomes an output besides."""
    if tap:
        proto = onnx.ModelProto.FromString(proto.SerializeToString())
        proto.graph.output.append(onnx.helper.make_tensor_value_info(tap, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": x})[0] for _ in range(runs)]


def scoring(offset: float = 0.0) -> onnx.ModelProto:
    """Scores are the means of the four channels, class 1 raised by an offset."""
    return parsed(
        f"scoring (float[n,{CLASSES},2,2] x) => (float[n,{CLASSES}] y) "
        "{ c = Conv (x, w, b) p = GlobalAveragePool (c) y = Flatten (p) }",
        w=np.eye(CLASSES, dtype=np.float32)[:, :, None, None],
        b=np.array([0, offset, 0, 0], np.float32),
    )


def images(margin: float, second: float = 0.0) -> np.ndarray:
    """Two samples (2, 4, 2, 2) whose scores are 1, 1 - margin, 0, 0 and 0, second, 1, 0: a range of 1."""
    scores = np.array([[1, 1 - margin, 0, 0], [0, second, 1, 0]], np.float32)
    return np.repeat(scores, 4).reshape(2, CLASSES, 2, 2)


def folding(strength: float = 1.0) -> onnx.ModelProto:
    """Class 1 is raised by a strength times what folding a batch normalisation rounds otherwise, about 1e-7.

    The one convolution takes the normalisation in where optimisations are on and its own result is no output; the other
    is an output, and has twice the weights, lest both be taken for one.
    """
    rng = np.random.default_rng(5)
    weight, scale, shift = rng.normal(size=(1, CLASSES, 3, 3)), rng.uniform(0.5, 2, 1), rng.normal(size=1)
    lines = [
        "a = Conv <pads = [1, 1, 1, 1]> (x, w)",
        "e = BatchNormalization (a, s, t, m, v)",
        "b = Conv <pads = [1, 1, 1, 1]> (x, w2)",
        "h = Mul (b, half)",
        "f = BatchNormalization (h, s, t, m, v)",
        "d = Sub (e, f)",
        "k = Mul (d, raised)",
        "j = Add (x, k)",
        "y = ReduceMean <keepdims = 0> (j, axes)",
    ]
    return parsed(
        f"folding (float[n,{CLASSES},rows,columns] x) => (float[n,{CLASSES}] y, float[n,1,rows,columns] b) "
        f"{{ {' '.join(lines)} }}",
        w=weight.astype(np.float32),
        w2=2 * weight.astype(np.float32),
        half=np.array(0.5, np.float32),
        s=scale.astype(np.float32),
        t=shift.astype(np.float32),
        m=np.array([0.3], np.float32),
        v=np.array([1.7], np.float32),
        axes=np.array([2, 3]),
        raised=np.array([0, strength, 0, 0], np.float32).reshape(1, CLASSES, 1, 1),
    )


def unsteady(strength: float = 1.0) -> onnx.ModelProto:
    """Class 1 is raised by a strength times a seeded random number of 0…1, another one at each run of a session."""
    return parsed(
        f"unsteady (float[n,{CLASSES},2,2] x) => (float[n,{CLASSES}] y) "
        "{ c = Conv (x, w) p = GlobalAveragePool (c) f = Flatten (p) "
        "u = RandomUniform <shape = [1, 1], seed = 3.0, low = 0.0, high = 1.0> () m = Mul (u, strength) "
        "y = Add (f, m) }",
        w=np.eye(CLASSES, dtype=np.float32)[:, :, None, None],
        strength=np.array([0, strength, 0, 0], np.float32),
    )
