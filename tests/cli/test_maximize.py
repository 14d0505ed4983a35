"""`onnxviz maximize`: what is written, and what is refused in one line."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from protos import normal, parsed

from onnxviz import cli


@pytest.fixture
def command(capsys, tmp_path, monkeypatch, classifier):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        code = cli.run(["maximize", "classifier.onnx", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def test_the_command_writes_a_picture_each_a_sheet_and_a_manifest(command):
    code, out, err = command(
        "block1_conv1", "block2_conv1", "--filters", "0,2", "--class", "4", "--steps", "2", "-o", "d"
    )
    assert code == 0, err
    files = ["block1_conv1_0", "block1_conv1_2", "block2_conv1_0", "block2_conv1_2", "class_4", "sheet"]
    assert out.splitlines() == [*(f"d/{name}.png" for name in files), "d/manifest.json"]
    for name in files[:-1]:
        with Image.open(f"d/{name}.png") as picture:
            assert picture.size == (12, 16)
    note = json.loads(Path("d/manifest.json").read_text())
    assert [(p["layer"], p["filter"], p["class"], p["file"]) for p in note["pictures"]][1:4:2] == [
        ("block1_conv1", 2, None, "block1_conv1_2.png"),
        ("block2_conv1", 2, None, "block2_conv1_2.png"),
    ]
    assert all(p["after"] >= p["before"] for p in note["pictures"])
    assert "assumed 'unit'" in err


def test_pictures_are_the_pixels(command):
    command("block1_conv1", "--filters", "1", "--steps", "3", "-o", "d", "--save", "d.npz", "--seed", "4")
    with np.load("d.npz") as archive, Image.open("d/block1_conv1_1.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(pixels, np.rint(archive["images"][0] * 255).astype(np.uint8))


def test_json_is_one_document(command):
    code, out, _ = command("0", "--random", "2", "--steps", "1", "--json", "-q")
    document = json.loads(out)
    assert code == 0
    assert document["model"] == "classifier.onnx"
    assert len(document["pictures"]) == 2
    assert document["sheet"] == "sheet.png"
    assert [Path(file).exists() for file in document["files"]] == [True] * 4


def test_only_arrays_where_only_arrays_are_wanted(command):
    code, out, _ = command("0", "--filters", "0", "--steps", "1", "--save", "only.npz")
    assert code == 0
    assert out.splitlines() == ["only.npz", "only.npz.manifest.json"]
    assert not Path("maximize").exists()


def test_alpha_is_in_the_pictures_and_the_arrays(command):
    code, _, err = command("0", "--filters", "1", "--steps", "3", "--alpha", "-o", "d", "--save", "d.npz")
    assert code == 0, err
    with np.load("d.npz") as archive, Image.open("d/block1_conv1_1.png") as picture:
        assert picture.mode == "RGBA"
        found = np.asarray(picture)[..., 3]
        np.testing.assert_array_equal(found, np.rint(archive["alpha"][0].astype(np.float64) * 255).astype(np.uint8))


def test_an_interrupt_writes_what_there_is_and_says_so(command, monkeypatch):
    @contextmanager
    def interrupting(quiet):
        def tell(now):
            if now.done >= 20:
                raise KeyboardInterrupt

        yield tell

    monkeypatch.setattr("onnxviz.cli.progress.climbing", interrupting)
    code, out, err = command("0", "--filters", "0", "--steps", "40", "-o", "d", "--json")
    assert code == 130
    assert "interrupted: 1 of 1 pictures" in " ".join(err.split())
    assert json.loads(out)["interrupted"] is True
    assert json.loads(Path("d/manifest.json").read_text())["interrupted"] is True
    with Image.open("d/block1_conv1_0.png") as picture:
        assert picture.size == (12, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv7"], "no layer is called 'conv7'"),
        (["0", "--filters", "6"], "no filter 6; it has 6 filters"),
        (["--class", "9"], "no class 9; it has 5 classes"),
        (["0", "--size", "9x9"], "16x12, not of 9x9"),
        (["0", "-o", "one.png"], "looks like a file"),
        (["0", "--fixed", "y=z.npy"], "no input called 'y'"),
        (["0", "--preprocess", "scale=1,mean=1:2"], "2 mean values for 3 channels"),
    ],
)
def test_the_command_refuses_in_one_line(command, arguments, message):
    code, out, err = command(*arguments, "--steps", "1")
    assert code == 2
    assert out == ""
    assert message in " ".join(err.split())
    assert not Path("maximize").exists()


@pytest.mark.parametrize(
    ("sides", "given", "wrong"), [(1, "48", "48x48"), (2, "24x20", "24"), (3, "6x10x8", "10x8"), (1, "64", "0")]
)
def test_sizes_of_signals_pictures_and_volumes(command, sides, given, wrong):
    open_sides = ",".join("dhw"[3 - sides :])
    proto = parsed(
        f"g (float[n,3,{open_sides}] x) => (float[n,4] y) {{ c = Conv (x, k) y = ReduceMean <keepdims=0> (c, a) }}",
        k=normal(4, 3, *[3] * sides), a=np.arange(2, 2 + sides),
    )  # fmt: skip
    onnx.save(proto, "classifier.onnx")
    code, _, err = command("conv_0", "--filters", "1", "--steps", "2", "--size", given, "-o", "d", "--save", "d.npz")
    assert code == 0, err
    with np.load("d.npz") as archive:
        assert archive["images"].shape[1:-1] == tuple(map(int, given.split("x")))
    code, _, err = command("conv_0", "--filters", "1", "--steps", "2", "--size", wrong)
    assert code == 2
    assert ("is not a size" in err) if wrong == "0" else ("takes inputs of" in err)
