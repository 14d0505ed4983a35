"""`onnxviz predict`: one input in full, several as a table, the JSON document, names, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import PHOTO, error_of, truth, unit


def softmax(scores):
    powers = np.exp(scores.astype(np.float64) - scores.max())
    return powers / powers.sum()


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
