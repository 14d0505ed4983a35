"""Encoding of pictures: pixels as the bytes of a file, the same for the same pixels; what files say of themselves."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Encoding = Literal["png", "jpg", "webp"]
QUALITY: dict[str, Any] = {"quality": 92, "subsampling": 0}
"""Of JPEG: colours at full size, so that edges stay clean."""

_WEBP = {"quality": 82, "method": 4}  # for photos; figures are kept exactly, see `onnxviz.plots.saving`
_KEY = "onnxviz"
_DESCRIPTION = 0x010E  # of Exif: ImageDescription


def encode_picture(pixels: NDArray[Any], kind: Encoding = "png", record: Mapping[str, Any] | None = None) -> bytes:
    """Returns the bytes of a picture file: no date, no software.

    Args:
        pixels: uint8, (H, W) in grey or (H, W, 3) in RGB.
        kind: "png" keeps every pixel; "jpg" and "webp" are for photos, a fifth of the size, and close.
        record: What its metadata say, as JSON types; None for nothing.
    """
    file = BytesIO()
    options: dict[str, Any] = {"png": {"optimize": True}, "jpg": QUALITY, "webp": _WEBP}[kind]
    if record is not None:
        options = options | ({"pnginfo": _text(record)} if kind == "png" else {"exif": exif_of(record)})
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "jpeg" if kind == "jpg" else kind, **options)
    return file.getvalue()


def record_text(record: Mapping[str, Any]) -> str:
    """Returns a record as one line of JSON in ASCII, which every format's metadata can hold."""
    return json.dumps(record, sort_keys=True)


def exif_of(record: Mapping[str, Any]) -> bytes:
    """Returns Exif data whose ImageDescription is the record, for JPEG and WebP."""
    exif = Image.Exif()
    exif[_DESCRIPTION] = record_text(record)
    return exif.tobytes()


def _text(record: Mapping[str, Any]) -> PngInfo:
    found = PngInfo()
    found.add_text(_KEY, record_text(record))
    return found
