"""Lists of models: files, folders, globs and lists in files become paths, each once and in order."""

import re

import pytest

from onnxviz.auditing.model_list import model_list
from onnxviz.errors import InputError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.onnx", "a.onnx", "zoo/d.onnx", "zoo/deep/c.onnx", "zoo/deep/notes.txt", "zoo/x.onnx/e.onnx"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link.onnx").symlink_to("a.onnx")
    (tmp_path / "odd[1].onnx").touch()
    (tmp_path / "@at.onnx").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        (["b.onnx", "a.onnx"], ["b.onnx", "a.onnx"]),
        (["a.onnx", "./a.onnx", "link.onnx", "zoo/../a.onnx"], ["a.onnx"]),
        (["zoo"], ["zoo/d.onnx", "zoo/deep/c.onnx", "zoo/x.onnx/e.onnx"]),
        (["zoo/**/*.onnx"], ["zoo/d.onnx", "zoo/deep/c.onnx", "zoo/x.onnx/e.onnx"]),
        (["zoo/d.onnx", "zoo"], ["zoo/d.onnx", "zoo/deep/c.onnx", "zoo/x.onnx/e.onnx"]),
        (["zoo/deep/*"], ["zoo/deep/c.onnx", "zoo/deep/notes.txt"]),
        (["?.onnx"], ["a.onnx", "b.onnx"]),
        (["odd[1].onnx"], ["odd[1].onnx"]),
        (["@at.onnx"], ["@at.onnx"]),
        (["none.onnx"], ["none.onnx"]),
    ],
)
def test_what_is_meant(place, given, paths):
    assert model_list(given) == paths


def test_a_list_stands_for_its_lines(place):
    (place / "list.txt").write_text("# the good ones\nb.onnx\n\n  zoo/deep  \n   # and\na.onnx\nb.onnx\n")
    assert model_list(["zoo/d.onnx", "@list.txt"]) == ["zoo/d.onnx", "b.onnx", "zoo/deep/c.onnx", "a.onnx"]


def test_a_list_of_another_system(place):
    """Editors of Windows begin with a byte order mark, and end lines otherwise."""
    (place / "list.txt").write_bytes(b"\xef\xbb\xbfb.onnx\r\na.onnx\r\n")
    assert model_list(["@list.txt"]) == ["b.onnx", "a.onnx"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([], "there is nothing to audit"),
        (["empty"], "no .onnx file below the folder empty"),
        (["*.h5"], "no file matches '*.h5'"),
        (["a.onnx", "@none.txt"], "the list none.txt cannot be read"),
        (["@nothing.txt"], "there is nothing to audit"),
        (["@binary.txt"], "the list binary.txt cannot be read"),
        (["@nul.txt"], "the list nul.txt cannot be read"),
        (["@empty"], "the list empty cannot be read"),
        (["@itself.txt"], "itself.txt names another list"),
    ],
)
def test_what_means_no_model_is_refused(place, given, match):
    (place / "nothing.txt").write_text("# none yet\n\n")
    (place / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (place / "nul.txt").write_bytes(b"a\0.onnx\n")
    (place / "itself.txt").write_text("a.onnx\n@itself.txt\n")
    with pytest.raises(InputError, match=re.escape(match)) as error:
        model_list(given)
    assert "\n" not in str(error.value)
