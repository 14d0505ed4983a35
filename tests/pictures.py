"""Pictures to read, as Pillow writes them."""

import numpy as np
from PIL import Image

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (5, 7, 3), np.uint8)


def saved(path, picture, **options):
    """Writes an array or a picture with Pillow; gives the path."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(path, **options)
    return path


def luma(rgb):
    """ITU-R BT.601, as Pillow documents for its mode L."""
    return rgb[..., 0] * 0.299 + rgb[..., 1] * 0.587 + rgb[..., 2] * 0.114


LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True}}
