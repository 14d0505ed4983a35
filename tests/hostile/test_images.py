"""Images that a stranger made to break the reader: each is read right, or refused in one line."""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from deadlines import HANG_SECONDS
from hostile import UNSAFE, info, png, small, write
from hostile_inputs import JPEG, PNG, RGB, encoded, maps, noise, npy_header, refused
from old_versions import YCBCR_TIFF_IS_CUT
from PIL import Image

from onnxviz import InputError
from onnxviz.inputs.image_files import read_image

pytestmark = pytest.mark.usefixtures("deadline", "room")


def dynamic() -> onnx.ModelProto:
    made = small()
    made.graph.input[0].CopyFrom(info("x", ["n", 3, "h", "w"]))
    made.graph.output[0].CopyFrom(info("y", None))
    return made


ROW = bytes(1 + 8 * 3)
BROKEN = {
    "empty": (b"", "not an image"),
    "text": (b"hello\n", "not an image"),
    "html": (b"<html>404</html>", "not an image"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch pwned) (w) file\n", "not an image"),
    "pdf": (b"%PDF-1.4\n", "not an image"),
    "JPEG half": (JPEG[: len(JPEG) // 2], "cannot be decoded"),
    "JPEG head": (JPEG[:20], "not an image|cannot be decoded"),
    "PNG half": (PNG[: len(PNG) // 2], "cannot be decoded"),
    "PNG head": (PNG[:30], "not an image|cannot be decoded"),
    "PNG without rows": (png(8, 8, ROW * 5), "damaged|cannot be decoded"),
    "PNG without rows, interlaced": (png(8, 8, bytes(100), interlace=1), "damaged|cannot be decoded"),
    "PNG of no size": (png(0, 0, b""), "not an image|cannot be decoded|has no pixels"),
    "PNG bomb": (png(9000, 9000, bytes(9000)), "9000x9000 pixels; the limit is .* make it smaller"),
    "PNG of 2**31": (png(2**31 - 1, 2**31 - 1, b""), "pixels.*make it smaller"),
    "PNG crc": (PNG[:40] + bytes([PNG[40] ^ 1]) + PNG[41:], "cannot be decoded|not an image"),
    "float of hundreds": (encoded(Image.fromarray(np.full((8, 8), 300, np.float32)), "TIFF"), "300.*npy"),
    "float nan": (encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"), "nan.*npy"),
    "int32 below zero": (encoded(Image.fromarray(np.full((8, 8), -5, np.int32)), "TIFF"), "-5.*npy"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_images_that_are_none(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, match = BROKEN[case]
    path = tmp_path / "image.png"
    path.write_bytes(data)
    refused(capsys, tmp_path, path, match=f"{re.escape(str(path))}.*({match})")


def test_images_that_are_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for suffix in ("png", "npy", "npz"):
        os.mkfifo(tmp_path / f"fifo.{suffix}")
        (tmp_path / f"folder.{suffix}").mkdir()
        refused(capsys, tmp_path, tmp_path / f"fifo.{suffix}", match="not a file|not a regular file")
        refused(capsys, tmp_path, f"x={tmp_path}/fifo.{suffix}", match="not a file|not a regular file")
        refused(capsys, tmp_path, f"x={tmp_path}/folder.{suffix}", match="not a file|folder|[Dd]irectory")
        refused(capsys, tmp_path, tmp_path / f"none.{suffix}", match="there is no file")
    refused(capsys, tmp_path, "/dev/zero", match="not a file|not a regular file")
    refused(capsys, tmp_path, tmp_path / "empty", match="no images")
    refused(capsys, tmp_path, tmp_path / "loop.png", match="no file|cannot be")
    refused(capsys, tmp_path, "n" * 300 + ".png", match="no file|cannot be|too long")
    refused(capsys, tmp_path, "x=" + "n" * 5000, match="no file|cannot be|too long")


@pytest.mark.parametrize("name", ["a\x1b[31m.png", "a\nb.png", "a\u202eb.png", "[b]x[c].png"])
def test_names_of_images(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], room: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / f"bad{name}").write_bytes(b"not an image")
    refused(capsys, tmp_path, folder / f"bad{name}", match="not an image")
    RGB.save(folder / name, "PNG")
    for form in ("png", "svg", "pdf"):
        options = ("-o", "pictures", "--format", form)
        assert maps(tmp_path, folder / name, options=options) == 0
        out, err = capsys.readouterr()
        assert not UNSAFE.search(out + err)
    assert maps(tmp_path, folder, options=("-o", "pictures")) == 1
    out, err = capsys.readouterr()
    assert not UNSAFE.search(out + err)
    assert len(err.splitlines()) <= 2
    assert "1 of 2 inputs could not be used" in err
    json.loads((room / "pictures" / "manifest.json").read_text())


def test_one_bad_image_among_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abd":
        RGB.save(folder / f"{name}.png")
    (folder / "c.png").write_bytes(PNG[:200])
    assert maps(tmp_path, folder) == 1
    _, err = capsys.readouterr()
    assert re.fullmatch(r"skipped c\.png: .*cannot be decoded.*\n1 of 4 inputs could not be used\n", err)
    assert np.load("maps.npz")["c"].shape[0] == 3
    for name in "abd":
        (folder / f"{name}.png").write_bytes(b"bad")
    Path("maps.npz").unlink()
    Path("maps.npz.manifest.json").unlink()
    assert maps(tmp_path, folder) == 2
    assert "none of 4 inputs could be used" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []


# ---------------------------------------------------------------------------------------------- images read right


def read(tmp_path: Path, data: bytes, name: str = "image", **options: Any) -> npt.NDArray[Any]:
    path = tmp_path / name
    path.write_bytes(data)
    return read_image(path, **options)


def test_suffixes_do_not_count(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, PNG, "image.jpg"), np.asarray(RGB))
    np.testing.assert_array_equal(read(tmp_path, PNG, "image"), np.asarray(RGB))


def test_grey_of_16_bits_is_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 257, 40_000, 65_535]], np.uint16)
    for form in ("PNG", "TIFF"):
        pixels = read(tmp_path, encoded(Image.fromarray(values), form), channels=1)
        np.testing.assert_array_equal(pixels[..., 0], np.array([[0, 1, np.float32(40_000 / 257), 255]], np.float32))


def test_grey_of_16_bits_interlaced_and_colour_of_16_bits(tmp_path: Path) -> None:
    colour = struct.pack(">3H", 40_000, 257, 65_535)
    pixels = read(tmp_path, png(2, 1, b"\0" + colour * 2, depth=16, colour=2))
    np.testing.assert_array_equal(pixels[0, 0], np.float32([40_000 / 257, 1, 255]))


def test_floats_of_0_to_1_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5, 1.0]], np.float32)
    pixels = read(tmp_path, encoded(Image.fromarray(values), "TIFF"), channels=1)
    np.testing.assert_array_equal(pixels[..., 0], [[0, 127.5, 255]])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "RGB"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_modes(mode: str, channels: int, tmp_path: Path) -> None:
    if mode == "YCbCr" and YCBCR_TIFF_IS_CUT:
        pytest.skip("this Pillow cannot read what it writes")
    data = encoded(Image.new(mode, (5, 4)), "TIFF")
    if channels == 4 and mode not in ("LA", "RGBA"):
        match = r"image has [13] channels? \((grey|RGB)\), and the input takes 4 channels"
        with pytest.raises(InputError, match=match):
            read(tmp_path, data, channels=channels)
        return
    pixels = read(tmp_path, data, channels=channels)
    assert (pixels.shape, pixels.dtype) == ((4, 5, channels), np.float32 if mode == "I;16" else np.uint8)


def test_transparency_lies_on_the_background(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (2, 2), (9, 9, 9, 0))
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([1, 2, 3, 4, 5, 6])
    for data in (
        encoded(clear, "PNG"),
        encoded(clear, "WEBP", lossless=True),
        encoded(palette, "PNG", transparency=0),
        encoded(Image.new("LA", (2, 2), (7, 0)), "PNG"),
        encoded(Image.new("L", (2, 2), 7), "PNG", transparency=7),
        encoded(Image.new("RGB", (2, 2), (7, 8, 9)), "PNG", transparency=(7, 8, 9)),
    ):
        np.testing.assert_array_equal(read(tmp_path, data), np.full((2, 2, 3), 255))
        np.testing.assert_array_equal(read(tmp_path, data, background="#102030")[0, 0], [16, 32, 48])
    with pytest.raises(InputError, match=r"'no.*' is not a colour"):
        read(tmp_path, encoded(clear, "PNG"), background="no\x1b[31m")


def test_pictures_of_an_animation_are_named(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 3), (c, 0, 0)) for c in (200, 50)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        with pytest.raises(InputError, match=r"image has 2 pages: name one, such as 'image\[0\]'"):
            read(tmp_path, data)
        for number, shade in enumerate((200, 50)):
            np.testing.assert_array_equal(read_image(f"{tmp_path}/image[{number}]")[0, 0], [shade, 0, 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    pixels = read(tmp_path, encoded(RGB, "PNG", exif=exif))
    upright = np.asarray(RGB)
    expected = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, -1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright),
    }[orientation]
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40, b"junk" * 9])
def test_exif_that_is_damaged_costs_only_the_orientation(exif: bytes, tmp_path: Path) -> None:
    pixels = read(tmp_path, encoded(RGB, "JPEG", exif=exif))
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(JPEG))))


def test_damaged_tiff_is_one_line_even_where_libtiff_talks(tmp_path: Path) -> None:
    data = bytearray(encoded(RGB, "TIFF", compression="tiff_adobe_deflate"))
    data[20:200] = bytes(180)
    path = tmp_path / "damaged.tif"
    path.write_bytes(data)
    code = "from onnxviz.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "maps", write(tmp_path, small()), path, "-q"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*damaged\.tif cannot be decoded.*\n", done.stderr)


# -------------------------------------------------------------------------------------------------------- memory


def process_within(tmp_path: Path, gigabytes: float, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command with a limit on its data memory."""
    limit = int(gigabytes * 2**30)
    return subprocess.run(
        [sys.executable, "-c", "from onnxviz.cli import main; main()", *map(str, arguments)],
        capture_output=True, check=False, text=True, timeout=HANG_SECONDS, cwd=tmp_path / "room",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip


@pytest.mark.parametrize("size", ["100000x100000", "20000x20000", "999999x999999"])
def test_sizes_beyond_reason(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    done = process_within(tmp_path, 2, "maps", write(tmp_path, dynamic()), path, "-q", "--size", size)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: .*({size}|pixels).*\n", done.stderr), done.stderr


INPUT_SHAPES: dict[str, tuple[Any, str]] = {
    "no height": ([1, 3, 0, 0], "0x0|1x3x0x0"),
    "too high": ([1, 3, 60_000, 60_000], "60000x60000|pixels"),
    "far too high": ([1, 3, 2**40, 2**40], "1099511627776|pixels"),
    "many channels": ([1, 2**40, 8, 8], "1099511627776 channels: give a .npy"),
    "five channels": ([1, 5, 8, 8], "5 channels: give a .npy"),
    "no channels": ([1, 0, 8, 8], "0 channels: give a .npy"),
    "one side open": ([1, 3, "h", 8], "open: give --size"),
    "vector": ([8], "not an image's: give a .npy|onnxruntime cannot run"),
    "scalar": ([], "not an image's: give a .npy|onnxruntime cannot run"),
    "rank 5": ([1, 3, 8, 8, 8], "not an image's: give a .npy|onnxruntime cannot run"),
    "no shape": (None, "not an image's: give a .npy"),
}


@pytest.mark.parametrize("case", INPUT_SHAPES)
def test_inputs_that_no_image_fits(case: str, tmp_path: Path) -> None:
    shape, match = INPUT_SHAPES[case]
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    made = small()
    made.graph.input[0].CopyFrom(info("x", shape))
    made.graph.output[0].CopyFrom(info("y", None))
    done = process_within(tmp_path, 2, "maps", write(tmp_path, made), path, "-q")
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(rf"error: .*({match}).*\n", done.stderr), done.stderr


def test_archive_bomb(tmp_path: Path) -> None:
    """1 MB of zip that would be 1.2 GB of zeros: its shape is read before its values."""
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy_header("'<f4'", "(1, 3, 10000, 10000)"))
        for _ in range(120):
            member.write(bytes(10_000_000))
    done = process_within(tmp_path, 1, "maps", write(tmp_path, small()), path, "-q")
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*1x3x10000x10000.* takes 1x3x8x8\n", done.stderr), done.stderr


# ----------------------------------------------------------------------------------------------------------- fuzz


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x112], exif[0x10E] = 6, "hello"
    palette = RGB.quantize(16)
    made = [
        encoded(RGB, "PNG", exif=exif),
        encoded(palette, "PNG", transparency=0),
        encoded(Image.fromarray(noise(9, 9, dtype=np.uint16)), "PNG"),
        encoded(RGB.convert("LA"), "PNG"),
        encoded(RGB, "JPEG", exif=exif),
        encoded(RGB, "JPEG", progressive=True),
        encoded(RGB.convert("CMYK"), "JPEG"),
        encoded(RGB, "WEBP", exif=exif),
        encoded(RGB, "BMP"),
        encoded(RGB, "PPM"),
        encoded(palette, "GIF", save_all=True, append_images=[palette]),
        encoded(RGB, "TIFF", exif=exif),
        encoded(Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "TIFF"),
    ]
    return [*made, *(encoded(RGB, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "packbits"))]


@pytest.mark.parametrize("seed", range(4))
def test_mutants_are_read_or_refused(seed: int, tmp_path: Path) -> None:
    chance, pool = random.Random(seed), seeds()
    path, good = tmp_path / "mutant", 0
    for _ in range(int(os.environ.get("ONNXVIZ_MUTANTS", "200"))):
        data = bytearray(chance.choice(pool))
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(min(len(data), chance.choice((100, 300, len(data)))))
            kind = chance.randrange(5)
            if kind == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                data[at] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
            elif kind == 2:
                del data[at + 1 :]
            elif kind == 3:
                del data[at + 1 : at + chance.randrange(2, 9)]
            else:
                start = chance.randrange(len(data))
                data[at:at] = data[start : start + chance.randrange(1, 30)]
        path.write_bytes(data)
        try:
            pixels = read_image(path, channels=chance.choice((1, 3, 4, None)), size=chance.choice((None, (8, 8))))
        except InputError as error:
            message = str(error)
        else:
            assert pixels.dtype in (np.uint8, np.float32)
            message, good = "", good + 1
        assert len(message.splitlines()) <= 1
        assert not UNSAFE.search(message)
    assert good > 5


def test_frames_that_are_declared_but_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2**32 frames in the header of an animated PNG, and a million empty ones in a GIF."""
    data = encoded(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)])
    at = data.index(b"acTL") + 4
    path = tmp_path / "many.png"
    path.write_bytes(data[:at] + b"\xff" * 8 + data[at + 8 :])
    assert maps(tmp_path, path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: none of 2 inputs could be used")
    assert len(lines) == 3
    data = encoded(Image.new("L", (8, 8)), "GIF")
    frame = b",\0\0\0\0\x01\0\x01\0\0\x02\0"
    (tmp_path / "many.gif").write_bytes(data[:-1] + frame * 1_000_000 + b";")
    refused(capsys, tmp_path, tmp_path / "many.gif", match="more than 100,000 pages: name one")
