"""`onnxviz maps`: what is drawn, what is saved, what is skipped or refused."""

import hashlib
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import (
    MAGIC,
    PHOTO,
    error_of,
    files_in,
    holds,
    mosaic_of,
    shows,
    truth,
    unit,
)
from onnx import numpy_helper
from PIL import Image
from protos import CLASSIFIER_NAMES, classifier_proto

from onnxviz import __version__


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
    assert {layer["what"] for layer in manifest["layers"].values()} == (
        {"after Relu"} if at == "activation" else {"the operator's own output"}
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
    options = ["--layers", "first", "--at", "conv", "--format", "svg", "-o", "out"]
    for which in (["--first", "2"], ["--channels", "0,1"]):
        assert run_command("maps", classifier, photos, "--top-patches", "2", *options, *which).code == 0


def test_quiet_and_notes(run_command, classifier, photo):
    assert run_command("maps", classifier, photo, "-q", "--layers", "0").err == ""
    assert run_command("maps", classifier, photo, "--preprocess", "torch", "--layers", "0").err == ""


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
        (["--provider", "tpu"], "'tpu'"),
        (["--provider", "cpu:use_arena=0"], "takes no options"),
        (["--provider", "openvino:CPU"], "'CPU' is no option"),
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


def test_the_name_of_another_operators_layer_is_explained(run_command, classifier, photo):
    pool = run_command("layers", classifier, "--ops", "MaxPool", "--json").document["layers"][0]["name"]
    ran = run_command("maps", classifier, photo, "--layers", pool)
    assert ran.code == 2
    assert f"'{pool}' of {classifier} is a MaxPool" in ran.err
    assert "--ops MaxPool" in ran.err


@pytest.mark.parametrize("batch", [1, 2, 4, "batch"])
def test_rows_of_an_array_have_pictures_of_their_own(run_command, tmp_path, figures, batch):
    """Of a model that insists on its batch, too: the pictures of one row were overwritten by those of the next."""
    onnx.save(classifier_proto(batch=batch), tmp_path / "m.onnx")
    x = np.random.default_rng(0).random((4, 3, 16, 12), np.float32)
    np.save(tmp_path / "x.npy", x)
    ran = run_command("maps", "m.onnx", "x.npy", "--layers", "first", "-o", "out", "--json")
    assert ran.code == 0
    drawn = [entry["file"] for entry in json.loads(ran.out)["pictures"]]
    assert [entry["input"] for entry in json.loads(ran.out)["pictures"]] == [f"x.npy[{row}]" for row in range(4)]
    assert len(set(drawn)) == 4
    assert all((tmp_path / file).is_file() for file in drawn)
    np.save(tmp_path / "x.npy", x[:1])
    assert run_command("maps", "m.onnx", "x.npy", "--layers", "first", "-o", "one").code == 0
    assert files_in(tmp_path / "one") == [f"000-{CLASSIFIER_NAMES[0]}.png", "manifest.json"]
