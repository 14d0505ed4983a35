"""PyTorch's files: what kind each is, and loading them without running what they bring along."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onnxviz.errors import CodeExecution, ConversionError
from onnxviz.messages import option, printable

if TYPE_CHECKING:
    import torch

SUFFIXES = frozenset({".pt2", ".pt", ".pth", ".ckpt", ".torchscript", ".ts", ".safetensors"})
Kind = Literal["program", "compiled", "torchscript", "pickle", "safetensors", "unknown"]


def kind(path: Path) -> Kind:
    """What a file is, by its content; a zip archive's table of contents is read and nothing else.

    Raises:
        ConversionError: it is not there, or not a file.
    """
    if not path.exists():
        raise ConversionError(f"there is no file {path}")
    if not path.is_file():
        raise ConversionError(f"{path} is not a file")
    if path.suffix.lower() == ".safetensors":
        return "safetensors"
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _member_kind(archive.namelist())
        with path.open("rb") as file:
            start = file.read(2)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ConversionError(f"{path} cannot be read: {printable(str(error))}") from None
    return "pickle" if start[:1] == b"\x80" else "unknown"  # protocol 2 and later, as torch.save wrote before 1.6


def is_torch_archive(path: Path) -> bool:
    """Whether a file with a name that does not tell is one of PyTorch's zip archives."""
    try:
        return path.is_file() and zipfile.is_zipfile(path) and kind(path) != "unknown"
    except (OSError, ConversionError):
        return False


def _member_kind(names: list[str]) -> Kind:
    inner = {name.partition("/")[2] for name in names}
    if any(name.startswith("data/aotinductor/") for name in (*inner, *names)):
        return "compiled"
    if any(re.search(r"(^|/)models/[^/]+\.json$|(^|/)serialized_exported_program\.json$", name) for name in names):
        return "program"
    if "constants.pkl" in inner:
        return "torchscript"
    return "pickle" if "data.pkl" in inner else "unknown"


def load_weights(path: Path, *, allow_code_execution: bool) -> object:
    """What a file of weights holds, tensors on the CPU; mapped from the file where that is possible.

    Raises:
        ConversionError: it cannot be read, or holds a program.
        CodeExecution: it holds more than tensors, and unpickling that is not allowed.
    """
    what = kind(path)
    if what == "safetensors":
        if find_spec("safetensors") is None:
            raise ConversionError(f"{path} needs the package safetensors: pip install safetensors")
        from safetensors.torch import load_file  # type: ignore[import-not-found,unused-ignore]

        return _read(path, lambda: load_file(path, device="cpu"))
    if what in ("program", "compiled", "torchscript"):
        raise ConversionError(f"{path} is a {_NAMES[what]}, not a file of weights")
    return load_pickle(path, allow_code_execution=allow_code_execution)


def load_pickle(path: Path, *, allow_code_execution: bool) -> object:
    """What `torch.save` wrote; see `load_weights`."""
    import torch

    mapped = zipfile.is_zipfile(path)
    safe = not allow_code_execution
    try:
        return _read(path, lambda: torch.load(path, map_location="cpu", weights_only=safe, mmap=mapped))
    except _Unsafe as error:
        raise CodeExecution(
            f"{path} holds {error} besides tensors, and loading that runs code from the file: "
            f"if you trust it, give {_allowed()}"
        ) from None


def load_script(path: Path, *, allow_code_execution: bool) -> torch.jit.ScriptModule:
    """A TorchScript program, on the CPU.

    Raises:
        ConversionError: it cannot be read.
        CodeExecution: not allowed.
    """
    if not allow_code_execution:
        raise CodeExecution(f"{path} is a {_NAMES['torchscript']}, which runs code: if you trust it, give {_allowed()}")
    import torch

    load: Callable[..., Any] = torch.jit.load
    loaded: torch.jit.ScriptModule = _read(path, lambda: load(str(path), map_location="cpu"))
    return loaded


def load_program(path: Path, *, allow_code_execution: bool) -> torch.export.ExportedProgram:
    """What `torch.export.save` wrote.

    Raises:
        ConversionError: it cannot be read.
        CodeExecution: not allowed.
    """
    if not allow_code_execution:
        raise CodeExecution(
            f"{path} is a {_NAMES['program']}; loading one runs code from it: if you trust it, give {_allowed()}"
        )
    import torch

    load: Callable[[Path], Any] = torch.export.load
    program: torch.export.ExportedProgram = _read(path, lambda: load(path))
    return program


_NAMES = {
    "program": "program of torch.export",
    "compiled": "compiled program (AOTInductor)",
    "torchscript": "TorchScript program",
}


class _Unsafe(Exception):
    """A safe load was refused; the message names what the file holds."""


def _read(path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # damaged files raise a dozen kinds
        text = str(error)
        unsafe = re.search(r"GLOBAL (\w[\w.]*\w)|but got (?:<class ')?(\w[\w.]*\w)", text)
        if unsafe and "eights only load failed" in text:
            raise _Unsafe(printable(unsafe[1] or unsafe[2])) from None
        first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
        if "eights only load failed" in text:
            first = "it is not what torch.save writes"
        raise ConversionError(f"{path} cannot be read: {printable(first)}") from None


def _allowed() -> str:
    return option("allow_code_execution", python="True")
