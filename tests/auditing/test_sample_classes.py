"""Classes of samples: folders, CSV files, and what is refused of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from drifting import scoring
from samples import CLASSIFIER, MODELS

from onnxviz.auditing.sample_classes import class_of, sample_classes
from onnxviz.errors import InputError
from onnxviz.inputs.samples import ImageOptions, samples
from onnxviz.model.model import load

PHOTOS = MODELS / "photos"


def folders(root: Path, names: dict[str, str]) -> Path:
    """A folder of folders, each with one photo."""
    for folder, photo in names.items():
        (root / folder).mkdir(parents=True)
        shutil.copy(PHOTOS / f"{photo}.jpg", root / folder / "photo.jpg")
    return root


def classes_read(model, data: object, given: object = None) -> dict[str, int | None]:
    opened = load(model)
    found = sample_classes(opened, data, given)
    assert found is not None
    return {one.path: class_of(one, found) for one in samples(opened, data, ImageOptions.of(opened))}


def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", {"b": "dog", "c": "cat", "a": "macaw"})
    found = classes_read(CLASSIFIER, str(data))
    assert list(found.values()) == [0, 1, 2]
    assert [Path(path).parent.name for path in found] == ["a", "b", "c"]


def test_folders_that_the_model_has_names_of_are_those_classes(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", {"dog": "dog", "cat": "cat", "astronaut": "cat"})
    assert list(classes_read(CLASSIFIER, data).values()) == [0, 2, 4]  # as models/README.md lists them


@pytest.mark.parametrize("header", ["", "path,class\n", "\ufeffPath, Class\n"])
@pytest.mark.parametrize("form", ["{file}", "{folder}/{file}"])
def test_a_csv_of_path_and_class(tmp_path: Path, header: str, form: str) -> None:
    lines = {"cat.jpg": "cat", "dog.jpg": "4"}
    text = "".join(f"{form.format(file=file, folder=PHOTOS)}, {name}\n" for file, name in lines.items())
    table = tmp_path / "classes.csv"
    table.write_text(header + text, encoding="utf-8")
    found = classes_read(CLASSIFIER, str(PHOTOS), table)
    assert {Path(path).name: number for path, number in found.items()} == {
        "cat.jpg": 2,
        "dog.jpg": 4,
        "macaw.jpg": None,
    }


def test_paths_are_relative_to_the_csv(tmp_path: Path) -> None:
    data = folders(tmp_path / "data", {"x": "dog", "y": "cat"})
    (tmp_path / "classes.csv").write_text("data/x/photo.jpg,1\ndata/y/photo.jpg,3\n")
    assert list(classes_read(CLASSIFIER, data, str(tmp_path / "classes.csv")).values()) == [1, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cat.jpg,tiger\n", "names the class 'tiger', which the model's metadata do not have"),
        ("cat.jpg,-1\n", "names the class '-1'"),
        ("cat.jpg\n", "has a line of 1 cells, row 1"),
        ("path,class\n", "has no line of path and class"),
        ("", "has no line of path and class"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(InputError) as refused:
        sample_classes(load(CLASSIFIER), str(PHOTOS), tmp_path / "classes.csv")
    assert said in str(refused.value)
    assert "{" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_csv_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as a CSV"):
        sample_classes(load(CLASSIFIER), str(PHOTOS), tmp_path / "none.csv")


def test_a_flat_folder_has_no_classes() -> None:
    assert sample_classes(load(scoring()), str(PHOTOS), None) is None
