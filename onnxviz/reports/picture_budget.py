"""The picture budget of a page: pictures as data URIs, as long as they fit a number of bytes."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from onnxviz.plots import Encoding, encode_picture

MOST_BYTES = 3_600_000
"""Characters of all pictures of a page; the page itself is to stay below five million."""


@dataclass(frozen=True)
class PageImage:
    """A picture on a page.

    Attributes:
        uri: its bytes as a data URI.
        size: (width, height) at which it is shown, in CSS pixels.
        alt: what it shows, in words.
    """

    uri: str
    size: tuple[int, int]
    alt: str


@dataclass
class PictureBudget:
    """The pictures of a page.

    Attributes:
        room: characters that are left.
        kept: how many pictures there are.
        left_out: how many did not fit.
    """

    room: int = MOST_BYTES
    kept: int = 0
    left_out: int = 0

    def add(self, pixels: NDArray[Any], alt: str, kind: Encoding = "png", zoom: int = 1) -> PageImage | None:
        """The picture; None where it does not fit.

        Args:
            pixels: uint8, (H, W) in grey, (H, W, 2) with opacity, or (H, W, 3) in RGB.
            alt: what it shows.
            kind: as for `encode_picture`.
            zoom: CSS pixels a side of each of its own.
        """
        uri = f"data:image/{kind};base64,{base64.b64encode(encode_picture(pixels, kind)).decode()}"
        if len(uri) > self.room:
            self.left_out += 1
            return None
        self.room -= len(uri)
        self.kept += 1
        return PageImage(uri, (pixels.shape[1] * zoom, pixels.shape[0] * zoom), alt)
