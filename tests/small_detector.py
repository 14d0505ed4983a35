"""A detector by hand, small enough to be read: four cells, each with a box and the scores of three classes."""

import numpy as np
import onnx
from protos import normal, parsed

SIZE = 16
# Distances to the sides become corners q (n, 4, 4); cc (n, 3, 4) are the scores.
CORNERS = (
    "f = Conv <strides=[8,8]> (x, w) b = Conv (f, wb) c = Conv (f, wc) bb = Reshape (b, four) cc = Reshape (c, three) "
    "l, h = Split <axis=1, num_outputs=2> (bb) s = Sub (at, l) e = Add (at, h) q = Concat <axis=1> (s, e) "
)
BESIDE = "p = Sigmoid (cc) y = Concat <axis=1> (q, p)"


def small_detector(
    tail: str = BESIDE, outputs: str = "float[n,k,l] y", names: str = "", **weights: np.ndarray
) -> onnx.ModelProto:
    """The detector with an end of one's choice, and names of its classes as Ultralytics writes them."""
    stored = {
        "w": normal(6, 3, 8, 8),
        "wb": normal(4, 6, 1, 1, seed=2) * np.float32(0.02),
        "wc": normal(3, 6, 1, 1, seed=3),
        "four": np.array([0, 4, -1]),
        "three": np.array([0, 3, -1]),
        "at": np.array([[[4, 12, 4, 12], [4, 4, 12, 12]]], np.float32),
        **weights,
    }
    made = parsed(f"g (float[n,3,{SIZE},{SIZE}] x) => ({outputs}) {{ {CORNERS} {tail} }}", **stored)
    if names:
        made.metadata_props.add(key="names", value=names)
    return made
