"""docs/gallery.md: its commands are the scripts', its Python runs, its pictures are there and small."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from gallery.pictures import PICTURES
from gallery.runs import HERE, ROOT, complete

PAGE = ROOT / "docs" / "gallery.md"
TEXT = PAGE.read_text(encoding="utf-8")
# With a network only.
ELSEWHERE = {"onnxviz convert keras.applications:VGG16 -o vgg16.onnx"}
# What a script says beyond what a reader needs: arrays for the tests, and short forms.
UNSAID = {"--save": 2, "--steps": 2, "--no-verify": 1}


def plain(command: str) -> str:
    """A command without folders, variables, and what is not said on the page."""
    words, kept = shlex.split(command), []
    while words:
        if words[0] in UNSAID:
            words = words[UNSAID[words[0]] :]
        else:
            kept.append(words.pop(0).replace("$out/", ""))
    return " ".join(kept)


def commands_of(script: Path) -> list[str]:
    """The commands of a script, with the values that its variables have by default."""
    text = re.sub(r"\\\n\s*", " ", script.read_text("utf-8"))
    values = {"source": "", "sample": "sample.npy", **dict(re.findall(r"(\w+)=\$\{\d:-([^}]*)\}", text))}
    values["source"] = values["source"] or f"{script.stem.partition('_')[2]}.keras"
    for name, value in values.items():
        text = text.replace(f"${name}", value)
    return [plain(line) for line in text.splitlines() if line.startswith("onnxviz ")]


SCRIPTS = sorted(HERE.glob("s*.sh"))
RUN = {command for script in SCRIPTS for command in commands_of(script)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_a_page_of_five_commands_at_most(script):
    assert 1 <= len(commands_of(script)) <= 5
    assert len(script.read_text("utf-8").splitlines()) <= 40
    assert os.access(script, os.X_OK)


def test_the_commands_of_the_page_are_those_that_are_run():
    said = [line.strip() for line in TEXT.splitlines() if line.startswith("    onnxviz ")]
    assert len(said) > 15
    strange = [line for line in said if line not in ELSEWHERE and plain(line) not in RUN]
    assert not strange, f"no script runs them:\n{strange}\nthere are\n{RUN}"
    missing = {one for one in RUN if not one.startswith("onnxviz convert")} - {plain(line) for line in said}
    assert not missing, f"the page does not say them: {missing}"


def test_its_pictures_and_links_are_there():
    pictures = re.findall(r"!\[[^\]]+\]\((pictures/[^)]+)\)", TEXT)
    assert {Path(one).stem for one in pictures} <= set(PICTURES)
    for one in pictures:
        assert 1_000 < (PAGE.parent / one).stat().st_size < 200_000, one
    for name in re.findall(r"`(s\d_\w+\.(?:sh|py))`", TEXT):
        assert (HERE / name).exists(), name
    assert "S1_" not in TEXT


@pytest.mark.slow
@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL), ids=["s1", "s5"])
def test_its_python_runs(block, tmp_path, monkeypatch):
    if complete() is None:
        pytest.skip("needs the models of `make gallery`")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    (tmp_path / "models").symlink_to(ROOT / "models")
    for name in ("s5/vgg16.onnx", "s5-class/lite0.onnx"):
        shutil.copy(complete() / name, tmp_path)
    exec(compile(block, "docs/gallery.md", "exec"), {})
