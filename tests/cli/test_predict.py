"""`onnxviz predict`: one input in full, several as a table, the JSON document, names, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from command_line import PHOTO, error_of, files_in, pages_in, softmax, truth, unit
from figures import facts, words
from PIL import Image
from protos import normal, parsed

from onnxviz.plots import CARDS_ON_A_PAGE


def test_one_photo(run_command, classifier, photo):
    ran = run_command("predict", classifier, photo, "--top", "3")
    assert ran.code == 0
    (scores,) = truth(unit(PHOTO), ["logits"])
    best = int(scores[0].argmax())
    lines = [line.strip() for line in ran.lines]
    assert len(lines) == 5
    assert lines[1].startswith("photo.png · ")
    assert "softmax" in lines[1]
    assert lines[2].startswith(f"class {best}  ")
    assert f"{softmax(scores[0])[best] * 100:.1f} %" in lines[2]
    assert "assumed 'unit'" in ran.err


def test_the_document(run_command, classifier, photo):
    document = run_command("predict", classifier, photo, "--json").document
    assert document["version"] == 1
    assert document["names"] is None
    (one,) = document["inputs"]
    assert one["file"] == "photo.png"
    (scores,) = truth(unit(PHOTO), ["logits"])
    (output,) = one["outputs"]
    assert (output["kind"], output["shape"]) == ("classes", list(scores.shape[1:]))
    shares = {entry["class"]: entry["share"] for entry in output["top"]}
    for class_, share in shares.items():
        assert share == pytest.approx(float(softmax(scores[0])[class_]), rel=1e-4)


def test_labels(run_command, classifier, photo, tmp_path):
    (scores,) = truth(unit(PHOTO), ["logits"])
    count = scores.shape[1]
    (tmp_path / "names.txt").write_text("\n".join(f"name {number}" for number in range(count)))
    ran = run_command("predict", classifier, photo, "--labels", "names.txt", "-q")
    assert f"name {int(scores[0].argmax())} ({int(scores[0].argmax())})" in ran.out
    assert ran.err == ""
    (tmp_path / "few.txt").write_text("a\nb\n")
    assert f"2 labels were given for {count} scores" in error_of(
        run_command("predict", classifier, photo, "--labels", "few.txt")
    )


def test_several_photos_are_a_table(run_command, classifier, photo, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    ran = run_command("predict", classifier, photo, photo, "bad.png")
    assert ran.code == 1
    assert [line for line in ran.lines if line.startswith("input ")]
    assert "skipped bad.png" in ran.err
    assert "1 of 3 inputs could not be used" in ran.err


# ---------------------------------------------------------------- drawn


def test_one_photo_is_drawn_with_what_is_said(run_command, classifier, photo, figures, tmp_path):
    ran = run_command("predict", classifier, photo, "-o", "says.png", "--top", "2", "-q")
    assert ran.code == 0
    assert ran.lines[-1] == "says.png"
    assert files_in(tmp_path) == ["classifier.onnx", "photo.png", "says.png"]
    (figure,) = figures
    (scores,) = truth(unit(PHOTO), ["logits"])
    share = softmax(scores[0])
    best = int(share.argmax())
    assert words(figure)[0] == f"class {best}, {share[best] * 100:.1f} %"
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), PHOTO)
    widths = [one.get_width() / 340 for one in figure.axes[0].patches][1::2]
    assert widths == pytest.approx(sorted(share)[::-1][:2], rel=1e-4)
    assert "preprocessing assumed: unit" in facts(figure)


def test_a_folder_has_a_picture_of_each_a_sheet_and_a_manifest(run_command, classifier, photos, figures, tmp_path):
    (tmp_path / "photos" / "bad.png").write_bytes(b"nothing")
    ran = run_command("predict", classifier, photos, "-o", "out", "--json", "-q", "--format", "webp")
    assert ran.code == 1
    pictures = ["000-a.webp", "001-b.webp", "002-c.webp"]
    assert files_in(tmp_path / "out") == [*pictures, "manifest.json", "predictions.webp"]
    assert sorted(ran.document["files"]) == [f"out/{file}" for file in files_in(tmp_path / "out")]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [one["picture"] for one in manifest["predictions"]] == pictures
    assert [one["answer"] for one in manifest["predictions"]] == [words(figure)[0] for figure in figures[:3]]
    assert manifest["failed"][0]["input"] == "bad.png"
    assert manifest["sheets"] == ["predictions.webp"]
    assert len(figures[3].axes[0].images) == 3
    assert {"a.png", "b.png", "c.png"} <= set(words(figures[3]))
    run_command("predict", classifier, "photos/a.png", "-o", "out", "-q")
    assert files_in(tmp_path / "out") == ["a.png", "manifest.json"]


@pytest.mark.parametrize(("name", "pages"), [("all.png", 1), ("all.pdf", 3), ("out", 3)])
def test_many_photos(run_command, classifier, photos, tmp_path, name, pages):
    count = 2 * CARDS_ON_A_PAGE + 1
    (tmp_path / "many.txt").write_text("photos/a.png\n" * count)
    assert run_command("predict", classifier, "many.txt", "-o", name, "--top", "1", "-q").code == 0
    if name == "out":
        assert len(list((tmp_path / "out").glob("predictions-*.png"))) == pages
        assert len(files_in(tmp_path / "out")) == count + pages + 1
    elif name == "all.pdf":
        assert pages_in((tmp_path / name).read_bytes()) == pages
    else:
        with Image.open(tmp_path / name) as image:
            assert image.height > 17 * 150


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "nowhere/says.png"], "there is no folder nowhere"),
        (["-o", "says.gif"], "says.gif is no folder, and pictures are"),
        (["--format", "svg"], "nothing is drawn without --output: leave out --format"),
        (["-o", "says.png", "--format", "svg"], "says its format"),
        (["-o", "says.pdf", "--dpi", "200"], "pdf has no pixels of its own"),
    ],
)
def test_where_nothing_can_be_drawn(run_command, classifier, photo, tmp_path, options, said):
    assert said in error_of(run_command("predict", classifier, photo, *options))
    assert files_in(tmp_path) == ["classifier.onnx", "photo.png"]


def test_arrays_that_are_no_pictures_are_drawn_as_bars(run_command, tmp_path, figures):
    graph = "g (float[n,6] x) => (float[n,3] y) { y = MatMul (x, w) }"
    onnx.save(parsed(graph, w=normal(6, 3)), tmp_path / "dense.onnx")
    np.save(tmp_path / "x.npy", normal(2, 6))
    assert run_command("predict", "dense.onnx", "x.npy", "-o", "out", "-q").code == 0
    assert len(figures) == 3
    assert not any(figure.axes[0].images for figure in figures)
