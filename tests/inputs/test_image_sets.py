"""Nested folders and lists of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fed import fed
from PIL import Image

from onnxviz.errors import InputError


def save(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for value, name in enumerate(["dog/b.png", "cat/2.png", "cat/1.png", "cat/old/3.png", "top.png", "cat.v2/4.png"]):
        save(folder / name, 10 * value)
    save(folder / ".hidden" / "x.png", 200)
    save(folder / "cat" / ".x.png", 200)
    (folder / "dog" / "notes.md").write_text("nothing")
    (folder / "link").symlink_to(folder / "cat")
    return folder


def test_folders_inside_a_folder(one_conv, nested) -> None:
    """In the order of their paths, folder by folder; each image is the one of its label."""
    labels, arrays = fed(one_conv(("n", 3, 4, 4)), nested, preprocess="raw")
    assert labels == ["cat/1.png", "cat/2.png", "cat/old/3.png", "cat.v2/4.png", "dog/b.png", "top.png"]
    assert [int(array.max()) for array in arrays] == [20, 10, 30, 50, 0, 40]


def test_images_of_one_name_in_two_folders_are_told_apart(one_conv, tmp_path) -> None:
    for value, name in enumerate(["a/1.png", "b/1.png"]):
        save(tmp_path / "set" / name, value)
    labels, _ = fed(one_conv(("n", 3, 4, 4)), tmp_path / "set", preprocess="raw")
    assert labels == ["a/1.png", "b/1.png"]


def test_a_list(one_conv, nested, tmp_path) -> None:
    other = save(tmp_path / "elsewhere.png", 90)
    listed = nested / "some.txt"
    listed.write_text(f"# the test set\n\ndog/b.png\n  cat  \n{other}\n", encoding="utf-8-sig")
    labels, arrays = fed(one_conv(("n", 3, 4, 4)), listed, preprocess="raw")
    assert labels == ["b.png", "1.png", "2.png", "old/3.png", "elsewhere.png"]
    assert [int(array.max()) for array in arrays] == [0, 20, 10, 30, 90]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "names no input: write a path a line"),
        (b"# nothing\n", "names no input"),
        (b"\xff\xfe\x00a", "cannot be read as a list of paths"),
        (b"other.txt\n", "names another list, other.txt: give both"),
        (b"none.png\n", "there is no file .*none.png"),
    ],
)
def test_a_list_that_is_none(one_conv, tmp_path, text, said) -> None:
    (tmp_path / "list.txt").write_bytes(text)
    with pytest.raises(InputError, match=said):
        fed(one_conv(("n", 3, 4, 4)), tmp_path / "list.txt", preprocess="raw")


def test_nested_folders_without_images(one_conv, tmp_path) -> None:
    (tmp_path / "set" / "empty").mkdir(parents=True)
    with pytest.raises(InputError, match="has no images"):
        fed(one_conv(("n", 3, 4, 4)), tmp_path / "set")
