"""The networks of models/keras_models.py and models/torch_models.py: how they are imported and what they are fed."""

import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def importable(name):
    """The module as a command run in the repository's root imports it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        return importlib.import_module(name)


def waves(shape, channel_axis, seed):
    """Smooth waves along each axis, another one for each channel, with a little noise; about -2...2."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.3, shape)
    for axis in range(1, len(shape)):
        if axis == channel_axis % len(shape):
            continue
        along = np.linspace(-1, 1, shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        height = rng.normal(size=[n if i == channel_axis % len(shape) else 1 for i, n in enumerate(shape)])
        values = values + height * np.cos(rng.uniform(1, 5) * along + rng.uniform(0, 6))
    return values.astype(np.float32)


def keras_inputs(module, name, seed=0):
    inputs = [waves(shape, -1, seed) for shape in module.INPUT_SHAPES[name]]
    if name == "two_in_two_out":
        inputs[0] = np.clip(127.5 + 60 * inputs[0], 0, 255)
    elif name == "cats_and_dogs":
        inputs[0] = np.clip(0.5 + 0.25 * inputs[0], 0, 1)
    return inputs
