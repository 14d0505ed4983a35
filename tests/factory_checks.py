"""What every factory of sample networks keeps to, whatever its framework."""

import inspect
import itertools

import numpy as np


def furthest(ours, theirs):
    """The largest difference of each output, over the largest magnitude in it; the smallest of these."""
    return min(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(ours, theirs, strict=True))


def check_factories(module, expected):
    """Every public function that the module itself defines is a factory with an example input and keywords alone."""
    found = {name for name, _ in inspect.getmembers(module, inspect.isfunction) if not name.startswith("_")}
    assert {name for name in found if getattr(module, name).__module__ == module.__name__} == set(expected)
    assert set(module.INPUT_SHAPES) == set(expected)
    for name in expected:
        parameters = inspect.signature(getattr(module, name)).parameters
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters.values())
        assert parameters["seed"].default == 0
        assert getattr(module, name).__doc__
        assert all(shape[0] == 1 for shape in module.INPUT_SHAPES[name])


def check_weights(weights, again, other):
    """Two builds are equal bit for bit, another seed changes every tensor, no value is a bare 0 or 1."""
    assert list(weights) == list(again) == list(other)
    for name, values in weights.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name, strict=True)
        assert (values != other[name]).mean() > 0.99, name
        assert np.isin(values, [0, 1]).mean() < 0.001, name
        assert values.size == 1 or values.std() > 0.01 * np.abs(values).max(), name


def check_outputs(outputs):
    """Finite, of a size that softmax and sigmoid can bear, varied, and others for other inputs; one list an input."""
    for several in zip(*outputs, strict=True):
        for output in several:
            assert output.dtype == np.float32
            assert np.isfinite(output).all()
            assert 0.01 < np.abs(output).max() < 100
            assert output.size == 1 or output.std() > 0.01 * np.abs(output).max()
        changes = [np.abs(a - b).max() / np.abs(a).max() for a, b in itertools.combinations(several, 2)]
        assert min(changes) > 1e-3
        assert max(changes) > 0.1
