"""Encoding of pictures: pixels as the bytes of a PNG or WebP file, the same for the same pixels."""

from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Encoding = Literal["png", "webp"]
_QUALITY = 82  # of WebP, which is for photos


def encode_picture(pixels: NDArray[Any], kind: Encoding = "png") -> bytes:
    """Returns the bytes of a picture file without metadata: no date, no software.

    Args:
        pixels: uint8, (H, W) in grey or (H, W, 3) in RGB.
        kind: "png" keeps every pixel; "webp" is for photos, a fifth of the size, and close.
    """
    file = BytesIO()
    options: dict[str, Any] = {"optimize": True} if kind == "png" else {"quality": _QUALITY, "method": 4}
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, **options)
    return file.getvalue()
