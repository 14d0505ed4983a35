"""What the pictures of commands say of how they were made, and the words and density that every command takes."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from protos import classifier_proto

import onnxviz

PHOTO = "--layers", "block1_conv2"
# By what is typed: the verb, the options as they are noted, what is hashed besides the model.
COMMANDS = {
    "filters": (["filters", "M", "block1_conv1", "--first", "2"], {"layers": "block1_conv1", "first": 2}, 0),
    "maps": (["maps", "M", "P", *PHOTO, "--first", "3"], {"layers": "block1_conv2", "first": 3}, 1),
    "top patches": (
        ["maps", "M", "P", *PHOTO, "--top-patches", "1", "--preprocess", "torch"],
        {"layers": "block1_conv2", "top-patches": 1, "preprocess": "torch"},
        1,
    ),
    "explain": (
        [
            "explain", "M", "P", "--class", "2", "--method", "smooth-grad", "--samples", "2", "--noise", "0.2",
            "--threads", "1", "--labels", "names.txt",
        ],
        {"class": "2", "method": "smooth-grad", "samples": 2, "noise": 0.2},
        1,
    ),
    "stats": (["stats", "M", "P", "--at", "conv"], {"at": "conv"}, 0),
    "compare": (["compare", "M", "N", "--data", "P", "--below", "30"], {"below": 30}, 0),
    "maximize": (
        ["maximize", "M", "block1_conv1", "--filters", "0", "--steps", "1", "--with-patches", "P"],
        {"layer": "block1_conv1", "filters": "0", "steps": 1},
        0,
    ),
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model, one unlike it, a photo and names of classes."""
    folder = tmp_path / "a"
    folder.mkdir()
    onnx.save(classifier_proto(), folder / "m.onnx")
    other = classifier_proto()
    other.graph.initializer[0].raw_data = bytes(reversed(other.graph.initializer[0].raw_data))
    onnx.save(other, folder / "n.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    (folder / "names.txt").write_text("a\nb\nc\nd\ne\n")
    monkeypatch.chdir(folder)
    return folder


def typed(words):
    return [{"M": "m.onnx", "N": "n.onnx", "P": "photo.png"}.get(word, word) for word in words]


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def records(folder):
    """By file, what a picture says of itself."""
    found = {}
    for path in sorted(Path(folder).rglob("*.png")):
        with Image.open(path) as picture:
            found[path.name] = json.loads(picture.text["onnxviz"])
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_metadata_name_verb_options_model_and_image(run_command, here, command):
    words, options, images = COMMANDS[command]
    ran = run_command(*typed(words), "-o", here / "out", "-q")
    assert ran.code == 0, ran.err
    found = records("out")
    assert found
    for name, record in found.items():
        shown = images or name.endswith("patches.png")
        both = {"models": [sha256("m.onnx"), sha256("n.onnx")]}
        models = both if command == "compare" else {"model": sha256("m.onnx")}
        assert record == {
            "onnxviz": onnxviz.__version__,
            "verb": words[0],
            "options": options,
            **models,
            **({"images": [sha256("photo.png")]} if shown else {}),
        }


def test_the_same_call_gives_the_same_bytes_wherever_it_is_made(run_command, here, tmp_path, monkeypatch):
    words = ["--layers", "block1_conv2", "--format", "png", "--title", "{} of mine", "--no-captions"]
    assert run_command("maps", "m.onnx", "photo.png", *words, "-o", "out").code == 0
    shutil.copytree(here, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_command("maps", here / "m.onnx", here / "photo.png", *words, "-q", "-o", "again").code == 0
    assert Path("out/001-block1_conv2.png").read_bytes() == Path("again/001-block1_conv2.png").read_bytes()
    assert records("again")["001-block1_conv2.png"]["options"] == {
        "layers": "block1_conv2", "format": "png", "title": "{} of mine", "captions": False,
    }  # fmt: skip


def test_python_notes_the_same(run_command, here):
    assert run_command("filters", "m.onnx", "--first", "2", "-o", "a.png", "--no-captions", "--dpi", "50").code == 0
    onnxviz.filters("m.onnx", first=2, output="b.png", captions=False, dpi=50)
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert run_command("filters", "m.onnx", "block1_conv2", "--filters", "1,2", "-o", "a.png").code == 0
    onnxviz.filters("m.onnx", "block1_conv2", filters="1,2", output="b.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_same_words(run_command, here, command):
    words = COMMANDS[command][0]
    assert run_command(*typed(words), "-o", "usual", "-q").code == 0
    assert run_command(*typed(words), "-o", "other", "-q", "--dpi", "200", "--title", "", "--no-captions").code == 0
    for path in sorted(Path("usual").glob("*.png")):
        with Image.open(path) as usual, Image.open(Path("other") / path.name) as other:
            single = path.name == "block1_conv1_0.png"  # a picture of its own size
            assert other.size[0] == usual.size[0] * (1 if single else 2)
            assert (other.size[1] < usual.size[1] * 2) or single
    ran = run_command(*typed(words), "-o", "none", "--format", "svg", "--dpi", "200")
    assert ran.code == 2
    assert "svg has no pixels of its own: leave out --dpi" in " ".join(ran.err.split())
    assert not Path("none").exists()


def test_an_image_in_memory_is_hashed_by_its_pixels(here):
    held = onnxviz.explain("m.onnx", Image.open("photo.png"), method="occlusion")
    again = onnxviz.explain("m.onnx", Image.open("photo.png"), method="occlusion")
    records = [one.provenance.picture_record([one.image]) for one in (held, again)]
    assert records[0] == records[1]
    assert len(records[0]["images"]) == 1
    array = onnxviz.explain("m.onnx", np.zeros((1, 3, 16, 12), np.float32), method="occlusion")
    assert set(array.provenance.picture_record([array.image])) == {"model"}
