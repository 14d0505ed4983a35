"""Real-valued inputs: a model of whole numbers gives the same on them as the one whose input takes real numbers."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from protos import normal, parsed

from onnxviz import load
from onnxviz.model.real_input import with_real_input

CAST = "f = Cast <to = 1> (x)"
MOVED = "t = Transpose <perm = [0, 2, 3, 1]> (x)\nu = Transpose <perm = [0, 3, 1, 2]> (t)\nf = Cast <to = 1> (u)"


def network(front: str, **weights: np.ndarray):
    return parsed(
        f"""net (uint8["n", 3, 8, 8] x) => (float["n", 4, 6, 6] y) {{
             {front}
             c = Conv (f, w)
             y = Relu (c)
           }}""",
        w=normal(4, 3, 3, 3),
        **weights,
    )


@pytest.mark.parametrize("front", [CAST, MOVED])
def test_on_whole_numbers_it_gives_the_same_and_between_them_it_goes_on(front):
    proto = network(front)
    found = with_real_input(load(proto), "x")
    assert found is not None
    (port,) = found.inputs
    assert (port.name, port.dtype, port.shape) == ("x", "float32", ("n", 3, 8, 8))
    x = np.random.default_rng(3).integers(0, 255, (2, 3, 8, 8), np.uint8)
    real, whole = ReferenceEvaluator(found.proto), ReferenceEvaluator(proto)
    lower, upper = (whole.run(None, {"x": x + step})[0] for step in (np.uint8(0), np.uint8(1)))
    np.testing.assert_array_equal(real.run(None, {"x": x.astype(np.float32)})[0], lower)
    (half,) = real.run(None, {"x": x.astype(np.float32) + np.float32(0.5)})
    linear = (lower > 0) & (upper > 0)
    assert linear.any()
    np.testing.assert_allclose(half[linear], ((lower + upper) / 2)[linear], rtol=1e-4)
    assert load(proto).inputs[0].dtype == "uint8"


@pytest.mark.parametrize(
    "front",
    [
        "f = Cast <to = 1> (x)\nz = Cast <to = 6> (x)",
        "z = Add (x, x)\nf = Cast <to = 1> (z)",
        "f = DequantizeLinear (x, s)",
    ],
)
def test_what_is_read_by_other_nodes_stays(front):
    assert with_real_input(load(network(front, s=np.float32(1))), "x") is None
