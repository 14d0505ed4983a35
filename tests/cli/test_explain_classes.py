"""`--class` of explain and maximize: the same words mean the same classes."""

from pathlib import Path

import numpy as np
import pytest
from command_line import error_of, files_in

import onnxviz

SHOWN = ["--method", "saliency", "--json"]
MADE = ["--steps", "1", "--json"]


@pytest.fixture
def named(run_command, classifier, tmp_path):
    Path("names.txt").write_text("ant\nbee\ncat, house cat\ndog\nemu\n")
    assert run_command("annotate", classifier, "--labels", "names.txt", "-o", "named.onnx").code == 0
    return "named.onnx"


@pytest.mark.parametrize(
    ("words", "classes"),
    [("1", [1]), ("dog,0", [3, 0]), ("house cat", [2]), ("0-2,EMU", [0, 1, 2, 4]), ("all", [0, 1, 2, 3, 4])],
)
def test_explain_and_maximize_mean_the_same_classes(run_command, named, photo, words, classes):
    shown = run_command("explain", named, photo, "--class", words, *SHOWN).document["explanations"]
    made = run_command("maximize", named, "--class", words, *MADE).document["pictures"]
    assert [one["class"] for one in shown] == [one["class"] for one in made] == classes
    (file,) = {one["file"] for one in shown}  # one picture: a table where there are several
    assert Path(file).is_file()
    assert ("table" in file) == (len(classes) > 1)


def test_each_class_is_explained_as_it_is_alone(run_command, named, photo):
    run_command("explain", named, photo, "--class", "3,1", "--save", "both.npz", "-o", "both", *SHOWN)
    run_command("explain", named, photo, "--class", "dog", "--save", "one.npz", *SHOWN)
    with np.load("both.npz") as both, np.load("one.npz") as one:
        first = [name for name in both.files if name.endswith("map")]
        assert len(first) == 2
        assert np.array_equal(both[first[0]], one["map"])
        assert not np.array_equal(both[first[1]], one["map"])


def test_names_given_with_labels_are_names_too(run_command, classifier, photo):
    Path("names.txt").write_text("ant\nbee\ncat\ndog\nemu\n")
    ran = run_command("explain", classifier, photo, "--class", "dog", "--labels", "names.txt", *SHOWN)
    assert [(one["class"], one["class_name"]) for one in ran.document["explanations"]] == [(3, "dog")]


def test_several_photos_and_classes_are_a_table_each(run_command, named, photos):
    ran = run_command("explain", named, photos, "--class", "0,1", *SHOWN)
    told = ran.document["explanations"]
    count = len({one["input"] for one in told})
    assert count > 1
    assert len({(one["input"], one["file"]) for one in told}) == len({one["file"] for one in told}) == count
    assert len(told) == 2 * count
    assert all(Path(one["file"]).is_file() for one in told)


def test_rows_of_one_array_are_a_table_each(run_command, named):
    np.save("x.npy", np.random.default_rng(1).random((2, 3, 16, 12), np.float32))
    told = run_command("explain", named, "x.npy", "--class", "0,1", *SHOWN).document["explanations"]
    assert len(told) == 4
    assert [one["file"] for one in told[:2]] != [one["file"] for one in told[2:]]
    assert all(Path(one["file"]).is_file() for one in told)


def test_classes_that_are_checked_have_a_picture_each(run_command, named, photo, tmp_path):
    asked = ("explain", named, photo, "--class", "0,1", "--sanity")
    told = run_command(*asked, "-o", "e", *SHOWN).document["explanations"]
    assert [Path(one["file"]).name for one in told] == ["photo-class0-saliency.png", "photo-class1-saliency.png"]
    assert all(one["sanity"] for one in told)
    said = error_of(run_command(*asked, "-o", "f.png"))
    assert "with --sanity each map has a picture of its own: give a folder or a .pdf, not f.png" in said
    assert not Path("f.png").exists()


def test_in_one_file_classes_are_one_table(run_command, named, photo, tmp_path):
    ran = run_command("explain", named, photo, "--class", "0,1", "-o", "e.png", "--json")
    assert [(one["class"], one["file"]) for one in ran.document["explanations"]] == [(0, "e.png"), (1, "e.png")]
    assert ran.document["files"] == ["e.png"]
    assert [name for name in files_in(tmp_path) if name.endswith(".png")] == ["e.png", photo]


@pytest.mark.parametrize("command", [["explain", "photo.png"], ["maximize"]])
@pytest.mark.parametrize(
    ("words", "said"),
    [("dogg", "no class 'dogg'; did you mean dog?"), ("9", "no class 9"), ("1-", "there is no class '1-'")],
)
def test_a_class_that_there_is_not(run_command, named, photo, command, words, said):
    assert said in error_of(run_command(command[0], named, *command[1:], "--class", words))


def test_python_takes_the_same(named, photo):
    assert onnxviz.explain(named, photo, class_="dog", method="saliency").class_ == 3
    found = onnxviz.explain_each(named, photo, class_=["dog", 0], method="saliency")
    assert [one.class_ for one in found] == [3, 0]
    assert [one.class_ for one in onnxviz.maximize(named, class_=["dog", 0], steps=1).targets] == [3, 0]
    with pytest.raises(onnxviz.InputError, match="2 classes were given; explain takes one, explain_each several"):
        onnxviz.explain(named, photo, class_="0,1")
