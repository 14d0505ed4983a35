"""The README and the pages of docs/ as their readers take them: files that they show, commands and Python, in order.

`python tests/documents.py [PAGE...]` runs pages and keeps their pictures in docs/pictures/.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image
from protos import classifier_proto
from quantised import quantise
from small_detector import small_detector

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
_FENCED = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Pixels that a picture of the site is wide at most: twice the width of its column.
_WIDEST = 1600
_WRITING = ("-o", "--save", "--write-baseline", "--write-golden")

NOT_RUN = {
    "make demo": "makes an environment; what it runs stands in the Makefile",
    "python3 -m venv .venv": "makes an environment",
    ". .venv/bin/activate": "is for the reader's shell",
    "pip install .": "makes an environment; the gate installs the wheel in a clean one",
    "pip install '.[keras]'": "downloads TensorFlow",
    "pip install '.[pytorch]'": "downloads PyTorch",
    "pip install '.[tiff]'": "makes an environment; its test has tifffile",
}
"""Lines that no test runs, and why."""


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    title: str
    text: str

    @property
    def command_lines(self) -> list[str]:
        lines = self.text.splitlines() if self.language == "sh" else []
        return [line for line in lines if line and line not in NOT_RUN]


class Page:
    """One page.

    Attributes:
        name: its path below docs/, without `.md`; "README" for that of the project.
        pictures: the files below docs/pictures/<name of the page>/ that it shows; each is made by one of its commands.
    """

    def __init__(self, path: Path):
        self.path = path
        self.name = path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).with_suffix("").as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.blocks = [Block(*found.groups(default="")) for found in _FENCED.finditer(self.text)]
        self.pictures = re.findall(rf"pictures/{path.stem}/([^)]+)\)", self.text)

    def __repr__(self) -> str:
        return self.name

    @property
    def command_lines(self) -> list[str]:
        return [line for block in self.blocks for line in block.command_lines]

    def walk(self, folder: Path, run: Callable[[list[str]], None], names: dict[str, Any] | None = None) -> str:
        """Does in `folder`, the working one, what the page says, and gives what its Python prints.

        Args:
            run: runs a command, whose arguments it is given; raises where it fails.
            names: what the page's Python has of its reader.
        """
        printed, known = io.StringIO(), {"__name__": self.name, **(names or {})}
        for block in self.blocks:
            if block.title:
                (folder / block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                with contextlib.redirect_stdout(printed):
                    exec(compile(block.text, f"{self.name}.md", "exec"), known)
            for line in block.command_lines:
                program, *arguments = shlex.split(line)
                assert program == "onnxviz", line
                run(arguments)
        return printed.getvalue()

    def made(self, folder: Path, picture: str) -> Path:
        """The file in `folder` that is shown as `picture`."""
        (found,) = [
            path for path in folder.rglob(f"{Path(picture).stem}.*")
            if path.suffix in (".png", ".jpg", ".webp") and "models" not in path.relative_to(folder).parts
        ]  # fmt: skip
        return found


PAGES = [Page(path) for path in sorted(DOCS.rglob("*.md"))]
README = Page(ROOT / "README.md")


def written(arguments: list[str]) -> list[str]:
    """The paths of what a command writes."""
    return [value for option, value in pairwise(arguments) if option in _WRITING]


def quicker(arguments: list[str]) -> list[str]:
    """The arguments with fewer steps: those change how long a picture is climbed, not what is asked for."""
    if arguments[0] != "maximize":
        return arguments
    place = arguments.index("--steps") if "--steps" in arguments else len(arguments)
    return [*arguments[:place], "--steps", "4", *arguments[place + 2 :]]


def checked(arguments: list[str], code: int) -> None:
    """Raises where a command failed. Of an audit 1 says that the model is not fit, and the page goes on with that."""
    if code and not (code == 1 and arguments[0] in ("audit", "compare")):
        raise AssertionError(f"exit code {code}: onnxviz {shlex.join(arguments)}")


def stand_ins(folder: Path, page: Page) -> None:
    """Puts into a folder what readers have of their own: what the page names and nothing before it makes."""
    (folder / "models").symlink_to(ROOT / "models")
    shutil.copy(ROOT / "models" / "photos" / "dog.jpg", folder / "dog.jpg")
    for name in ("model.onnx", "vgg16.onnx"):
        onnx.save(classifier_proto(), folder / name)
    if "detector.onnx" in page.text:
        onnx.save(small_detector(names="{0: 'cat', 1: 'dog', 2: 'bird'}"), folder / "detector.onnx")
    if "classifier-int8.onnx" in page.text:
        photos = np.random.default_rng(1).uniform(-1, 1, (2, 1, 3, 96, 96)).astype(np.float32)
        quantise(ROOT / "models" / "classifier.onnx", folder / "classifier-int8.onnx", list(photos))
    if "model.keras" in page.text:
        import keras

        layers = [keras.layers.Conv2D(8, 3, name="conv1"), keras.layers.MaxPooling2D(), keras.layers.Conv2D(16, 3)]
        keras.Sequential([keras.Input((32, 32, 3)), *layers]).save(folder / "model.keras")


def _keep(page: Page) -> None:
    """Runs a page and keeps the pictures that it shows."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        stand_ins(folder, page)
        page.walk(folder, lambda arguments: checked(arguments, subprocess.run(["onnxviz", *arguments]).returncode))
        kept = PICTURES / Path(page.name).name
        kept.mkdir(exist_ok=True)
        for picture in page.pictures:
            with Image.open(page.made(folder, picture)) as image:
                image.thumbnail((_WIDEST, 4 * _WIDEST))
                image.convert("RGB").save(kept / picture, quality=86, method=6)
            print(f"{kept / picture}: {(kept / picture).stat().st_size // 1000} kB")


if __name__ == "__main__":
    for one in PAGES:
        if one.pictures and one.name != "gallery" and (not sys.argv[1:] or one.name in sys.argv[1:]):
            _keep(one)
