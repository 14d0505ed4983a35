"""`onnxviz explain`: what is written, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from command_line import error_of
from explained import unsupported
from protos import classifier_proto, normal, parsed
from samples import CAT, CLASSIFIER, DOG
from small_detector import SIZE, small_detector

from onnxviz import explain
from onnxviz.cli import run


def test_command(tmp_path, capsys):
    assert (
        run(["explain", str(CLASSIFIER), str(DOG), "-o", str(tmp_path / "dog.png"), "--save", str(tmp_path / "d.npz")])
        == 0
    )
    out, err = capsys.readouterr()
    assert out.split() == [str(tmp_path / name) for name in ("dog.png", "d.npz", "d.npz.manifest.json")]
    assert "dog (class 4)" in err
    assert "grad-cam at conv5" in err
    with np.load(tmp_path / "d.npz") as saved:
        assert np.array_equal(saved["map"], explain(CLASSIFIER, DOG).map)


def test_command_on_several_inputs(tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    arguments = ["explain", str(CLASSIFIER), str(DOG), str(bad), str(CAT), "-o", str(tmp_path / "out"), "--json", "-q"]
    assert run([*arguments, "--method", "hires-cam", "--class", "2"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [entry["class_name"] for entry in document["explanations"]] == ["cat", "cat"]
    assert [Path(entry["file"]).name for entry in document["explanations"]] == [
        "000-dog-hires-cam.png",
        "001-cat-hires-cam.png",
    ]
    assert document["failed"][0]["input"] == "bad.jpg"
    assert all(Path(path).exists() for path in document["files"])
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["explanations"][0]["layer"] == "conv5"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--class", "12"], "no class 12; 'logits' has 11, 0 to 10"),
        (["--class", "wolf"], "there is no class 'wolf'; there are 11, such as astronaut"),
        (["--layer", "conv9"], "no layer is called 'conv9'"),
        (["--method", "magic"], "no method 'magic'"),
        (["--region", "here"], "'here' is not a region"),
        (["--labels", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--cmap", "pink lady"], "no colour map 'pink lady'"),
        (["--save", "maps.txt"], "saved as .npz"),
    ],
)
def test_command_refuses(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["explain", str(CLASSIFIER), str(DOG), *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in " ".join(err.split())
    assert not out
    assert not list(tmp_path.iterdir())


def test_command_lists_what_blocks_a_gradient(tmp_path, capsys):
    path = tmp_path / "round.onnx"
    onnx.save(unsupported(), path)
    np.save(tmp_path / "x.npy", normal(3, 8, 8))
    assert run(["explain", str(path), str(tmp_path / "x.npy"), "--method", "saliency"]) == 2
    err = capsys.readouterr().err
    assert "\n  1. Round" in err
    assert "eigen-cam, score-cam, occlusion, rise" in err


def test_labels_from_a_file(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("\n".join(f"name {n}" for n in range(11)) + "\n\n")
    assert (
        run(["explain", str(CLASSIFIER), str(DOG), "--labels", str(tmp_path / "names.txt"), "-o", str(tmp_path)]) == 0
    )
    assert "name 4 (class 4)" in capsys.readouterr().err


def test_rows_that_a_model_takes_at_once_have_a_picture_each(tmp_path):
    model = classifier_proto()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "m.onnx")
    rows = np.random.default_rng(0).normal(
        size=(2, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]))
    )
    np.save(tmp_path / "x.npy", rows.astype(np.float32))
    for output, names in ((tmp_path / "out", ["x-saliency-1.png", "x-saliency.png"]), (tmp_path / "one.png", [])):
        arguments = [str(tmp_path / "m.onnx"), str(tmp_path / "x.npy"), "--method", "saliency", "--class", "1", "-q"]
        assert run(["explain", *arguments, "-o", str(output), "--save", str(tmp_path / "x.npz")]) == 0
        assert not names or sorted(path.name for path in output.glob("*.png")) == names
    assert sorted(path.name for path in tmp_path.glob("one*.png")) == ["one-1.png", "one.png"]
    with np.load(tmp_path / "x.npz") as arrays:
        assert len([name for name in arrays.files if name.endswith("map")]) == 2


def detector_files(folder, **options):
    """A detector and an input, as files."""
    onnx.save(small_detector(names="{0: 'cat', 1: 'dog', 2: 'owl'}", **options), folder / "detector.onnx")
    np.save(folder / "x.npy", normal(1, 3, SIZE, SIZE))
    return [str(folder / "detector.onnx"), str(folder / "x.npy")]


def test_boxes_of_a_detector(tmp_path, capsys):
    files = detector_files(tmp_path)
    for asked, words in (
        (["--class", "1"], "dog (class 1) of box"),
        (["--box", "2"], "of box 2, output 'y', before the sigmoid"),
        (["--box", "2", "--class", "0"], "cat (class 0) of box 2"),
        (["--class", "2", "--region", "all"], "owl (class 2), the sum of its probabilities over all 4 boxes"),
        (["--class", "2", "--region", "0,0,16,16"], "owl (class 2) of box"),
    ):
        assert run(["explain", *files, *asked, "-o", str(tmp_path / "a.png"), "--json"]) == 0
        out, err = capsys.readouterr()
        assert words in err
        entry = json.loads(out)["explanations"][0]
        assert (entry["box"] is None) == ("all" in asked)
        assert entry["output"] == "y"
        assert {"box", "class", "score", "corners"} == {*(entry["boxes"][0] if entry["boxes"] else entry["box"])}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--box", "4"], "there is no box 4; there are 4, 0 to 3"),
        (["--class", "3"], "there is no class 3; the boxes have 3, 0 to 2"),
        (["--box", "1", "--region", "all"], "leave one of them out"),
        (["--region", "argmax"], "'argmax' is not a region of boxes"),
        (["--region", "0,0,17,4"], "is not inside the input of 16×16 pixels"),
    ],
)
def test_what_a_detector_does_not_have(tmp_path, capsys, arguments, words):
    files = detector_files(tmp_path)
    assert run(["explain", *files, *arguments, "-o", str(tmp_path / "a.png")]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert not out
    assert not (tmp_path / "a.png").exists()


def test_an_output_that_is_no_scores_and_a_box_that_is_none(tmp_path, capsys):
    files = detector_files(tmp_path, tail="p = Sigmoid (cc) y = Concat <axis=1> (p, q)")
    assert run(["explain", *files, "-o", str(tmp_path / "a.png")]) == 2
    assert "does not look like scores of classes" in capsys.readouterr().err
    assert run(["explain", *files, "--target", "cc", "-o", str(tmp_path / "a.png")]) == 0
    assert run(["explain", str(CLASSIFIER), str(DOG), "--box", "1", "-o", str(tmp_path / "b.png")]) == 2
    assert "is not one of boxes: leave out --box" in capsys.readouterr().err


def test_where_several_outputs_may_be_scores_the_option_that_names_one_is_advised_and_works(run_command, tmp_path):
    proto = parsed(
        """g (float["n", 3, 8, 8] x) => (float["n", 4] y, float["n", 4] z) {
             c = Conv (x, w)
             r = Relu (c)
             m = GlobalAveragePool (r)
             s = Flatten (m)
             y = MatMul (s, a)
             z = MatMul (s, b)
           }""",
        w=normal(4, 3, 3, 3), a=normal(4, 4), b=normal(4, 4, seed=2),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "two.onnx")
    np.save(tmp_path / "x.npy", normal(1, 3, 8, 8))
    said = error_of(run_command("explain", "two.onnx", "x.npy"))
    assert "y (nx4), z (nx4); name the one that is meant (--target NAME)" in said
    assert run_command("explain", "two.onnx", "x.npy", "--target", "z", "-q").code == 0
