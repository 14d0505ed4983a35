"""`onnxviz maximize`: what is written, and what is refused in one line."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import error_of
from PIL import Image
from protos import normal, parsed

import onnxviz
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


@pytest.mark.parametrize(
    ("kind", "single", "sheet"), [("jpg", "jpg", "jpg"), ("webp", "webp", "webp"), ("svg", "png", "svg")]
)
def test_pictures_in_other_formats(command, kind, single, sheet):
    code, out, err = command("block1_conv1", "--filters", "0", "--steps", "1", "-o", "d", "--format", kind)
    assert code == 0, err
    assert out.splitlines() == [f"d/block1_conv1_0.{single}", f"d/sheet.{sheet}", "d/manifest.json"]
    with Image.open(f"d/block1_conv1_0.{single}") as picture:
        assert (picture.format, picture.size) == ({"jpg": "JPEG"}.get(single, single.upper()), (12, 16))


def test_photos_beside_what_filters_look_for(command, photos):
    (Path(photos) / "broken.png").write_bytes(b"nothing")
    code, out, err = command(
        "block1_conv1", "--filters", "2,0", "--class", "1", "--steps", "1", "-o", "d", "--with-patches", photos
    )
    assert code == 1
    assert "skipped broken.png" in err
    assert "1 of 4 inputs could not be used" in err
    assert "d/000-block1_conv1-patches.png" in out.splitlines()
    note = json.loads(Path("d/manifest.json").read_text())
    (beside,) = note["patches"]
    assert (beside["layer"], beside["file"]) == ("block1_conv1", "000-block1_conv1-patches.png")
    found = onnxviz.top_patches("classifier.onnx", photos, layers="block1_conv1", errors="skip")["block1_conv1"]
    assert beside["filters"] == json.loads(json.dumps(found.as_dict([2, 0])["filters"]))
    assert [one["input"] for one in note["failed"]] == ["broken.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "1"], "class alone asks for none: leave out --with-patches"),
        (["0", "--save", "s.npz"], "draws nothing, --output beside it does: leave out --with-patches"),
    ],
)
def test_photos_without_filters_are_refused(command, photos, arguments, message):
    code, out, err = command(*arguments, "--steps", "1", "--with-patches", photos)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_photos_that_are_not_there_are_said_before_the_climb(command, monkeypatch):
    monkeypatch.setattr("onnxviz.maximization.maximize.maximize", None)
    code, _, err = command("0", "--with-patches", "nowhere")
    assert code == 2
    assert "nowhere" in err


def test_json_is_one_document(command):
    code, out, _ = command("0", "--random", "2", "--steps", "1", "--json", "-q")
    document = json.loads(out)
    assert code == 0
    assert document["model"] == "classifier.onnx"
    assert len(document["pictures"]) == 2
    assert document["sheet"] == "maximize/sheet.png"
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
    ("sides", "given", "size", "wrong"),
    [
        (1, "48", (48,), "48x48"),
        (2, "24x20", (24, 20), "6x10x8"),
        (2, "24", (24, 24), "6x10x8"),
        (3, "6x10x8", (6, 10, 8), "10x8"),
        (3, "8", (8, 8, 8), "10x8"),
        (1, "64", (64,), "0"),
    ],
)
def test_sizes_of_signals_pictures_and_volumes_of_which_one_number_is_each_side(command, sides, given, size, wrong):
    open_sides = ",".join("dhw"[3 - sides :])
    proto = parsed(
        f"g (float[n,3,{open_sides}] x) => (float[n,4] y) {{ c = Conv (x, k) y = ReduceMean <keepdims=0> (c, a) }}",
        k=normal(4, 3, *[3] * sides), a=np.arange(2, 2 + sides),
    )  # fmt: skip
    onnx.save(proto, "classifier.onnx")
    code, _, err = command("conv_0", "--filters", "1", "--steps", "2", "--size", given, "-o", "d", "--save", "d.npz")
    assert code == 0, err
    with np.load("d.npz") as archive:
        assert archive["images"].shape[1:-1] == size
    code, _, err = command("conv_0", "--filters", "1", "--steps", "2", "--size", wrong)
    assert code == 2
    assert ("is not a size" in err) if wrong == "0" else ("takes inputs of" in err)


def test_transparency_needs_a_format_that_has_it(run_command, classifier, tmp_path):
    options = ("--param", "maco", "--alpha", "--format", "jpg", "-o", "made")
    assert "--format png or webp" in error_of(run_command("maximize", classifier, "block1_conv1", *options))
    assert not (tmp_path / "made").exists()
