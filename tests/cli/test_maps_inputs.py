"""`onnxviz maps` on several images or inputs: one picture each, and what is said of the bad ones."""

import json
from pathlib import Path

import numpy as np
import onnx
from command_line import (
    PHOTO,
    RNG,
    error_of,
    files_in,
    mosaic_of,
    shows,
    truth,
    unit,
    words_of,
)
from onnx.reference import ReferenceEvaluator
from PIL import Image
from protos import CLASSIFIER_NAMES, classifier_proto


def test_one_picture_per_input_and_layer(run_command, classifier, photos, figures, tmp_path):
    ran = run_command("maps", classifier, photos, "--layers", "0-1", "-o", "out", "--save", "m.npz", "--json", "-q")
    assert ran.code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    told = {(entry["input"], entry["layer"]): entry["file"] for entry in manifest["pictures"]}
    assert set(told) == {(f"{name}.png", layer) for name in "abc" for layer in CLASSIFIER_NAMES[:2]}
    assert len(set(told.values())) == 6
    assert sorted([*told.values(), "manifest.json"]) == files_in(tmp_path / "out")
    assert manifest["samples"] == ["a.png", "b.png", "c.png"]
    pixels = [np.asarray(Image.open(tmp_path / "photos" / f"{name}.png")) for name in "abc"]
    expected = truth(np.concatenate([unit(one) for one in pixels]), ["r1", "r2"])
    with np.load(tmp_path / "m.npz") as archive:
        for name, array in zip(CLASSIFIER_NAMES, expected, strict=False):
            assert archive[name].shape == array.shape == (3, array.shape[1], 16, 12)
            np.testing.assert_allclose(archive[name], array, rtol=1e-4, atol=1e-5)
    for (name, layer), figure in zip(told, figures, strict=True):
        maps = expected[CLASSIFIER_NAMES.index(layer)]["abc".index(name[0])]
        for one in maps:
            assert not one.any() or shows(mosaic_of(figure), (one - one.min()) / np.ptp(one)), (name, layer)


def test_one_bad_image_among_many(run_command, classifier, photos, tmp_path):
    (tmp_path / "photos" / "aa.png").write_text("no image")
    ran = run_command("maps", classifier, photos, "--layers", "first", "--json", "--save", "m.npz", "-o", "out")
    assert ran.code == 1, ran
    assert ran.document["inputs"] == ["a.png", "b.png", "c.png"]
    (skipped,) = (line for line in ran.err.splitlines() if line.startswith("skipped"))
    assert "aa.png" in skipped
    assert "not an image" in skipped
    assert "1 of 4 inputs could not be used" in ran.err
    for path in ("out/manifest.json", "m.npz.manifest.json"):
        (failure,) = json.loads((tmp_path / path).read_text())["failed"]
        assert failure["sample"] == "aa.png"
        assert "not an image" in failure["error"]
    with np.load(tmp_path / "m.npz") as archive:
        assert archive["block1_conv1"].shape == (3, 6, 16, 12)


def test_a_failure_is_said_even_when_quiet(run_command, classifier, photos, tmp_path):
    (tmp_path / "photos" / "aa.png").write_text("no image")
    ran = run_command("maps", classifier, photos, "--layers", "first", "-q")
    assert ran.code == 1, ran
    assert "aa.png" in ran.err
    assert "assumed" not in ran.err


def test_images_that_are_all_bad(run_command, classifier, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        (tmp_path / "photos" / f"{name}.png").write_text("no image")
    ran = run_command("maps", classifier, "photos", "-q")
    assert ran.code == 2, ran
    assert "none of 2 inputs could be used" in ran.err.splitlines()[-1]
    assert ran.out == ""
    assert not (tmp_path / "maps").exists()


def test_the_only_image_is_bad(run_command, classifier, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    assert "bad.png" in error_of(run_command("maps", classifier, "bad.png", "-q"))
    assert not (tmp_path / "maps").exists()


def test_preprocess_reaches_the_model(run_command, classifier, photo, tmp_path):
    for name, feed in {
        "raw": PHOTO,
        "signed": PHOTO / 127.5 - 1,
        "caffe": PHOTO[..., ::-1] - np.array([103.939, 116.779, 123.68]),
        "scale=0.01,mean=0.1:0.2:0.3,std=2,order=BGR": (PHOTO[..., ::-1] * 0.01 - np.array([0.1, 0.2, 0.3])) / 2,
    }.items():
        assert (
            run_command("maps", classifier, photo, "--preprocess", name, "--layers", "0", "--save", "m.npz").code == 0
        )
        (expected,) = truth(feed.transpose(2, 0, 1)[None], ["r1"])
        with np.load(tmp_path / "m.npz") as archive:
            np.testing.assert_allclose(archive["block1_conv1"], expected, rtol=1e-3, atol=1e-3)


def test_each_input_has_its_own_maps_and_name_in_its_pictures(run_command, classifier, photos, figures):
    assert run_command("maps", classifier, photos, "--layers", "0-1", "-q").code == 0
    assert run_command("maps", classifier, *(f"photos/{name}.png" for name in "abc"), "--layers", "0-1", "-q").code == 0
    for name in "abc":
        assert run_command("maps", classifier, f"photos/{name}.png", "--layers", "0-1", "-q").code == 0
    folder, listed, single = figures[:6], figures[6:12], figures[12:]
    for position, one in enumerate(single):
        np.testing.assert_allclose(mosaic_of(folder[position]), mosaic_of(one), atol=1e-5)
        np.testing.assert_allclose(mosaic_of(listed[position]), mosaic_of(one), atol=1e-5)
        for figure in (folder[position], listed[position], one):
            assert f"{'abc'[position // 2]}.png" in words_of(figure)
            assert CLASSIFIER_NAMES[position % 2] in words_of(figure)


def test_several_inputs_by_name(run_command, two_inputs, tmp_path):
    left, right = RNG.random((2, 1, 3, 4, 4), np.float32)
    np.save(tmp_path / "l.npy", left)
    np.save(tmp_path / "r.npy", right)
    ran = run_command("maps", two_inputs, "left=l.npy", "right=r.npy", "--at", "conv", "--save", "m.npz", "-q")
    assert ran.code == 0
    expected = ReferenceEvaluator(onnx.load(two_inputs)).run(None, {"left": left, "right": right})[0]
    with np.load(tmp_path / "m.npz") as archive:
        np.testing.assert_allclose(archive["left_conv"] + archive["right_conv"], expected, rtol=1e-4, atol=1e-5)
    line = error_of(run_command("maps", two_inputs, "l.npy", "-q"))
    assert "left, right" in line
    assert "NAME=PATH" in line


def test_layers_that_need_sizes_get_them_from_the_input(run_command, photo, tmp_path):
    proto = classifier_proto(size=("h", "w"))
    onnx.save(proto, tmp_path / "open.onnx")
    ran = run_command("maps", "open.onnx", photo, "--layers", "block-ends", "--json", "-q")
    assert ran.document["layers"] == ["block1_conv2", "block2_conv1"]
    ran = run_command("maps", "open.onnx", photo, "--size", "8x6", "--layers", "0", "--save", "m.npz", "-q")
    assert ran.code == 0
    with np.load(tmp_path / "m.npz") as archive:
        assert archive["block1_conv1"].shape == (1, 6, 8, 6)


def test_photos_of_different_sizes_make_pictures_but_no_archive(run_command, photo, figures, tmp_path):
    onnx.save(classifier_proto(size=("h", "w")), tmp_path / "open.onnx")
    Image.fromarray(PHOTO[:8]).save(tmp_path / "half.png")
    ran = run_command("maps", "open.onnx", photo, "half.png", "--layers", "0", "--channels", "3", "-q", "-o", "out")
    assert ran.code == 0
    for figure, name, pixels in zip(figures, ("photo.png", "half.png"), (PHOTO, PHOTO[:8]), strict=True):
        (maps,) = truth(unit(pixels), ["r1"], classifier_proto(size=("h", "w")))
        assert shows(mosaic_of(figure), (maps[0, 3] - maps[0, 3].min()) / np.ptp(maps[0, 3]))
        assert name in words_of(figure)
    ran = run_command("maps", "open.onnx", photo, "half.png", "--layers", "0", "-q", "--save", "m.npz")
    assert "--size" in ran.err
    assert ran.code == 2
    assert "m.npz" not in files_in(tmp_path)


def test_arrays_have_no_preprocessing_on_record(run_command, classifier):
    proto = onnx.load(classifier)
    shape = [d.dim_value or 1 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    np.save("x.npy", np.zeros(shape, np.float32))
    ran = run_command("maps", classifier, "x.npy", "-o", "m", "--json")
    assert ran.document["preprocessing"] is None
    assert json.loads(Path("m/manifest.json").read_text())["preprocessing"] is None
    ran = run_command("maps", classifier, "x.npy", "--preprocess", "torch", "--fit", "crop", "-o", "n")
    assert error_of(ran) == "error: arrays are fed as they are: leave out --preprocess, --fit"
    assert not Path("n").exists()


def test_the_json_of_maps_names_what_failed_and_where_pictures_are(run_command, classifier, photo):
    Path("bad.png").write_bytes(b"nonsense")
    ran = run_command("maps", classifier, photo, "bad.png", "--layers", "first", "-o", "m", "--json")
    assert ran.code == 1
    assert [entry["input"] for entry in ran.document["failed"]] == ["bad.png"]
    assert all(Path(entry["file"]).is_file() for entry in ran.document["pictures"])
