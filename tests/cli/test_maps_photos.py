"""`onnxviz maps` with photos: what stands beside the maps, photos side by side, and contact sheets."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import error_of, files_in, mosaic_of, pages_in, softmax, truth, unit
from figures import assert_laid_out, boxes_of, facts, tiles, words
from PIL import Image
from protos import classifier_proto, normal, parsed

from onnxviz.plots import ROWS_ON_A_PAGE, contact_sheet
from onnxviz.plots.mosaic import ValueRange


def pixels_of(name):
    return np.asarray(Image.open(name))


def answer_of(pixels, names=None):
    """What the classifier says of a photo, by onnx's reference."""
    scores = truth(unit(pixels), ["logits"])[0][0]
    best, share = int(scores.argmax()), float(softmax(scores).max())
    return f"{names[best]} {share * 100:.1f} %" if names else f"class {best}, {share * 100:.1f} %"


def test_the_photo_and_the_answer_stand_beside_the_maps(run_command, classifier, photo, figures, tmp_path):
    ran = run_command("maps", classifier, photo, "--layers", "first", "--json", "-q")
    (figure,) = figures
    said = answer_of(pixels_of(photo))
    assert f"block1_conv1 · {said}" in words(figure)
    np.testing.assert_array_equal(figure.axes[0].images[1].get_array(), pixels_of(photo))
    assert "photo.png" in words(figure)
    assert_laid_out(figure)
    (answer,) = ran.document["answers"]
    assert (answer["input"], answer["answer"], answer["output"]["kind"]) == ("photo.png", said, "classes")
    manifest = json.loads((tmp_path / "maps" / "manifest.json").read_text())
    assert manifest["answers"] == [answer]
    assert manifest["pictures"][0]["answer"] == said


def test_labels_name_the_answer(run_command, classifier, photo, figures, tmp_path):
    names = [f"name {number}" for number in range(5)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert run_command("maps", classifier, photo, "--layers", "last", "--labels", "names.txt").code == 0
    assert f"block2_conv1 · {answer_of(pixels_of(photo), names)}" in words(figures[0])
    (tmp_path / "few.txt").write_text("a\nb")
    assert "2 labels were given for 5 scores" in error_of(
        run_command("maps", classifier, photo, "--labels", "few.txt", "-o", "few")
    )
    assert not (tmp_path / "few").exists()


def test_without_the_answer_the_model_is_run_no_further(run_command, classifier, photo, figures, tmp_path):
    """The classifier's end is one that onnxruntime refuses: its first layer is looked at all the same."""
    broken = classifier_proto()
    broken.graph.node[-1].domain = "nobody.knows"
    broken.opset_import.append(onnx.helper.make_opsetid("nobody.knows", 1))
    onnx.save(broken, tmp_path / "broken.onnx")
    for model, options in ((classifier, ["--no-answer"]), ("broken.onnx", [])):
        ran = run_command("maps", model, photo, "--layers", "first", "--json", "-q", *options)
        assert ran.code == 0
        assert ran.document["answers"] == []
        assert ran.document["no_answer"]
        assert ran.document["pictures"][0]["answer"] is None
    assert all("block1_conv1" in words(figure) for figure in figures)
    assert len(figures) == 2


def test_rows_of_an_array_have_answers_of_their_own(run_command, classifier, tmp_path):
    array = np.random.default_rng(1).random((3, 3, 16, 12), np.float32)
    np.save(tmp_path / "x.npy", array)
    document = run_command("maps", classifier, "x.npy", "--layers", "first", "--json", "-q").document
    (scores,) = truth(array, ["logits"])
    assert [one["output"]["top"][0]["class"] for one in document["answers"]] == scores.argmax(1).tolist()
    assert [one["input"] for one in document["answers"]] == ["x.npy[0]", "x.npy[1]", "x.npy[2]"]


# ---------------------------------------------------------------- together


def test_together_is_a_column_a_photo_and_a_row_a_channel(run_command, classifier, photos, figures, tmp_path):
    ran = run_command(
        "maps", classifier, photos, "--layers", "0-1", "--photos", "together", "-o", "out", "--json", "-q"
    )
    assert ran.code == 0
    files = ["000-block1_conv1-together.png", "001-block1_conv2-together.png", "manifest.json"]
    assert files_in(tmp_path / "out") == files
    images = [pixels_of(tmp_path / "photos" / f"{name}.png") for name in "abc"]
    maps = np.concatenate([truth(unit(one), ["r1"])[0] for one in images])
    found = tiles(figures[0], (16, 12))
    assert len(found) == 18
    for place, tile in enumerate(found):
        window = ValueRange.around(maps[:, place // 3])
        np.testing.assert_allclose(tile, window.place(maps[place % 3, place // 3]), atol=1e-5)
    for number, pixels in enumerate(images):
        np.testing.assert_array_equal(figures[0].axes[0].images[1 + number].get_array(), pixels)
        assert answer_of(pixels) in words(figures[0])
    assert_laid_out(figures[0])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [one["inputs"] for one in manifest["pictures"]] == [["a.png", "b.png", "c.png"]] * 2
    assert len(manifest["answers"]) == 3


def test_together_is_sorted_as_asked(run_command, classifier, photos, figures):
    assert run_command(
        "maps", classifier, photos, "--layers", "last", "--photos", "together", "--sort", "weight-norm", "--first", "2"
    ).code == 0  # fmt: skip
    weight = onnx.numpy_helper.to_array(
        next(one for one in classifier_proto().graph.initializer if one.name == "block2_conv1/kernel")
    )
    order = np.argsort(-np.linalg.norm(weight.reshape(4, -1), axis=1))[:2]
    assert [word for word in words(figures[0]) if word.isdigit()] == [str(one) for one in order]
    assert "largest weight norm first" in facts(figures[0])


def test_what_cannot_stand_together(run_command, classifier, photos, tmp_path):
    photo = tmp_path / "photos" / "a.png"
    (tmp_path / "many.txt").write_text(f"{photo}\n" * 13)
    said = error_of(run_command("maps", classifier, "many.txt", "--photos", "together", "-o", "out"))
    assert "13 inputs do not fit side by side: give up to 12, or --photos contact" in said
    onnx.save(
        parsed("g (float[n,3,h,w] x) => (float[n,c,p,q] y) { y = Conv (x, w) }", w=normal(2, 3, 3, 3)), "open.onnx"
    )
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(tmp_path / "small.png")
    said = error_of(run_command("maps", "open.onnx", photo, "small.png", "--photos", "together", "-o", "out"))
    assert "size" in said
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- contact sheets


def contact(run_command, classifier, count, *options):
    Path("many.txt").write_text("".join(f"photos/{'abc'[number % 3]}.png\n" for number in range(count)))
    return run_command(
        "maps", classifier, "many.txt", "--layers", "last", "--photos", "contact", "-o", "out", "--json", "-q", *options
    )


def test_a_contact_sheet_has_the_strongest_channels_of_each_photo(run_command, classifier, photos, figures, tmp_path):
    ran = contact(run_command, classifier, 3, "--first", "2", "--sort", "norm")
    assert ran.code == 0
    assert files_in(tmp_path / "out") == ["002-block2_conv1-contact-1.png", "manifest.json"]
    (figure,) = figures
    for name in "abc":
        pixels = pixels_of(tmp_path / "photos" / f"{name}.png")
        maps = truth(unit(pixels), ["r3"])[0][0].astype(np.float64)
        norms = np.sqrt((maps**2).sum(axis=(1, 2)))
        for channel in np.argsort(-norms)[:2]:
            assert f"{channel}: {norms[channel]:.3g}" in words(figure)
        assert answer_of(pixels) in words(figure)
    assert len(boxes_of(figure)) == 4
    assert_laid_out(figure)


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_many_photos_are_pages(run_command, classifier, photos, tmp_path, monkeypatch, suffix):
    kept = []
    of = contact_sheet.ContactRow.of.__func__
    monkeypatch.setattr(
        contact_sheet.ContactRow, "of", classmethod(lambda cls, *a, **o: kept.append(1) or of(cls, *a, **o))
    )
    count = 2 * ROWS_ON_A_PAGE + 5
    ran = contact(run_command, classifier, count, "--format", suffix, "--first", "1")
    assert ran.code == 0
    assert len(kept) == count
    assert len(ran.document["answers"]) == count
    if suffix == "png":
        pages = [f"002-block2_conv1-contact-{page}.png" for page in (1, 2, 3)]
        assert files_in(tmp_path / "out") == [*pages, "manifest.json"]
        assert [len(one.get("inputs", [0])) for one in ran.document["pictures"]] == [12, 12, 5]
        again = (tmp_path / "out" / pages[2]).read_bytes()
    else:
        assert files_in(tmp_path / "out") == ["002-block2_conv1-contact.pdf", "manifest.json"]
        again = (tmp_path / "out" / "002-block2_conv1-contact.pdf").read_bytes()
        assert again.startswith(b"%PDF")
        assert pages_in(again) == 3
        assert again.rstrip().endswith(b"%%EOF")
    shutil.rmtree(tmp_path / "out")
    contact(run_command, classifier, count, "--format", suffix, "--first", "1")
    (last,) = (tmp_path / "out").glob("*-3.png" if suffix == "png" else "*.pdf")
    assert last.read_bytes() == again


def test_a_pdf_that_breaks_off_leaves_nothing(run_command, classifier, photos, tmp_path, monkeypatch):
    from onnxviz.output import maps_together

    drawn, draw = [], maps_together.plot_contact_sheet

    def breaking(rows, **options):
        drawn.append(1)
        if len(drawn) == 2:
            raise MemoryError
        return draw(rows, **options)

    monkeypatch.setattr(maps_together, "plot_contact_sheet", breaking)
    with pytest.raises(MemoryError):
        contact(run_command, classifier, 20, "--format", "pdf")
    assert len(drawn) == 2
    assert not files_in(tmp_path / "out")


def test_one_bad_photo_of_many_leaves_no_gap(run_command, classifier, photos, figures, tmp_path):
    (tmp_path / "photos" / "aa.png").write_text("no image")
    ran = run_command("maps", classifier, photos, "--layers", "0", "--photos", "contact", "-o", "out", "--json", "-q")
    assert ran.code == 1
    assert [one["input"] for one in ran.document["answers"]] == ["a.png", "b.png", "c.png"]
    assert len(boxes_of(figures[0])) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--photos", "contact", "--sort", "weight-norm"], "sort by mean, variance or norm"),
        (["--photos", "contact", "--scale", "layer"], "a contact sheet draws each map on its own scale"),
        (["--photos", "together", "--style", "strip"], "--photos has a style of its own: leave out --style"),
        (["--scale", "channel"], "scale 'channel'"),
        (["--photos", "together", "--save", "m.npz"], "--save alone draws nothing"),
        (["--no-answer", "--save", "m.npz"], "--save alone draws nothing"),
    ],
)
def test_what_would_change_nothing_is_refused(run_command, classifier, photo, options, said):
    assert said in error_of(
        run_command("maps", classifier, photo, *options, *([] if "--save" in options else ["-o", "x"]))
    )


def test_maps_together_may_be_saved_too(run_command, classifier, photos, figures, tmp_path):
    ran = run_command(
        "maps", classifier, photos, "--layers", "0", "--photos", "together", "-o", "out", "--save", "m.npz"
    )
    assert ran.code == 0
    saved = np.load(tmp_path / "m.npz")["block1_conv1"]
    assert saved.shape == (3, 6, 16, 12)
    assert mosaic_of(figures[0]).shape[0] > 16
