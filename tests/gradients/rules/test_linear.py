"""Matrix products, normalisations, shapes, selections and resizing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from cases_gradients_layers import CASES
from gradient_cases import check, seeded

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rule(case):
    check(case)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [[4], [2, 2]])
def test_gather_from_computed_positions(axis, shape):
    """PyTorch's exporter computes positions from strides where the batch is open; some may occur twice."""
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        g (float[n, 5, 3] x) => (float y) <int64 three = {{3}}, int64[1] one = {{-1}}, int64[{len(shape)}] form =
           {{{", ".join(map(str, shape))}}}> {{
            s = Shape (x)
            more = Concat<axis = 0> (s, one)
            m = Mod (more, three)
            i = Reshape (m, form)
            y = Gather<axis = {axis}> (x, i)
        }}"""
    )
    x = seeded(4, 5, 3)
    positions = np.asarray([4 % 3, 2, 0, 2]).reshape(shape)
    seed = seeded(*np.take(x, positions, axis).shape)
    found = add_gradient(onnxviz.load(proto)).session().run({"x": x}, seed)
    np.testing.assert_array_equal(found.value, np.take(x, positions, axis))
    expected = np.zeros(x.shape, np.float64)
    flat = np.moveaxis(expected, axis, 0)
    into = np.moveaxis(seed, range(axis, axis + len(shape)), range(len(shape)))
    np.add.at(flat, positions, into)
    np.testing.assert_allclose(found.gradients["x"], expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["plain", "guided", "deconv"])
@pytest.mark.parametrize("size", [2, 3])
def test_a_pool_behind_a_relu(size, mode):
    """The Relu's mask is applied to the maxima; the gradient with respect to what lies between is as it was."""
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 18]>
        m (float[1, 2, 7, 6] x) => (float[1, 2, h, w] y) {{
            r = Relu(x)
            y = MaxPool<kernel_shape=[{size}, {size}], strides=[2, 2]>(r)
        }}"""
    )
    x = np.random.default_rng(0).normal(-1, 1, (1, 2, 7, 6)).astype(np.float32)
    session = add_gradient(onnxviz.load(model), wrt=["x", "r"], mode=mode).session(threads=1)
    seed = np.random.default_rng(1).normal(size=session.value({"x": x}).shape).astype(np.float32)
    found = session.run({"x": x}, seed).gradients

    rectified = torch.tensor(np.maximum(x, 0), requires_grad=True)
    torch.nn.functional.max_pool2d(rectified, size, 2).backward(torch.tensor(seed))
    between = rectified.grad.numpy()
    assert (between[x < 0] != 0).any(), "a window in which all is 0"
    np.testing.assert_allclose(found["r"], between, rtol=1e-6)
    passed = between if mode == "plain" else np.maximum(between, 0)
    np.testing.assert_allclose(found["x"], passed if mode == "deconv" else passed * (x > 0), rtol=1e-6)
