"""Files written whole or not at all, under names that are safe whatever a layer is called."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from onnxviz.errors import InputError, OnnxvizError
from onnxviz.messages import refuse_unheeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXEL_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
"""The kinds of picture that are written in pixels, by suffix."""
PICTURES = (*PIXEL_PICTURES, ".svg", ".pdf")
"""The kinds of picture that are written, by suffix."""

# Beginning of the names of unfinished files, so that what an aborted process leaves can be told and removed.
UNFINISHED = ".onnxviz-"
_LARGEST_MANIFEST = 2**28
# Where the paths of unfinished files are noted for a supervising process, if there is one.
journal: IO[bytes] | None = None
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³])$", re.IGNORECASE)


def destination(path: Path) -> Path:
    """The file that is replaced when `path` is written: where a symbolic link leads, not the link.

    Raises:
        OnnxvizError: nothing can be written there.
    """
    if path.is_symlink():
        path = path.resolve()
    if path.is_dir():
        raise OnnxvizError(f"{path} cannot be written: it is a folder")
    if path.exists() and not path.is_file():
        raise OnnxvizError(f"{path} cannot be written: it is a device or a pipe, not a file")
    if not path.parent.is_dir():
        raise OnnxvizError(f"{path} cannot be written: there is no folder {path.parent}")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path in the same folder that replaces `path` when the block ends well.

    Raises:
        OnnxvizError: the folder does not exist or cannot be written, or the disk is full; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        path = destination(path)
        handle, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{os.getpid()}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        _note_unfinished(temporary)
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600
        temporary.replace(path)
    except OSError as error:
        raise OnnxvizError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def assembling(path: Path) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; what was written into it takes its place when the block ends well.

    For a file with companions: all are moved, `path`'s own name last.

    Args:
        path: as `destination` gives it.

    Raises:
        OnnxvizError: the folder cannot be written, or the disk is full; nothing is left behind.
    """
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{os.getpid()}-", dir=path.parent))
        _note_unfinished(folder)
        yield folder
        for made in sorted(folder.iterdir(), key=lambda one: one.name == path.name):
            made.chmod(0o666 & ~_umask())
            made.replace(path.with_name(made.name))
    except OSError as error:
        raise OnnxvizError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def folder_destination(path: Path, sign: str) -> Path:
    """The folder that is replaced when `path` is written: where a symbolic link leads, not the link.

    Args:
        path: a folder, or nothing yet.
        sign: the name of a file that tells a folder that may be replaced.

    Raises:
        OnnxvizError: there is a file, or a folder that holds other things.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_dir():
        raise OnnxvizError(f"{path} cannot be written: it is a file, not a folder")
    if path.is_dir() and not (path / sign).is_file() and any(path.iterdir()):
        raise OnnxvizError(f"{path} cannot be written: it holds other files; name a new folder")
    return path


@contextmanager
def replacing_folder(path: Path, sign: str) -> Iterator[Path]:
    """Gives a temporary folder beside `path` that takes its place when the block ends well.

    Args:
        path: as for `folder_destination`.
        sign: likewise.

    Raises:
        OnnxvizError: as there; or it cannot be written. What was there stays, and nothing else is left behind.
    """
    folder: Path | None = None
    try:
        path = folder_destination(path, sign)
        make_folder(path.parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{os.getpid()}-", dir=path.parent))
        _note_unfinished(folder)
        made = folder / "new"
        made.mkdir()
        yield made
        if path.exists():
            path.rename(folder / "old")
        try:
            made.rename(path)
        except OSError:
            if (folder / "old").exists():
                (folder / "old").rename(path)
            raise
    except OSError as error:
        raise OnnxvizError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _note_unfinished(path: Path) -> None:
    if journal is not None:
        journal.write(f"{path.absolute()}\n".encode())
        journal.flush()


def is_picture(path: Path) -> bool:
    """Whether `path`, where pictures are to go, is one picture; else it is a folder for them.

    Raises:
        InputError: it looks like neither.
    """
    if path.is_dir() or not path.suffix:
        return False
    if path.suffix.lower() not in PICTURES:
        raise InputError(f"{path} is no folder, and pictures are {', '.join(PICTURES)}")
    return True


def check_dpi(suffix: str, dpi: float | None) -> None:
    """Refuses dots per inch that a picture cannot have, or that nothing heeds; None is none.

    Args:
        suffix: of the picture, one of `PICTURES`.
        dpi: what was asked for.

    Raises:
        InputError: it is no density.
        UnheededOptionError: such a picture has no pixels of its own.
    """
    if suffix.lower() not in PIXEL_PICTURES:
        refuse_unheeded({"dpi": dpi}, f"{suffix.lower()[1:]} has no pixels of its own")
    if dpi is not None and not 1 <= dpi < math.inf:
        raise InputError(f"a picture of {dpi:g} dots per inch cannot be written; give 1 or more")


def check_folder(path: Path | None, what: str) -> None:
    """Refuses the name of a picture where a folder is meant; None is no name.

    Args:
        path: what was named.
        what: what goes into the folder, as a sentence that the message begins with.

    Raises:
        InputError: it is called like a picture.
    """
    if path is not None and path.suffix.lower() in PICTURES:
        raise InputError(f"{what}: {path} looks like a file")


def check_archive(path: Path | None, what: str = "maps") -> None:
    """Refuses what is not called like an archive of arrays; None is no name.

    Raises:
        InputError: it is not.
    """
    if path is not None and path.suffix.lower() != ".npz":
        raise InputError(f"{what} are saved as .npz, not as {path.name}")


def write_json(path: Path, document: dict[str, Any]) -> Path:
    """Writes a manifest, and gives its path.

    Args:
        path: of the manifest.
        document: JSON types, and a `Path` for each file that it names, which is written as seen from its folder.

    Raises:
        OnnxvizError: the folder does not exist or cannot be written, or the disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_text(_as_text(document, path.parent), encoding="utf-8")
    return path


def _as_text(document: Mapping[str, Any], folder: Path) -> str:
    """A document that lies in a folder, and names files as seen from there."""

    def seen(value: object) -> str:
        if not isinstance(value, Path):
            raise TypeError(f"{type(value).__name__} is no type of JSON's")
        try:
            return Path(os.path.relpath(value, folder)).as_posix()
        except ValueError:  # another drive of Windows
            return str(value.absolute())

    return json.dumps(document, indent=1, default=seen) + "\n"


def write_manifest(folder: Path, command: str, written: Iterable[Path], document: dict[str, Any]) -> Path:
    """Writes `manifest.json` into the folder of a run; gives its path.

    The manifest lists by command what was written there. What an earlier run of the same command wrote, and this one
    did not, is removed; what other commands or people put there stays.

    Args:
        folder: where the run wrote.
        command: what wrote.
        written: the files of this run, in the folder.
        document: what the manifest says.

    Raises:
        OnnxvizError: the folder cannot be written, or the disk is full.
    """
    path = folder / "manifest.json"
    earlier = _earlier_files(path)
    names = sorted({one.relative_to(folder).as_posix() for one in written})
    write_json(path, {**document, "written": {**earlier, command: names}})
    for name in sorted({*earlier.get(command, ())} - {*names}):
        _remove_picture(folder, name)
    return path


def _earlier_files(path: Path) -> dict[str, list[str]]:
    """What the manifest there lists as written, by command; nothing where it is none of ours, or cannot be read."""
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            return {}
        listed = json.loads(path.read_text(encoding="utf-8"))["written"]
        return {str(command): [str(name) for name in names] for command, names in listed.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _remove_picture(folder: Path, name: str) -> None:
    """Removes a picture below the folder, and its own folder if that is empty then; a manifest may say anything."""
    parts = PurePosixPath(name).parts
    path = folder.joinpath(*parts)
    if ".." in parts or PurePosixPath(name).is_absolute() or path.suffix.lower() not in PICTURES:
        return
    with suppress(OSError, ValueError):  # it is no name, is open elsewhere, or belongs to somebody else
        if path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            return
        path.unlink()
        if path.parent != folder:
            path.parent.rmdir()


def make_folder(path: Path) -> Path:
    """Makes the folder `path` and those above it, if need be.

    Raises:
        OnnxvizError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OnnxvizError(f"the folder {path} cannot be made: {error.strerror or error}") from None
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex; reads all of it."""
    import hashlib  # late: it loads a library of its own

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_name(index: int, name: str, width: int = 3) -> str:
    """A file name for `name`, distinct for distinct (index, name) on every file system: `004-block3_conv1`.

    The index alone makes names of one list distinct on systems that ignore case.
    """
    slug = bare_name(name)
    return f"{index:0{width}d}-{slug}" if slug else f"{index:0{width}d}"


def bare_name(name: str) -> str:
    """The same without the index, where one name is distinct of itself: `block3_conv1`; "" of "".

    Letters of any language, digits, `.`, `_` and `-` stay, composed (NFC); where anything else was replaced or cut,
    eight digits of a hash of the true name are added.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "_", name) if name.isascii() else _letters(name)
    slug = slug.encode()[:60].decode(errors="ignore").strip("._-")
    if slug != name or _RESERVED.match(slug):
        import hashlib  # late: it loads a library of its own, and few names need it

        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        slug = f"{slug}-{digest}" if slug else digest
    return slug


def check_parent(path: Path) -> None:
    """Refuses a file whose folder is not there, before anything is computed.

    Raises:
        InputError: it is not.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")


def _letters(name: str) -> str:
    """`name`, composed, with `_` for what is no letter, mark, digit, dot or dash, such as bidirectional controls."""
    import unicodedata

    composed = unicodedata.normalize("NFC", name)
    kept = "".join(c if c in "._-" or unicodedata.category(c)[0] in "LMN" else " " for c in composed)
    return "_".join(kept.split())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_arrays(arrays: Mapping[str, NDArray[Any]], path: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Writes `arrays` to an uncompressed `.npz`, piece by piece, and `manifest` beside it; their paths."""
    check_archive(path)
    beside = path.with_name(path.name + ".manifest.json")
    with replacing(path) as temporary, replacing(beside) as note:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: the same arrays make the same bytes
                with archive.open(entry, "w", force_zip64=True) as file:
                    _write_npy(file, array)
        note.write_text(_as_text(manifest, path.parent), encoding="utf-8")
    return [path, beside]


def _write_npy(file: IO[bytes], array: NDArray[Any]) -> None:
    """`numpy.save` that copies no more than a piece of the array at a time."""
    import numpy as np  # late: the supervisor imports this module before anything heavy

    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in array if array.ndim else [array]:
        file.write(np.ascontiguousarray(piece).tobytes())
