"""Files of arrays that are damaged, too large or of another shape than the input."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile_inputs import FITS, maps, noise, npy, npy_header, npz, refused

pytestmark = pytest.mark.usefixtures("deadline", "room")
HEADERS = {
    "huge": npy_header("'<f4'", "(1, 3, 8, 100000000000)"),
    "negative": npy_header("'<f4'", "(-1, 3, 8, 8)"),
    "beyond 64 bits": npy_header("'<f4'", "(1, 3, 99999999999999999999, 8)"),
    "object": npy_header("'|O'", "(1, 3, 8, 8)"),
    "record": npy_header("[('a', '<f4')]", "(1, 3, 8, 8)"),
    "no type": npy_header("'zz'", "(1, 3, 8, 8)"),
    "cut": b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'\n",
    "nested": b"\x93NUMPY\x01\x00\x28\x23" + b"(" * 8999 + b"\n",
    "no text": b"\x93NUMPY\x01\x00\x03\x00\xff\xfe\n",
    "version": b"\x93NUMPY\x09\x00\x03\x00\xff\xfe\n",
}


@pytest.mark.parametrize("case", HEADERS)
def test_array_headers(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = HEADERS[case] + bytes(768)
    (tmp_path / "x.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", data)
    refused(capsys, tmp_path, tmp_path / "x.npy", match=r"x\.npy")
    refused(capsys, tmp_path, tmp_path / "x.npz", match=r"x\.npz|'x'")


ARRAYS = {
    "pickle": ("x.npy", npy(np.array([{}], object), allow_pickle=True), "not a .npy array"),
    "pickle alone": ("x.npy", pickle.dumps({"a": 1}), "not a .npy array"),
    "pickle in npz": ("x.npz", pickle.dumps({"a": 1}), "not a .npz archive"),
    "empty": ("x.npy", b"", "not a .npy array"),
    "empty npz": ("x.npz", b"", "not a .npz archive"),
    "text": ("x.npy", b"hello", "not a .npy array"),
    "cut": ("x.npy", npy(FITS)[:-10], "not a .npy array"),
    "npz called npy": ("x.npy", npz(x=FITS), "archive.*name it .npz"),
    "npy called npz": ("x.npz", npy(FITS), "single array.*name it .npy"),
    "npz without arrays": ("x.npz", npz(), "no input was given|empty"),
    "npz of another name": ("x.npz", npz(q=FITS), "no input called 'q'; it has x"),
    "npz cut": ("x.npz", npz(x=FITS)[:-30], "not a .npz archive"),
    "wrong shape": ("x.npy", npy(np.zeros((1, 4, 8, 8), np.float32)), "shape 1x4x8x8; input 'x' takes 1x3x8x8"),
    "wrong rank": ("x.npy", npy(np.zeros((1, 1, 3, 8, 8), np.float32)), "shape 1x1x3x8x8; .* takes 1x3x8x8"),
    "scalar": ("x.npy", npy(np.float32(1)), "shape scalar; input 'x' takes 1x3x8x8"),
    "no samples": ("x.npy", npy(np.zeros((0, 3, 8, 8), np.float32)), "is empty"),
    "text values": ("x.npy", npy(np.full((1, 3, 8, 8), "a")), "type <U1; input 'x' takes float32"),
    "bytes values": ("x.npy", npy(np.full((1, 3, 8, 8), b"a")), r"type \|S1; input 'x' takes float32"),
    "complex": ("x.npy", npy(FITS.astype(np.complex64)), "type complex64; input 'x' takes float32"),
    "dates": ("x.npy", npy(np.zeros((1, 3, 8, 8), "M8[s]")), "type datetime64.*takes float32"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_do_not_fit(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, data, match = ARRAYS[case]
    (tmp_path / name).write_bytes(data)
    refused(capsys, tmp_path, tmp_path / name, match=match)


def test_archives_that_are_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", npy(FITS))
    stored, packed = buffer.getvalue(), npz(x=noise(1, 3, 8, 8, dtype=np.float32))
    directory = stored.find(b"PK\x01\x02")
    encrypted, method, broken = bytearray(stored), bytearray(stored), bytearray(packed)
    encrypted[6] |= 1
    encrypted[directory + 8] |= 1
    method[8] = method[directory + 10] = 97
    for at in range(60, 200, 7):
        broken[at] ^= 255
    for data in (encrypted, method, broken):
        (tmp_path / "x.npz").write_bytes(data)
        refused(capsys, tmp_path, tmp_path / "x.npz", match=r"x\.npz is not a .npz archive|cannot be read")


def test_nan_and_infinity_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.npy").write_bytes(npy(np.full((1, 3, 8, 8), np.nan, np.float32)))
    assert maps(tmp_path, tmp_path / "x.npy", options=("-o", "pictures")) == 0
    assert capsys.readouterr().err == ""
