"""PNG files whose rows are not all there, frame by frame."""

import struct
import zlib

import numpy as np
import pytest
from png import chunk

from onnxviz.errors import InputError
from onnxviz.inputs.image_files import read_image
from onnxviz.inputs.png_files import incomplete_pictures

PICTURES = np.random.default_rng(5).integers(0, 256, (3, 6, 4), np.uint8)


def rows(picture, count):
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in picture[:count]))


def animated(path, counts, *, hidden=False):
    """Grey frames of so many of their six rows; `hidden`: the first is no frame of the animation."""
    made = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 6, 8, 0, 0, 0, 0))
    made += chunk(b"acTL", struct.pack(">II", len(counts) - hidden, 0))
    number = 0
    for place, (picture, count) in enumerate(zip(PICTURES, counts, strict=False)):
        if place or not hidden:
            made += chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 4, 6, 0, 0, 1, 10, 0, 0))
            number += 1
        data = rows(picture, count)
        for part in (data[:5], data[5:]):
            made += chunk(b"fdAT", struct.pack(">I", number) + part) if place else chunk(b"IDAT", part)
            number += place > 0
    path.write_bytes(made + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("counts", [(6, 6, 6), (5, 6, 6), (6, 5, 6), (6, 6, 1), (1, 6, 5)])
def test_each_picture_is_complete_or_refused(tmp_path, counts, hidden):
    path = animated(tmp_path / "a.png", counts, hidden=hidden)
    assert incomplete_pictures(path) == {place for place, count in enumerate(counts) if count < 6}
    for page in range(3 - hidden):
        place = page + hidden
        if counts[place] == 6:
            np.testing.assert_array_equal(read_image(f"{path}[{page}]", channels=1)[..., 0], PICTURES[place])
        else:
            with pytest.raises(InputError, match=r"a\.png (is damaged: rows of the PNG are missing|cannot be decoded)"):
                read_image(f"{path}[{page}]", channels=1)
