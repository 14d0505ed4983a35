"""`onnxviz maps`: what is drawn, what is saved, what is skipped or refused."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import (
    MAGIC,
    PHOTO,
    RNG,
    error_of,
    files_in,
    holds,
    mosaic_of,
    shows,
    truth,
    words_of,
)
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from protos import CLASSIFIER_NAMES, classifier_proto

from onnxviz import __version__


def unit(pixels):
    """The classifier's input by definition of `unit`."""
    return (pixels.astype(np.float64) / 255).transpose(2, 0, 1)[None].astype(np.float32)


def test_maps_default(run_command, classifier, photo, tmp_path):
    ran = run_command("maps", classifier, photo)
    assert ran.code == 0
    names = [f"{index:03d}-{name}.png" for index, name in enumerate(CLASSIFIER_NAMES)]
    assert files_in(tmp_path / "maps") == [*names, "manifest.json"]
    assert sorted(ran.lines) == [f"maps/{name}" for name in [*names, "manifest.json"]]
    assert "assumed 'unit'" in ran.err
    assert "--preprocess" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_maps_as_json(run_command, classifier, photo, tmp_path):
    ran = run_command("maps", classifier, photo, "--layers", "0,last", "--json", "-q")
    assert (ran.code, ran.err) == (0, "")
    document = ran.document
    holds(
        document,
        {
            "model": str(classifier),
            "layers": ["block1_conv1", "block2_conv1"],
            "inputs": ["photo.png"],
            "preprocessing": {"name": "unit", "assumed": True, "order": "RGB", "mean": [0.0], "std": [1.0]},
            "verification": None,
        },
    )
    assert [(entry["layer"], entry["input"]) for entry in document["pictures"]] == [
        ("block1_conv1", "photo.png"),
        ("block2_conv1", "photo.png"),
    ]
    assert sorted(document["files"]) == [f"maps/{file}" for file in files_in(tmp_path / "maps")]


@pytest.mark.parametrize("at", ["activation", "conv"])
def test_saved_maps_are_what_the_model_computes(run_command, classifier, photo, tmp_path, at):
    ran = run_command("maps", classifier, photo, "--save", "m.npz", "--at", at, "-q")
    assert ran.code == 0
    assert files_in(tmp_path) == ["classifier.onnx", "m.npz", "m.npz.manifest.json", "photo.png"]
    expected = truth(unit(PHOTO), ["r1", "r2", "r3"] if at == "activation" else ["c1", "c2", "c3"])
    with np.load(tmp_path / "m.npz") as archive:
        assert archive.files == list(CLASSIFIER_NAMES)
        for name, array in zip(CLASSIFIER_NAMES, expected, strict=True):
            assert archive[name].dtype == np.float32
            np.testing.assert_allclose(archive[name], array, rtol=1e-4, atol=1e-5)
    manifest = json.loads((tmp_path / "m.npz.manifest.json").read_text())
    holds(
        manifest,
        {
            "model": {"path": str(classifier), "sha256": hashlib.sha256(classifier.read_bytes()).hexdigest()},
            "provider": "cpu",
            "at": at,
            "samples": ["photo.png"],
            "failed": [],
            "verification": None,
            "preprocessing": {"name": "unit", "assumed": True},
        },
    )
    assert manifest["versions"]["onnxruntime"] == onnxruntime.__version__
    assert manifest["versions"]["onnxviz"] == __version__
    assert [layer["tensor"] for layer in manifest["layers"].values()] == (
        ["r1", "r2", "r3"] if at == "activation" else ["c1", "c2", "c3"]
    )


@pytest.mark.parametrize(
    "unused",
    [
        ["--ops", "MaxPool"],
        ["--verify"],
        ["--sort", "mean"],
        ["--style", "strip"],
        ["--scale", "layer"],
        ["--cmap", "gray"],
        ["--memory", "1GiB"],
    ],
)
def test_top_patches_refuse_what_is_for_maps(run_command, classifier, photos, tmp_path, unused):
    """Said as the command line says it, though a value be the usual one."""
    before = files_in(tmp_path)
    ran = run_command("maps", classifier, photos, "--top-patches", "2", *unused)
    assert ran.code == 2
    assert f"--top-patches shows image regions in the place of maps: leave out {unused[0]}" in " ".join(ran.err.split())
    assert files_in(tmp_path) == before


def test_top_patches_refuse_all_of_it_at_once(run_command, classifier, photos):
    ran = run_command(
        "maps", classifier, photos, "--top-patches", "2", "--verify", "--sort", "mean", "--ops", "MaxPool"
    )
    assert "leave out --ops, --sort, --verify" in " ".join(ran.err.split())
    options = ["--first", "2", "--channels", "0,1", "--layers", "first", "--at", "conv", "--format", "svg", "-o", "out"]
    assert run_command("maps", classifier, photos, "--top-patches", "2", *options).code == 0


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


def test_quiet_and_notes(run_command, classifier, photo):
    assert run_command("maps", classifier, photo, "-q", "--layers", "0").err == ""
    assert run_command("maps", classifier, photo, "--preprocess", "torch", "--layers", "0").err == ""


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


@pytest.mark.parametrize("sort", ["mean", "variance", "norm", "weight-norm"])
def test_sort_shows_the_largest_first(run_command, classifier, photo, figures, sort):
    (maps,) = truth(unit(PHOTO), ["r2"])
    kernel = numpy_helper.to_array(classifier_proto().graph.initializer[2]).astype(np.float64)
    assert kernel.shape == (8, 6, 3, 3)
    value = {
        "mean": maps[0].mean((1, 2)),
        "variance": maps[0].var((1, 2)),
        "norm": np.sqrt((maps[0] ** 2).sum((1, 2))),
        "weight-norm": np.sqrt((kernel**2).sum((1, 2, 3))),
    }[sort]
    order = sorted(range(8), key=lambda channel: -value[channel])[:3]
    assert order != [0, 1, 2]
    common = ("maps", classifier, photo, "--layers", "1", "-q")
    for options in (["--sort", sort, "--first", "3"], ["--channels", ",".join(map(str, order))], ["--first", "3"]):
        assert run_command(*common, *options).code == 0
    by_sort, by_hand, plain = map(mosaic_of, figures)
    np.testing.assert_array_equal(by_sort, by_hand)
    assert not np.array_equal(by_sort, plain)


@pytest.mark.parametrize("sort", ["mean", "weight-norm"])
def test_sort_chooses_among_the_channels_asked_for(run_command, classifier, photo, figures, sort):
    kernel = numpy_helper.to_array(classifier_proto().graph.initializer[2]).reshape(8, -1)
    value = truth(unit(PHOTO), ["r2"])[0][0].mean((1, 2)) if sort == "mean" else np.sqrt((kernel**2).sum(1))
    best = sorted([1, 4, 6], key=lambda channel: -value[channel])
    common = ("maps", classifier, photo, "--layers", "1", "-q")
    assert run_command(*common, "--sort", sort, "--channels", "1,4,6").code == 0
    assert run_command(*common, "--channels", ",".join(map(str, best))).code == 0
    np.testing.assert_array_equal(*map(mosaic_of, figures))


def test_the_mosaic_holds_the_maps_that_the_model_computes(run_command, classifier, photo, figures):
    (maps,) = truth(unit(PHOTO), ["r2"])
    assert run_command("maps", classifier, photo, "--layers", "1", "--channels", "5", "-q").code == 0
    (mosaic,) = map(mosaic_of, figures)
    wanted = (maps[0, 5] - maps[0, 5].min()) / np.ptp(maps[0, 5])
    assert shows(mosaic, wanted)


def test_channels_are_as_many_as_first_allows(run_command, classifier, photo, figures):
    (maps,) = truth(unit(PHOTO), ["r2"])
    for options in (["--first", "8"], ["--channels", "0-7"], [], ["--first", "2"]):
        assert run_command("maps", classifier, photo, "--layers", "1", *options, "-q").code == 0
    *all_of_them, two = map(mosaic_of, figures)
    scaled = [(one - one.min()) / np.ptp(one) for one in maps[0]]
    for mosaic in all_of_them:
        np.testing.assert_array_equal(mosaic, all_of_them[0])
        assert all(shows(mosaic, one) for one in scaled)
    assert [shows(two, one) for one in scaled] == [True, True, *[False] * 6]


def test_a_sort_by_weights_of_what_has_none(run_command, classifier, photo):
    ran = run_command("maps", classifier, photo, "--ops", "MaxPool", "--sort", "weight-norm", "-q")
    assert "weight" in error_of(ran)


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ([], list(CLASSIFIER_NAMES)),
        (["--layers", "block-ends"], ["block1_conv2", "block2_conv1"]),
        (["--layers", "every:2"], ["block1_conv1", "block2_conv1"]),
        (["--layers", "block1_*"], ["block1_conv1", "block1_conv2"]),
        (["--ops", "MaxPool"], ["pool"]),
        (["--ops", "Conv,MaxPool", "--layers", "last"], ["block2_conv1"]),
        (["--ops", "MaxPool, Conv", "--layers", "2"], ["pool"]),
    ],
)
def test_selections(run_command, classifier, photo, options, layers):
    assert run_command("maps", classifier, photo, *options, "--json", "-q").document["layers"] == layers


@pytest.mark.parametrize("kind", MAGIC)
def test_formats_of_maps(run_command, classifier, photo, tmp_path, kind):
    assert run_command("maps", classifier, photo, "--layers", "0", "--format", kind).code == 0
    assert (tmp_path / "maps" / f"000-block1_conv1.{kind}").read_bytes().startswith(MAGIC[kind])


@pytest.mark.parametrize(
    "options",
    [
        ["--style", "strip"],
        ["--scale", "layer"],
        ["--scale", "symmetric"],
        ["--scale", "standardize"],
        ["--style", "strip", "--scale", "map"],
        ["--cmap", "magma"],
        ["--first", "2"],
        ["--at", "conv"],
    ],
)
def test_options_of_maps_draw(run_command, classifier, photo, tmp_path, options):
    assert run_command("maps", classifier, photo, "--layers", "0", "-o", "plain").code == 0
    assert run_command("maps", classifier, photo, "--layers", "0", "-o", "chosen", *options).code == 0
    one, other = ((tmp_path / folder / "000-block1_conv1.png").read_bytes() for folder in ("plain", "chosen"))
    assert one != other


def test_verify_says_by_how_much_the_outputs_moved(run_command, classifier, photo, tmp_path):
    ran = run_command("maps", classifier, photo, "--verify", "--json")
    assert ran.code == 0
    moved = ran.document["verification"]
    assert set(moved) >= {"max_abs_diff", "max_rel_diff"}
    assert 0 <= moved["max_abs_diff"] < 1e-4
    assert "verified: the taps" in ran.err
    assert json.loads((tmp_path / "maps" / "manifest.json").read_text())["verification"] == moved
    assert run_command("maps", classifier, photo, "--verify", "-q").err == ""


@pytest.mark.parametrize("memory", ["1MiB", "1m", "512MiB", "0.5GB", "2000000", "2 GiB", "1000kb"])
def test_memory(run_command, classifier, photos, tmp_path, memory):
    ran = run_command("maps", classifier, photos, "--layers", "0", "--memory", memory, "--save", "m.npz", "-q")
    if memory == "1000kb":
        assert "1,000,000" in error_of(ran)  # below the least of 1 MiB
    else:
        assert ran.code == 0
        with np.load(tmp_path / "m.npz") as archive:
            assert archive["block1_conv1"].shape == (3, 6, 16, 12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layers", "nope"], "'nope'"),
        (["--layers", "0-9"], "0-9"),
        (["--ops", "LSTM"], "no"),
        (["--ops", "Nope"], "Nope"),
        (["--ops", ""], "no operator was named"),
        (["--channels", "99"], "99"),
        (["--channels", "x"], "'x'"),
        (["--cmap", "mauve"], "'mauve'"),
        (["--preprocess", "imagenet"], "'imagenet'"),
        (["--size", "big"], "'big'"),
        (["--size", "0x4"], "'0x4'"),
        (["--size", "8x8"], "16x12, not of 8x8"),
        (["--memory", "lots"], "'lots'"),
        (["--memory", "1k"], "1,024"),
        (["--memory", "-1"], "-1"),
        (["--save", "m.txt"], "m.txt"),
        (["--save", "nowhere/m.npz"], "nowhere"),
        (["--style", "lines"], "lines"),
        (["-o", "photo.png"], "photo.png"),
    ],
)
def test_errors_of_maps_write_nothing(run_command, classifier, photo, tmp_path, options, said):
    assert said in error_of(run_command("maps", classifier, photo, "-q", *options))
    assert files_in(tmp_path) == ["classifier.onnx", "photo.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "photo.png")), PHOTO)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA")
def test_a_provider_that_is_not_there_is_no_silent_fallback(run_command, classifier, photo, tmp_path):
    line = error_of(run_command("maps", classifier, photo, "--provider", "cuda", "-q"))
    assert "'cuda'" in line
    assert re.search(r"has cpu\b", line)
    assert not (tmp_path / "maps").exists()


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


def test_layer_names_that_are_no_file_names(run_command, photo, tmp_path):
    proto = classifier_proto()
    names = ["../../escape", "con", "a/b"]
    for node, name in zip([n for n in proto.graph.node if n.op_type == "Conv"], names, strict=True):
        stored = next(tensor for tensor in proto.graph.initializer if tensor.name == node.input[1])
        stored.name = node.input[1] = f"{name}/kernel"
    (tmp_path / "in").mkdir()
    onnx.save(proto, tmp_path / "in" / "m.onnx")
    ran = run_command("maps", "in/m.onnx", photo, "-o", "in/out", "--save", "in/m.npz", "--json", "-q")
    assert ran.document["layers"] == names
    pictures = [file for file in ran.document["files"] if file.endswith(".png")]
    assert len(set(pictures)) == 3
    others = ["in/m.npz", "in/m.npz.manifest.json", "in/m.onnx", "in/out/manifest.json", "photo.png"]
    assert files_in(tmp_path) == sorted([*pictures, *others])
    with np.load(tmp_path / "in" / "m.npz") as archive:
        assert archive.files == names


# ---------------------------------------------------------------- what newcomers stumbled over


def test_layers_of_chosen_operators_are_numbered_as_maps_counts_them(run_command, classifier, photo):
    listed = run_command("layers", classifier, "--ops", "Conv,MaxPool", "--json").document["layers"]
    assert {row["op"] for row in listed} == {"Conv", "MaxPool"}
    ran = run_command("maps", classifier, photo, "--ops", "Conv,MaxPool", "--layers", "1", "-o", "m", "--json")
    assert ran.document["layers"] == [listed[1]["name"]]


def test_arrays_have_no_preprocessing_on_record(run_command, classifier):
    proto = onnx.load(classifier)
    shape = [d.dim_value or 1 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    np.save("x.npy", np.zeros(shape, np.float32))
    ran = run_command("maps", classifier, "x.npy", "--preprocess", "torch", "-o", "m", "--json")
    assert ran.document["preprocessing"] is None
    assert json.loads(Path("m/manifest.json").read_text())["preprocessing"] is None
    assert "--preprocess had nothing to do" in ran.err


def test_the_name_of_another_operators_layer_is_explained(run_command, classifier, photo):
    pool = run_command("layers", classifier, "--ops", "MaxPool", "--json").document["layers"][0]["name"]
    ran = run_command("maps", classifier, photo, "--layers", pool)
    assert ran.code == 2
    assert f"'{pool}' of {classifier} is a MaxPool" in ran.err
    assert "--ops MaxPool" in ran.err


def test_the_json_of_maps_names_what_failed_and_where_pictures_are(run_command, classifier, photo):
    Path("bad.png").write_bytes(b"nonsense")
    ran = run_command("maps", classifier, photo, "bad.png", "--layers", "first", "-o", "m", "--json")
    assert ran.code == 1
    assert [entry["input"] for entry in ran.document["failed"]] == ["bad.png"]
    assert all(Path(entry["file"]).is_file() for entry in ran.document["pictures"])
