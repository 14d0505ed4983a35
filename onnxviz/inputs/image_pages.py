"""Pages of image files: how many a file has, told from its structure, with nothing decoded; `photo.tif[3]`."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import SEEK_CUR, SEEK_END
from pathlib import Path
from typing import IO, Literal

from onnxviz.errors import InputError

# A page by number, all of them, or none named.
Page = int | Literal["all"] | None

# A page costs a few bytes, and each becomes a sample.
MAX_PAGES = 100_000

# Tags of a TIFF directory (TIFF 6.0, sections 4 and 8).
_SUBFILE_TYPE, _PHOTOMETRIC, _SAMPLES = 254, 262, 277
# Bits of NewSubfileType: a smaller copy of another page, and a mask of one.
_REDUCED, _MASK = 1, 4
_PALETTE = 3
_ADDRESS = re.compile(r"(.+)\[(\d{1,9}|:)\]", re.DOTALL)


@dataclass(frozen=True)
class Pages:
    """The pages of an image file: of a document or stack, or the frames of an animation.

    Attributes:
        places: where each page stands in the file, counted as Pillow counts: smaller copies and masks of other pages
            (TIFF) and a picture that is no frame of its animation (PNG) are left out. One or more.
        grey: whether each has a single band, as the slices of a stack do.
    """

    places: tuple[int, ...] = (0,)
    grey: bool = False

    def chosen(self, page: Page, path: Path, channels: int | None) -> Sequence[int]:
        """The pages that are meant, by number.

        Args:
            page: as `parse_address` gives it. None means all, unless the pages of a grey stack may just as well be the
                channels of one input.
            path: the file, in messages.
            channels: of the input; None if that is open.

        Raises:
            InputError: there is no such page, there are too many, or it is not clear what they are.
        """
        count = len(self.places)
        if isinstance(page, int):
            if page >= count:
                has = f"has {count} pages, 0 to {count - 1}" if count > 1 else "has one page, 0"
                raise InputError(f"{path} {has}: there is no page {page}")
            return [page]
        if count > MAX_PAGES:
            raise InputError(f"{path} has more than {MAX_PAGES:,} pages: name one, such as '{path.name}[0]'")
        if page is None and self.grey and count == channels and count > 1:
            raise InputError(
                f"{path} has {count} grey pages and the input takes {count} channels: write '{path.name}[:]' to take "
                "each page for a picture, or give a .npy with the pages as channels"
            )
        return range(count)


def one_page(text: str) -> tuple[Path, int]:
    """The file, and the place in it, of the page that `photo.tif[3]` names; `photo.tif` if it has one page.

    Raises:
        InputError: there is no such page, or there are several and none is named.
    """
    path, page = parse_address(text)
    pages = find_pages(path)
    if len(pages.places) > 1 and not isinstance(page, int):
        raise InputError(f"{path} has {len(pages.places)} pages: name one, such as '{path.name}[0]'")
    return path, pages.places[pages.chosen(page, path, None)[0]]


def parse_address(text: str) -> tuple[Path, Page]:
    """The file and the page that `photo.tif[3]` names; "all" for `photo.tif[:]`, None where no page is named.

    A file that is really called so is that file.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or Path(text).exists():
        return Path(text), None
    return Path(found[1]), "all" if found[2] == ":" else int(found[2])


def find_pages(path: Path) -> Pages:
    """The pages of an image file; a single one where the file is none, is damaged or cannot be opened.

    At most `MAX_PAGES` + 1 are looked for. Of a JPEG the first picture is the photo, whatever previews follow it.
    """
    try:
        if not path.is_file():  # a FIFO would block for ever
            return Pages()
        with path.open("rb") as file:
            head = file.read(16)
            if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                return _of_tiff(file, head)
            if head[:4] == b"GIF8":
                return _numbered(_of_gif(file))
            if head[:8] == b"\x89PNG\r\n\x1a\n":
                return _of_png(file)
            if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
                return _numbered(_of_webp(file))
    except (OSError, IndexError, struct.error):
        pass
    return Pages()


def _numbered(count: int) -> Pages:
    return Pages(tuple(range(max(count, 1))))


def _of_tiff(file: IO[bytes], head: bytes) -> Pages:
    order = "<" if head[:1] == b"I" else ">"
    big = b"+" in head[2:4]
    counter, entry, pointer = (f"{order}Q", f"{order}HHQ8s", f"{order}Q") if big else (
        f"{order}H", f"{order}HHI4s", f"{order}I"
    )  # fmt: skip
    (offset,) = struct.unpack_from(pointer, head, 8 if big else 4)
    left = file.seek(0, SEEK_END)  # directories of an honest file do not overlap
    seen: set[int] = set()
    places: list[int] = []
    grey = True
    while offset and offset not in seen and len(places) <= MAX_PAGES:
        place = len(seen)
        seen.add(offset)
        try:
            file.seek(offset)
            (count,) = struct.unpack(counter, file.read(struct.calcsize(counter)))
            length = count * struct.calcsize(entry)
            left -= length
            body = file.read(length if left >= 0 else 0)
            (offset,) = struct.unpack(pointer, file.read(struct.calcsize(pointer)) if len(body) == length else b"")
        except (struct.error, OverflowError):
            places.append(place)  # what cannot be read is reported when it is read
            break
        tags = _short_tags(struct.iter_unpack(entry, body), order)
        if not tags.get(_SUBFILE_TYPE, 0) & (_REDUCED | _MASK):
            places.append(place)
            grey &= tags.get(_SAMPLES, 1) == 1 and tags.get(_PHOTOMETRIC) != _PALETTE
    return Pages(tuple(places), grey) if places else Pages()


def _short_tags(entries: Iterable[tuple[int, int, int, bytes]], order: str) -> dict[int, int]:
    """The first number of those tags that hold short or long integers where the directory stands."""
    kinds = {3: f"{order}H", 4: f"{order}I"}
    return {tag: struct.unpack_from(kinds[kind], value)[0] for tag, kind, count, value in entries if kind in kinds}


def _of_gif(file: IO[bytes]) -> int:
    def skip_table(flags: int) -> None:
        if flags & 0x80:
            file.seek(3 << (flags & 7) + 1, SEEK_CUR)

    def skip_blocks() -> None:
        while (size := file.read(1)) not in (b"", b"\0"):
            file.seek(size[0], SEEK_CUR)

    file.seek(10)
    flags = file.read(3)[0]
    skip_table(flags)
    count = 0
    while (mark := file.read(1)) not in (b"", b";") and count <= MAX_PAGES:
        if mark == b"!":
            file.read(1)
            skip_blocks()
        elif mark == b",":
            count += 1
            if len(frame := file.read(9)) < 9:
                break
            skip_table(frame[8])
            file.read(1)
            skip_blocks()
    return count


def _of_png(file: IO[bytes]) -> Pages:
    file.seek(8)
    frames, hidden, animated = 0, False, False
    while len(head := file.read(8)) == 8 and frames <= MAX_PAGES:
        length, kind = struct.unpack(">I4s", head)
        animated |= kind == b"acTL"
        frames += kind == b"fcTL"
        if kind == b"IDAT" and not animated:
            break
        hidden |= kind == b"IDAT" and not frames
        if kind == b"IEND":
            break
        file.seek(length + 4, SEEK_CUR)
    return Pages(tuple(range(hidden, hidden + frames))) if animated and frames else Pages()


def _of_webp(file: IO[bytes]) -> int:
    file.seek(12)
    frames = 0
    while len(head := file.read(8)) == 8 and frames <= MAX_PAGES:
        kind, length = struct.unpack("<4sI", head)
        frames += kind == b"ANMF"
        file.seek(length + length % 2, SEEK_CUR)
    return frames
