"""Makes the photos in ``photos/`` and ``pets/``: the cat from scikit-image, the others from GCompris.

Command: ``python models/make_photos.py [FOLDER]``. Takes a second. Needs: scikit-image==0.26.0 pillow, and GCompris'
.rcc files in FOLDER: Debian 12's ``gcompris-qt-data`` 3.1-2 puts them into ``/usr/share/gcompris-qt/rcc``, the default.

Pillow 13.0.0 wrote the files in the repository; another version may write other bytes.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ANIMALS = {
    "photos/dog": ("explore_farm_animals.rcc", "dog.webp"),
    "photos/macaw": ("explore_world_animals.rcc", "scarlet_macaw.webp"),
    "pets/kitten": ("explore_farm_animals.rcc", "cat.webp"),
    "pets/ginger": ("erase.rcc", "kitten.webp"),
}


def read_resource(file: Path, wanted: str) -> bytes:
    """The contents of the first entry called ``wanted`` in a Qt binary resource file (format version 1 to 3)."""
    data = file.read_bytes()
    magic, version, tree, contents, names = struct.unpack(">4s4I", data[:20])
    if magic != b"qres":
        raise SystemExit(f"{file} is no Qt resource file: it starts with {magic!r}, not b'qres'")
    entry_size = 14 if version == 1 else 22

    folders = [(0, 1)]  # (first entry, number of entries)
    while folders:
        first, count = folders.pop()
        for index in range(first, first + count):
            entry = tree + index * entry_size
            name_at, flags = struct.unpack(">IH", data[entry : entry + 6])
            if flags & 2:
                count_within, first_within = struct.unpack(">II", data[entry + 6 : entry + 14])
                folders.append((first_within, count_within))
                continue
            start = names + name_at
            (length,) = struct.unpack(">H", data[start : start + 2])
            if data[start + 6 : start + 6 + 2 * length].decode("utf-16-be") != wanted:
                continue
            (offset,) = struct.unpack(">I", data[entry + 10 : entry + 14])
            start = contents + offset
            (size,) = struct.unpack(">I", data[start : start + 4])
            body = data[start + 4 : start + 4 + size]
            return zlib.decompress(body[4:]) if flags & 1 else body
    raise SystemExit(f"{file} has no entry {wanted}")


def write(name: str, image: Image.Image) -> None:
    image = image.convert("RGB")
    image.thumbnail((640, 640), Image.Resampling.LANCZOS)
    image.save(HERE / f"{name}.jpg", quality=88, optimize=True)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/gcompris-qt/rcc")
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the cat comes with scikit-image, which is not installed: pip install scikit-image==0.26.0")
    write("photos/cat", Image.open(Path(next(iter(spec.submodule_search_locations))) / "data" / "chelsea.png"))
    for name, (archive, entry) in ANIMALS.items():
        if not (folder / archive).is_file():
            raise SystemExit(f"{folder / archive} is missing: apt-get install gcompris-qt-data has it")
        write(name, Image.open(io.BytesIO(read_resource(folder / archive, entry))))


if __name__ == "__main__":
    main()
