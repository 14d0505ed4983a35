"""`onnxviz filters`: what is drawn, what is saved, what is refused."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from command_line import MAGIC, error_of, files_in, mosaic_of, shows, words_of
from onnx import numpy_helper
from protos import CLASSIFIER_NAMES

import onnxviz
from onnxviz import plots


def test_filters_default(run_command, classifier, tmp_path):
    ran = run_command("filters", classifier)
    assert (ran.code, ran.err) == (0, "")
    assert files_in(tmp_path / "filters") == ["000-block1_conv1.png"]
    assert ran.lines == ["filters/000-block1_conv1.png"]


def test_filters_of_several_layers(run_command, classifier, tmp_path):
    ran = run_command("filters", classifier, "block1_*", "2", "-o", "out/deep", "--json")
    assert (ran.code, ran.err) == (0, "")
    names = [f"{index:03d}-{name}.png" for index, name in enumerate(CLASSIFIER_NAMES)]
    assert files_in(tmp_path / "out" / "deep") == names
    document = ran.document
    assert document["model"] == str(classifier)
    assert document["files"] == [f"out/deep/{name}" for name in names]
    assert [entry["layer"] for entry in document["filters"]] == list(CLASSIFIER_NAMES)
    assert [entry["file"] for entry in document["filters"]] == document["files"]


@pytest.mark.parametrize("kind", MAGIC)
def test_a_file_or_a_folder(run_command, classifier, tmp_path, kind):
    assert run_command("filters", classifier, "-o", f"one.{kind}").lines == [f"one.{kind}"]
    assert (tmp_path / f"one.{kind}").read_bytes().startswith(MAGIC[kind])
    assert run_command("filters", classifier, "-o", "folder", "--format", kind).code == 0
    assert files_in(tmp_path / "folder") == [f"000-block1_conv1.{kind}"]
    assert (tmp_path / "folder" / f"000-block1_conv1.{kind}").read_bytes().startswith(MAGIC[kind])


def test_two_layers_do_not_fit_one_file(run_command, classifier, tmp_path):
    assert "2 layers" in error_of(run_command("filters", classifier, "0-1", "-o", "one.png"))
    assert files_in(tmp_path) == ["classifier.onnx"]


def test_a_suffix_that_is_no_picture(run_command, classifier, tmp_path):
    assert ".svg" in error_of(run_command("filters", classifier, "-o", "one.bmp"))
    assert files_in(tmp_path) == ["classifier.onnx"]


def test_filters_are_saved_bit_for_bit(run_command, classifier, tmp_path):
    ran = run_command("filters", classifier, "all", "--save", "weights.npz", "--json")
    assert ran.code == 0
    assert ran.document["files"] == ["weights.npz", "weights.npz.manifest.json"]
    assert files_in(tmp_path) == ["classifier.onnx", "weights.npz", "weights.npz.manifest.json"]  # no pictures unasked
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(classifier).graph.initializer}
    with np.load(tmp_path / "weights.npz") as archive:
        assert archive.files == list(CLASSIFIER_NAMES)
        for name in CLASSIFIER_NAMES:
            assert archive[name].tobytes() == stored[f"{name}/kernel"].tobytes()
            assert archive[name].shape == stored[f"{name}/kernel"].shape
    manifest = json.loads((tmp_path / "weights.npz.manifest.json").read_text())
    assert manifest["model"]["sha256"] == hashlib.sha256(classifier.read_bytes()).hexdigest()
    assert manifest["layers"]["block2_conv1"]["shape"] == [4, 8, 3, 3]


def test_save_and_draw_together(run_command, classifier, tmp_path):
    ran = run_command("filters", classifier, "--save", "w.npz", "-o", "f.svg")
    assert set(ran.lines) >= {"w.npz", "f.svg"}
    assert {"f.svg", "w.npz", "w.npz.manifest.json"} <= set(files_in(tmp_path))


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ([], {}),
        (["--first", "2"], {"first": 2}),
        (["--filters", "0,3,5"], {"filters": [0, 3, 5]}),
        (["--filters", "1-4", "--channels", "0-1"], {"filters": [1, 2, 3, 4], "channels": [0, 1]}),
        (["--style", "grid"], {"style": "grid"}),
        (["--style", "rows"], {"style": "rows"}),
        (["--style", "matrix", "--sort", "cluster"], {"style": "matrix", "sort": "cluster"}),
        (["--scale", "filter"], {"scale": "filter"}),
        (["--cut", "90"], {"cut": 90}),
        (["--sort", "norm"], {"sort": "norm"}),
        (["--feeds", "2"], {"feeds": 2, "sources": ["image 0", "image 1", "image 2"]}),
        (["--scale", "symmetric", "--cmap", "coolwarm"], {"scale": "symmetric", "cmap": "coolwarm"}),
        (["--layout", "keras"], {"layout": "keras"}),
    ],
)
def test_options_of_filters_draw(run_command, classifier, figures, options, arguments):
    """What the option draws is what plot_filters draws with that argument, to the pixel and the word."""
    assert run_command("filters", classifier, "-o", "chosen.png", *options).code == 0
    (chosen,) = figures
    wanted = plots.plot_filters(onnxviz.load(classifier).layers[0], **arguments)
    np.testing.assert_array_equal(mosaic_of(chosen), mosaic_of(wanted))
    assert chosen.axes[0].images[0].get_cmap().name == wanted.axes[0].images[0].get_cmap().name
    assert words_of(chosen) == words_of(wanted)
    plain = plots.plot_filters(onnxviz.load(classifier).layers[0])
    same = mosaic_of(plain).shape == mosaic_of(chosen).shape and np.array_equal(mosaic_of(plain), mosaic_of(chosen))
    assert not options or not same or words_of(plain) != words_of(chosen)


def test_filters_that_are_drawn_are_the_weights(run_command, classifier, figures):
    """Each filter on its own range, read back out of the picture."""
    chosen = ["--filters", "4", "--channels", "2", "--scale", "filter", "--style", "rows"]
    assert run_command("filters", classifier, *chosen, "-o", "f.png").code == 0
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(classifier).graph.initializer}
    kernel = stored[f"{CLASSIFIER_NAMES[0]}/kernel"][4]
    wanted = (kernel[2] - kernel.min()) / np.ptp(kernel)
    assert shows(mosaic_of(figures[0]), wanted)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nope"], "'nope'"),
        (["--filters", "6"], "filter 6; there are 6"),
        (["--filters", "a"], "'a'"),
        (["--filters", ""], "filters"),
        (["--channels", "3"], "channel 3; there are 3"),
        (["--style", "lines"], "lines"),
        (["1", "--style", "rgb"], "rgb"),
        (["--cmap", "mauve"], "'mauve'"),
        (["--cut", "0"], "cut is 0; it must be a percentile"),
        (["--feeds", "6"], "filter 6; there are 6"),
        (["--feeds", "1", "--sort", "norm"], "leave out --sort"),
        (["1", "--style", "matrix", "--scale", "symmetric"], "never below zero: leave out --scale"),
        (["--save", "w.txt"], "w.txt"),
        (["--save", "nowhere/w.npz"], "nowhere"),
        (["-o", "nowhere/f.png"], "nowhere"),
    ],
)
def test_errors_of_filters_write_nothing(run_command, classifier, tmp_path, options, said):
    assert said in error_of(run_command("filters", classifier, *options))
    assert files_in(tmp_path) == ["classifier.onnx"]


def test_bgr_filters_are_drawn_in_true_colours(run_command, classifier, figures):
    run_command("annotate", classifier, "--preprocess", "caffe", "-o", "bgr.onnx")
    run_command("annotate", classifier, "--preprocess", "torch", "-o", "rgb.onnx")
    for model in ("bgr.onnx", "rgb.onnx", classifier):
        assert run_command("filters", model, "-o", "f.png").code == 0
    turned, told, untold = map(words_of, figures)
    assert "red, green, blue: channels 2, 1, 0" in turned
    assert "red, green, blue: channels 0, 1, 2" in told
    assert "nothing says that they are colours" in untold
    assert "nothing says" not in turned + told


def test_what_feeds_a_filter(run_command, classifier):
    """The strongest connections, and whose filters they are; the shares are those of the squared weights."""
    ran = run_command("filters", classifier, "1", "--feeds", "3", "--first", "2", "-o", "f.png", "--json")
    (drawn,) = ran.document["filters"]
    assert drawn["filter"] == 3
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(classifier).graph.initializer}
    squares = (stored[f"{CLASSIFIER_NAMES[1]}/kernel"][3].astype(np.float64) ** 2).sum(axis=(1, 2))
    assert [one["channel"] for one in drawn["feeds"]] == np.argsort(-squares).tolist()
    for one in drawn["feeds"]:
        assert one["sources"] == [{"layer": CLASSIFIER_NAMES[0], "filter": one["channel"]}]
        assert one["share"] == pytest.approx(squares[one["channel"]] / squares.sum(), rel=1e-9)
