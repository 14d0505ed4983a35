"""Outputs that cannot be written: full disks, devices, paths that are no plain text."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
from pathlib import Path

import pytest
from hostile import info, model, node, small, weight, write
from hostile_runs import accepted, assert_one_error, process, refused, there
from PIL import Image

pytestmark = [pytest.mark.usefixtures("deadline", "room"), pytest.mark.inference_worker]


def annotate(path: Path, output: object) -> list[object]:
    return ["annotate", path, "--preprocess", "unit", "-o", output]


def test_outputs_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, room: Path, no_inference: None
) -> None:
    path = write(tmp_path, small())
    file = room / "file"
    file.write_text("old")
    (room / "folder.png").mkdir()
    (room / "folder.npz").mkdir()
    refused(capsys, *annotate(path, "file/x.onnx"), match="no folder file|cannot be written")
    refused(capsys, *annotate(path, "none/x.onnx"), match="there is no folder none")
    refused(capsys, *annotate(path, room), match="is a folder")
    refused(capsys, *annotate(path, "n" * 300), match="cannot be written")
    refused(capsys, "filters", path, "-o", "file", match="file")
    refused(capsys, "filters", path, "-o", "file/under", match="file/under")
    refused(capsys, "filters", path, "-o", "none/x.png", match="no folder none")
    refused(capsys, "filters", path, "-o", "x.gif", match=".png, .jpg, .jpeg, .webp, .svg, .pdf")
    refused(capsys, "filters", path, "--save", "x.txt", match="npz")
    refused(capsys, "filters", path, "--save", "folder.npz", match="is a folder")
    refused(capsys, "filters", path, "--save", "none/x.npz", match="no folder none")
    refused(capsys, "maps", path, small_photo, "-q", "-o", "file", match="file")
    refused(capsys, "maps", path, small_photo, "-q", "-o", "file/under", match="file/under")
    refused(capsys, "maps", path, small_photo, "-q", "--save", "x.txt", match="npz")
    refused(capsys, "maps", path, small_photo, "-q", "--save", "none/x.npz", match="no folder none")


def test_a_device_or_pipe_is_not_replaced_by_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As root, `-o /dev/null` would take the machine's null device away."""
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    refused(capsys, *annotate(write(tmp_path, small()), pipe), match="not a regular file|cannot be written")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_failure_leaves_no_folder_and_no_half_of_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, no_inference: None
) -> None:
    path = write(
        tmp_path,
        model([node("Conv", ["x", "w"], ["a"], name="good"), node("Conv", ["a", "v"], ["y"], name="bad")], [weight()],
              [info("x", [1, 3, 8, 8]), info("v", [2, 2, 1, 1])]),
    )  # fmt: skip
    refused(capsys, "filters", path, "good", "bad", "-o", "new", match="'bad'")
    refused(capsys, "filters", path, "--cmap", "nope", "-o", "new", match="colour map 'nope'")
    refused(capsys, "filters", path, "--filters", "99", "-o", "new", match="99")
    refused(capsys, "filters", path, "--channels", "99", "-o", "new", match="99")
    good = write(tmp_path, small(), "good.onnx")
    refused(capsys, "maps", good, small_photo, "-q", "--channels", "99", "-o", "new", match="99")
    refused(capsys, "maps", good, small_photo, "-q", "--cmap", "nope", "-o", "new", match="nope")


@pytest.mark.parametrize("limit", [100, 300])
@pytest.mark.parametrize("what", ["annotate", "picture", "arrays", "maps", "map arrays"])
def test_full_disk(limit: int, what: str, tmp_path: Path, small_photo: Path, room: Path) -> None:
    """A limit on the size of files stands for a disk that is full."""
    path = write(tmp_path, small())
    commands: dict[str, list[object]] = {
        "annotate": annotate(path, "old.onnx"),
        "picture": ["filters", path, "-o", "old.png"],
        "arrays": ["filters", path, "--save", "old.npz"],
        "maps": ["maps", path, small_photo, "-q", "-o", "."],
        "map arrays": ["maps", path, small_photo, "-q", "--save", "old.npz"],
    }
    for name in ("old.onnx", "old.png", "old.npz", "old.npz.manifest.json", "manifest.json"):
        (room / name).write_bytes(b"old")
    before = there(room)
    setup = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: E731
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE) as cat:
        code, _, _, _ = process(*commands[what], setup=setup, stderr=cat.stdin)
        assert cat.stdin is not None
        cat.stdin.close()
        assert cat.stdout is not None
        err = cat.stdout.read().decode()
    assert code == 2, err
    assert_one_error(err, "cannot be written|File too large|disk|space")
    assert there(room) == before


def test_full_disk_under_kept_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_inference: None
) -> None:
    import onnxviz.maps.map_store

    class Full:
        def __init__(self, *arguments: object, **options: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnxviz.maps.map_store.tempfile, "TemporaryFile", Full)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (300, 300), (i, i, i)).save(folder / f"{i}.png")
    made = small()
    made.graph.input[0].CopyFrom(info("x", ["n", 3, "h", "w"]))
    made.graph.output[0].CopyFrom(info("y", None))
    path = write(tmp_path, made)
    refused(capsys, "maps", path, folder, "-q", "--save", "m.npz", "--memory", "1MiB", match="[Nn]o space left")


@pytest.mark.parametrize("arguments", [["layers"], ["layers", "--json"]])
def test_full_disk_under_stdout(arguments: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        code, _, err, _ = process(arguments[0], write(tmp_path, small()), *arguments[1:], stdout=full)
    assert code == 2, (code, ascii(err))
    assert_one_error(err, "space|written")


def test_paths_that_are_not_plain_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], room: Path, no_inference: None
) -> None:
    for name in ("a\x1b[31m", "a\nb", "a\u202eb", "[bold]x[b]", "$\\evil{$"):
        path = write(tmp_path, small(), name + ".onnx")
        accepted(capsys, "layers", path)
        json.loads(accepted(capsys, "layers", path, "--json")[0])
        refused(capsys, "filters", path, "nolayer", match="no layer is called 'nolayer'")
        refused(capsys, "layers", str(path) + "x", match="there is no file")
        refused(capsys, "layers", write(tmp_path, b"x", name + ".bad"), match="not an ONNX model")
        accepted(capsys, "filters", path, "-o", name + ".png")
        assert (room / (name + ".png")).is_file()


def test_paths_that_are_not_utf8(tmp_path: Path, small_photo: Path, room: Path) -> None:
    """In a process of its own: pytest-xdist cannot carry such text."""
    path = write(tmp_path, small(), os.fsdecode(b"a\xff.onnx"))
    other = tmp_path / os.fsdecode(b"b\xff.png")
    other.write_bytes(small_photo.read_bytes())
    for arguments in (
        ["layers", path],
        ["layers", path, "--json"],
        ["filters", path, "-o", os.fsdecode(b"c\xff.png")],
        ["maps", path, other, "-q"],
    ):
        code, _, err, _ = process(*arguments)
        assert code == 0, ascii(err)
    code, _, err, _ = process("layers", os.fsdecode(b"none\xff.onnx"))
    assert code == 2
    assert_one_error(err, "there is no file none")
