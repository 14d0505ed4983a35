"""PNG files: whether the pixel data of each picture in one are complete; Pillow does not look."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

# Adam7: first column, first row, column step, row step of each pass (PNG specification, section 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def incomplete_pictures(path: Path) -> frozenset[int]:
    """The places of those pictures whose data decompress to fewer bytes than their header declares.

    The picture of a plain PNG is at place 0; of an animated one, frames are counted as Pillow counts them.
    """
    found = set()
    place, total, wanted, bits, interlaced = 0, 0, 0, 0, False
    inflate = zlib.decompressobj()
    begun = False
    for kind, body in _chunks(path):
        if kind == b"IHDR":
            width, height, depth, colour, _, _, lace = struct.unpack(">IIBBBBB", body)
            bits, interlaced = depth * _CHANNELS[colour], bool(lace)
            wanted = _size(width, height, bits, interlaced)
        elif kind == b"fcTL":
            if begun:  # the data of the picture before are all there
                found |= {place} if total < wanted else set()
                place, total, inflate, begun = place + 1, 0, zlib.decompressobj(), False
            width, height = struct.unpack_from(">II", body, 4)
            wanted = _size(width, height, bits, interlaced)
        elif kind in (b"IDAT", b"fdAT"):
            begun = True
            data = body if kind == b"IDAT" else body[4:]  # behind the number of the chunk
            while data and total <= wanted:
                total += len(inflate.decompress(data, 1 << 20))
                data = inflate.unconsumed_tail
    return frozenset(found | ({place} if total < wanted else set()))


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """(kind, body) of each chunk up to the last."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                return
            yield kind, file.read(length)
            file.seek(4, 1)


def _size(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Bytes of the scan lines, with the filter's byte before each."""
    made = 0
    for x, y, dx, dy in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
        made += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return made
