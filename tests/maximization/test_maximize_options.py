"""Options of `maximize`: the same in Python and on the command line, and refused where they would do nothing."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from protos import classifier_proto

from onnxviz import cli, maximize
from onnxviz.cli.maximize import maximize as command
from onnxviz.errors import InputError, SelectionError
from onnxviz.maximization.objectives import Class
from onnxviz.maximization.penalties import Diversity, Norm, TotalVariation, read_penalty
from onnxviz.maximization.transforms import Jitter


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command on `classifier_proto`: exit code and stderr."""
    onnx.save(classifier_proto(), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.run(["maximize", "m.onnx", *map(str, arguments)])
        return code, capsys.readouterr().err

    return run


def test_both_sides_have_the_same_options():
    """Those of the command alone say what is written and printed; inside, `--filters` is `numbers`."""
    python, shell = ({*inspect.signature(verb).parameters} for verb in (maximize, command))
    assert python - shell == {"layer", "filters", "progress"}
    written = {"output", "picture", "dpi", "title", "captions", "with_patches", "save", "as_json"}
    assert shell - python == {"selection", "layers", "numbers", "quiet", "context"} | written


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--variants", 2], {"variants": 2}),
        (["--decay", 0.5], {"decay": 0.5}),
        (["--param", "maco", "--decay", 0.5], {"decay": 0.5, "param": "maco"}),
        (["--leak", 0.7], {"leak": 0.7}),
        (["--threads", 1], {"threads": 1}),
        (["--plus", "total-variation=-20"], {"plus": -20 * TotalVariation()}),
        (["--plus", "norm:2=-3", "--plus", "total-variation=-5"], {"plus": -3 * Norm(2) - 5 * TotalVariation()}),
        (
            ["--plus", "diversity:block1_conv1=5", "--variants", 2],
            {"plus": 5 * Diversity("block1_conv1"), "variants": 2},
        ),
    ],
)
def test_the_command_makes_what_python_makes(run, arguments, options):
    code, err = run("block2_conv1", "--filters", 1, "--steps", 8, "--save", "x.npz", "-q", *arguments)
    assert code == 0, err
    expected = maximize(classifier_proto(), "block2_conv1", filters=1, steps=8, **options)
    with np.load("x.npz") as saved:
        assert np.array_equal(saved["images"], expected.images)
    note = json.loads(Path("x.npz.manifest.json").read_text())
    assert (note["leak"], note["decay"], note["plus"]) == (
        options.get("leak", 0.1),
        options.get("decay", 1.3),
        str(options["plus"]) if "plus" in options else None,
    )
    if "threads" not in options:  # which must not change a picture
        plain = maximize(classifier_proto(), "block2_conv1", filters=1, steps=8)
        assert expected.images.shape != plain.images.shape or not np.array_equal(expected.images, plain.images)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--class", 1, "--filters", "0,2"], "only layers have filters, and none is named: leave out --filters"),
        (["--class", 1, "--random", 3, "--at", "conv"], "leave out --random, --at"),
        (["0", "--filters", 1, "--random", 3], "leave one of them out"),
        (["0", "--param", "pixel", "--decay", 1], "a decay of 1 is one of frequencies"),
        (["0", "--transforms", "none", "--jitter", 3], "a jitter of 3 pixels is one of --transforms 'standard'"),
        (["0", "--plus", "tv=-1"], "'tv=-1' is not a weighted term"),
    ],
)
def test_options_without_use_are_refused(run, tmp_path, arguments, words):
    code, err = run(*arguments)
    assert code == 2
    assert words in " ".join(err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (
            [],
            {"class_": 1, "filters": 0},
            SelectionError,
            "only layers have filters, and none is named: leave out filters",
        ),
        ([Class(1)], {"random": 2}, SelectionError, "leave out random"),
        ([Class(1)], {"at": "conv"}, SelectionError, "only layers have filters, and none is named: leave out at"),
        ([], {"class_": 1, "leak": 0.2}, InputError, "no Relu or Clip ends what is climbed.*: leave out leak"),
        ([0], {"at": "conv", "leak": 0.2}, InputError, "leave out leak"),
        ([0], {"filters": 0, "random": 2}, SelectionError, "leave one of them out"),
        ([0], {"param": "pixel", "decay": 1.0}, InputError, "a decay of 1 is one of frequencies"),
        ([0], {"transforms": "none", "jitter": 2}, InputError, "a jitter of 2 pixels"),
        ([0], {"transforms": [Jitter(2)], "jitter": 2}, InputError, "a jitter of 2 pixels"),
    ],
)
def test_python_refuses_them_too(arguments, options, error, message):
    with pytest.raises(error, match=message):
        maximize(classifier_proto(), *arguments, steps=1, **options)


def test_a_decay_that_nothing_has_is_not_in_the_manifest():
    assert maximize(classifier_proto(), 0, filters=0, steps=1, param="pixel").manifest()["decay"] is None
    assert maximize(classifier_proto(), 0, filters=0, steps=1).manifest()["decay"] == 1.3


@pytest.mark.parametrize(
    "text",
    ["", "norm", "norm=", "norm=x", "norm=nan", "norm:=inf", "norm:x=1", "diversity=1", "diversity:=1", "-0.1*norm"],
)
def test_what_is_no_penalty(text):
    with pytest.raises(InputError, match=r"is not a weighted term; write total-variation=-0\.1"):
        read_penalty(text)


def test_penalties_are_read():
    assert str(read_penalty("norm:2=-0.5")) == str(-0.5 * Norm(2))
    assert read_penalty("total-variation:1.5=-1") == -1 * TotalVariation(1.5)
    assert read_penalty("diversity:a:b=2") == 2 * Diversity("a:b")
