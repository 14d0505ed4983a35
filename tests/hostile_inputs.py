"""Pictures and arrays as files, and `onnxviz maps` on them."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hostile import UNSAFE, small, write
from PIL import Image

from onnxviz.cli import run


def noise(*shape: int, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    return np.random.default_rng(5).integers(0, 255, shape).astype(dtype)


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def npy(values: npt.NDArray[Any], *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def maps(tmp_path: Path, *inputs: object, made: onnx.ModelProto | None = None, options: tuple[str, ...] = ()) -> int:
    path = write(tmp_path, made if made is not None else small())
    return run(["maps", str(path), *map(str, inputs), "-q", "--save", "maps.npz", *options])


def refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    *inputs: object,
    match: str,
    made: onnx.ModelProto | None = None,
    options: tuple[str, ...] = (),
) -> None:
    """Exit code 2, one line that says `match`, nothing written."""
    code = maps(tmp_path, *inputs, made=made, options=options)
    out, err = capsys.readouterr()
    assert code == 2, (code, ascii(err))
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, ascii(err)
    assert not UNSAFE.search(err), ascii(err)
    assert len(err) < 1200
    assert re.search(match, err), ascii(err)
    assert out == ""
    assert list(Path.cwd().iterdir()) == []


RGB = Image.fromarray(noise(32, 24, 3))
JPEG, PNG = encoded(RGB, "JPEG"), encoded(RGB, "PNG")


def npy_header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


FITS = np.zeros((1, 3, 8, 8), np.float32)
