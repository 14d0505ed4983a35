"""What one input of a model is fed, by loops where it is compared."""

import numpy as np

from onnxviz import load
from onnxviz.inputs.samples import ImageOptions, samples

RNG = np.random.default_rng(11)
PHOTO = RNG.integers(0, 256, (8, 6, 3), np.uint8)  # 8 high, 6 wide


def fed(model, given, **options):
    """The labels and arrays of a model's one input, all samples."""
    opened = load(model)
    found = samples(opened, given, ImageOptions.of(opened, **options))
    (port,) = opened.inputs
    return [sample.label for sample in found], [sample.read()[port.name] for sample in found]


def transposed(pixels):
    """(H, W, C) to (1, C, H, W), by loops."""
    height, width, channels = pixels.shape
    return np.array([[[[pixels[y, x, c] for x in range(width)] for y in range(height)] for c in range(channels)]])
