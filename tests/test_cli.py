"""The command line: what a person types, sees and finds on disk; and what a script can rely on (contract.md)."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import CLASSIFIER_NAMES, classifier_proto
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from onnxviz import __version__, cli
from onnxviz.cli import run

COMMANDS = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
RNG = np.random.default_rng(23)
PHOTO = RNG.integers(0, 256, (16, 12, 3), np.uint8)
ROOT = Path(__file__).resolve().parent.parent


class Ran:
    """What one command did: exit code, stdout, stderr."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def document(self):
        """The one JSON document on stdout; strict, as scripts in other languages read it."""

        def refuse(constant):
            pytest.fail(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=refuse)

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture
def onnxviz(capsys, tmp_path, monkeypatch):
    """A function that runs a command in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return command


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    return "photo.png"


@pytest.fixture
def photos(tmp_path):
    """A folder of three photos: a.png, b.png, c.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, pixels in zip("abc", RNG.integers(0, 256, (3, 16, 12, 3), np.uint8), strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return "photos"


def files_in(folder):
    """All files below a folder, as sorted relative paths."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def error_of(ran):
    """The one line of an error with exit code 2."""
    assert ran.code == 2, ran
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran
    assert lines[0].startswith("error: ")
    return lines[0]


def truth(array, tensors, proto=None):
    """The tensors of the classifier for an input, by onnx's reference."""
    proto = proto or classifier_proto()
    del proto.graph.output[:]
    for tensor in tensors:
        proto.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    return ReferenceEvaluator(proto).run(list(tensors), {"image": array.astype(np.float32)})


def unit(pixels):
    """The classifier's input by definition of `unit`."""
    return (pixels.astype(np.float64) / 255).transpose(2, 0, 1)[None].astype(np.float32)


# ---------------------------------------------------------------- help and usage


def test_the_commands_of_this_release():
    assert set(COMMANDS) >= {"layers", "filters", "maps", "annotate"}


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_an_example(onnxviz, name, flag):
    ran = onnxviz(name, flag)
    assert ran.code == 0
    assert re.search(rf"Example: onnxviz {name} \S+\.(onnx|keras)", ran.out)
    assert ran.err == ""


# What converts needs a framework: its example is run in test_cli_convert.py.
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"convert"}))
def test_the_example_in_the_help_is_one_that_parses(onnxviz, classifier, photo, name):
    text = " ".join(onnxviz(name, "--help").out.split())
    example = re.search(rf"Example: onnxviz ({name} .*)", text)[1].strip(" │╰─╯").split()
    shutil.copy(classifier, "model.onnx")
    shutil.copy(photo, "cat.jpg")
    assert onnxviz(*example).code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    command = __import__("typer").main.get_command(cli.app).commands[name]
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_shows_every_command(name):
    assert f"onnxviz {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_json_and_can_be_quiet(name):
    command = __import__("typer").main.get_command(cli.app).commands[name]
    options = {flag for parameter in command.params for flag in parameter.opts}
    assert {"--json", "--quiet", "-q"} <= options


def test_no_command_shows_the_help(onnxviz):
    ran = onnxviz()
    assert all(name in ran.out + ran.err for name in COMMANDS)


def test_version(onnxviz):
    assert onnxviz("--version").out == f"onnxviz {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "nothing"),
        (["layers"], "MODEL"),
        (["layers", "m.onnx", "--nothing"], "--nothing"),
        (["layers", "m.onnx", "--layout", "torch"], "torch"),
        (["filters", "m.onnx", "--style", "pie"], "pie"),
        (["filters", "m.onnx", "--first", "0"], "--first"),
        (["filters", "m.onnx", "--first", "six"], "--first"),
        (["maps", "m.onnx"], "INPUT"),
        (["maps", "m.onnx", "a.png", "--provider", "tpu"], "tpu"),
        (["maps", "m.onnx", "a.png", "--at", "input"], "input"),
        (["maps", "m.onnx", "a.png", "--sort", "size"], "size"),
        (["maps", "m.onnx", "a.png", "--format", "bmp"], "bmp"),
        (["annotate", "m.onnx", "-o", "b.onnx"], "--preprocess"),
        (["annotate", "m.onnx", "--preprocess", "unit"], "--output"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(onnxviz, arguments, said):
    assert said in error_of(onnxviz(*arguments))


def program(*arguments, cwd, **options):
    """The console script in a process of its own."""
    script = shutil.which("onnxviz", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return subprocess.run(
        [script, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=120,
        check=False,
        **options,
    )


def test_the_console_script(classifier, photo, tmp_path):
    done = program("maps", classifier, photo, "--layers", "first", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["layers"] == ["block1_conv1"]
    assert "block1_conv1" in "".join(files_in(tmp_path / "maps"))


def test_the_console_script_reports_in_one_line(tmp_path):
    done = program("layers", "nope.onnx", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: .*nope\.onnx.*\n", done.stderr)


def test_the_console_script_gives_code_1_where_some_inputs_failed(classifier, photos, tmp_path):
    (tmp_path / "photos" / "bad.png").write_text("no image")
    assert program("maps", classifier, "photos", "--layers", "0", cwd=tmp_path).returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_leaves_is_no_error(classifier, tmp_path):
    """As in `onnxviz layers m.onnx | true`."""
    read, write = os.pipe()
    os.close(read)
    script = Path(sys.executable).parent / "onnxviz"
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [script, "layers", classifier], stdout=pipe, stderr=subprocess.PIPE, encoding="utf-8", check=False
        )
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_bug_keeps_its_traceback(monkeypatch, onnxviz, classifier):
    def broken(*arguments):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("onnxviz.model.load", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        onnxviz("layers", classifier)


def test_an_interrupt_is_code_130(monkeypatch, onnxviz, classifier):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxviz.model.load", interrupted)
    ran = onnxviz("layers", classifier)
    assert ran.code == 130
    assert ran.out == ""
    assert "interrupted" in ran.err


# ---------------------------------------------------------------- layers

CONV = {"strides": [1, 1], "group": 1, "scope": "", "op": "Conv", "auto_pad": "NOTSET", "folded_batch_norm": None}
EXPECTED_LAYERS = [
    {
        **CONV,
        "index": 0,
        "name": "block1_conv1",
        "node": "n1",
        "weight": {"shape": [6, 3, 3, 3], "dtype": "float32", "source": "initializer", "tensor": "block1_conv1/kernel"},
        "bias": True,
        "pads": [1, 1, 1, 1],
        "dilations": [1, 1],
        "taps": {"conv": "c1", "activation": "r1"},
        "output_shape": ["batch", 6, 16, 12],
        "parameters": 6 * 3 * 9 + 6,
    },
    {
        **CONV,
        "index": 1,
        "name": "block1_conv2",
        "node": "n2",
        "weight": {"shape": [8, 6, 3, 3], "dtype": "float32", "source": "initializer", "tensor": "block1_conv2/kernel"},
        "bias": True,
        "pads": [1, 1, 1, 1],
        "dilations": [1, 1],
        "taps": {"conv": "c2", "activation": "r2"},
        "output_shape": ["batch", 8, 16, 12],
        "parameters": 8 * 6 * 9 + 8,
    },
    {
        **CONV,
        "index": 2,
        "name": "block2_conv1",
        "node": "n3",
        "weight": {"shape": [4, 8, 3, 3], "dtype": "float32", "source": "initializer", "tensor": "block2_conv1/kernel"},
        "bias": False,
        "pads": [2, 2, 2, 2],
        "dilations": [2, 2],
        "taps": {"conv": "c3", "activation": "r3"},
        "output_shape": ["batch", 4, 8, 6],
        "parameters": 4 * 8 * 9,
    },
]


def holds(found, expected):
    """Whether `found` has at least the keys of `expected`, with these values."""
    if isinstance(expected, dict):
        assert set(expected) <= set(found)
        for key, value in expected.items():
            holds(found[key], value)
    else:
        assert found == expected


def test_layers_as_json(onnxviz, classifier):
    ran = onnxviz("layers", classifier, "--json")
    assert (ran.code, ran.err) == (0, "")
    document = ran.document
    holds(
        document,
        {
            "model": str(classifier),
            "producer": "tests 1.2",
            "ir_version": 9,
            "opset": {"": 18},
            "parameters": 168 + 440 + 288 + 20,
            "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 3, 16, 12], "layout": "NCHW"}],
            "preprocessing": None,
        },
    )
    (output,) = document["outputs"]
    holds(output, {"name": "logits", "dtype": "float32", "shape": ["batch", 5]})
    assert len(document["layers"]) == 3
    for found, expected in zip(document["layers"], EXPECTED_LAYERS, strict=True):
        holds(found, expected)


def test_layers_in_keras_order(onnxviz, classifier):
    rows = onnxviz("layers", classifier, "--json", "--layout", "keras").document["layers"]
    assert [row["weight"]["shape"] for row in rows] == [[3, 3, 3, 6], [3, 3, 6, 8], [3, 3, 8, 4]]
    assert [row["output_shape"] for row in rows] == [["batch", 16, 12, 6], ["batch", 16, 12, 8], ["batch", 8, 6, 4]]


def test_all_layers(onnxviz, classifier):
    rows = onnxviz("layers", classifier, "--all", "--json").document["layers"]
    assert [row["op"] for row in rows] == [
        "Conv", "Relu", "Conv", "Relu", "MaxPool", "Conv", "Relu", "GlobalAveragePool", "MatMul",
    ]  # fmt: skip
    assert [row["index"] for row in rows] == list(range(9))
    assert len({row["name"] for row in rows}) == 9
    names = [row["name"] for row in rows]
    assert [names[0], names[2], names[5]] == list(CLASSIFIER_NAMES)
    assert rows[4]["output_shape"] == ["batch", 8, 8, 6]


def test_the_table_for_people(onnxviz, classifier):
    ran = onnxviz("layers", classifier)
    assert (ran.code, ran.err) == (0, "")
    for name in CLASSIFIER_NAMES:
        (line,) = (line for line in ran.lines if re.search(rf"\b{name}\b", line))
        assert "Conv" in line
    for said in (str(classifier), "916", "tests", "18", "image", "logits", "6×3×3×3", "batch×8×16×12", "440"):
        assert said in ran.out
    keras = onnxviz("layers", classifier, "--layout", "keras").out
    assert "3×3×3×6" in keras


def test_a_model_without_convolutions(onnxviz, tmp_path):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="act")], "relu",
        [value("x", TensorProto.FLOAT, [2, 3])], [value("y", TensorProto.FLOAT, [2, 3])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=9), tmp_path / "relu.onnx")
    ran = onnxviz("layers", "relu.onnx")
    assert ran.code == 0
    assert "relu.onnx has no convolution; --all lists its other layers" in ran.err
    assert onnxviz("layers", "relu.onnx", "-q").err == ""
    assert onnxviz("layers", "relu.onnx", "--json").document["layers"] == []
    assert "act" in onnxviz("layers", "relu.onnx", "--all").out
    assert "no convolution" in error_of(onnxviz("filters", "relu.onnx"))


def noted(path, note, key="onnxviz.preprocessing"):
    proto = classifier_proto()
    proto.metadata_props.add(key=key, value=note)
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("note", ['{"scale": NaN}', '{"name": "x", "scale": Infinity}', "{", "[]", "5", '"\x1b[2J"'])
def test_an_odd_note_still_gives_json(onnxviz, tmp_path, note):
    ran = onnxviz("layers", noted(tmp_path / "m.onnx", note), "--json")
    assert ran.code == 0
    assert "preprocessing" in ran.document


@pytest.mark.parametrize("where", ["note", "producer", "layer", "input"])
def test_control_characters_of_a_model_do_not_reach_the_terminal(onnxviz, tmp_path, where):
    evil = "evil\x1b]0;owned\x07\x1b[2J"
    proto = classifier_proto()
    if where == "note":
        note = {"name": evil, "scale": 1, "mean": [0], "std": [1], "order": "RGB"}
        proto.metadata_props.add(key="onnxviz.preprocessing", value=json.dumps(note))
    elif where == "producer":
        proto.producer_name = evil
    elif where == "layer":
        proto.graph.node[0].input[1] = proto.graph.initializer[0].name = f"{evil}/kernel"
    else:
        proto.graph.node[0].input[0] = proto.graph.input[0].name = evil
    onnx.save(proto, tmp_path / "m.onnx")
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    for arguments in (["layers"], ["filters", "-o", "f"], ["maps", "photo.png", "-o", "m"], ["maps", "no.png"]):
        ran = onnxviz(arguments[0], "m.onnx", *arguments[1:])
        assert "evil" in ran.out or arguments[0] != "layers"
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", ran.out + ran.err), arguments


# ---------------------------------------------------------------- filters


def test_filters_default(onnxviz, classifier, tmp_path):
    ran = onnxviz("filters", classifier)
    assert (ran.code, ran.err) == (0, "")
    assert files_in(tmp_path / "filters") == ["000-block1_conv1.png"]
    assert ran.lines == ["filters/000-block1_conv1.png"]


def test_filters_of_several_layers(onnxviz, classifier, tmp_path):
    ran = onnxviz("filters", classifier, "block1_*", "2", "-o", "out/deep", "--json")
    assert (ran.code, ran.err) == (0, "")
    names = [f"{index:03d}-{name}.png" for index, name in enumerate(CLASSIFIER_NAMES)]
    assert files_in(tmp_path / "out" / "deep") == names
    document = ran.document
    assert document["model"] == str(classifier)
    assert document["files"] == [f"out/deep/{name}" for name in names]
    assert [entry["layer"] for entry in document["filters"]] == list(CLASSIFIER_NAMES)
    assert [entry["file"] for entry in document["filters"]] == document["files"]


MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("kind", MAGIC)
def test_a_file_or_a_folder(onnxviz, classifier, tmp_path, kind):
    assert onnxviz("filters", classifier, "-o", f"one.{kind}").lines == [f"one.{kind}"]
    assert (tmp_path / f"one.{kind}").read_bytes().startswith(MAGIC[kind])
    assert onnxviz("filters", classifier, "-o", "folder", "--format", kind).code == 0
    assert files_in(tmp_path / "folder") == [f"000-block1_conv1.{kind}"]
    assert (tmp_path / "folder" / f"000-block1_conv1.{kind}").read_bytes().startswith(MAGIC[kind])


def test_two_layers_do_not_fit_one_file(onnxviz, classifier, tmp_path):
    assert "2 layers" in error_of(onnxviz("filters", classifier, "0-1", "-o", "one.png"))
    assert files_in(tmp_path) == ["classifier.onnx"]


def test_a_suffix_that_is_no_picture(onnxviz, classifier, tmp_path):
    assert ".svg" in error_of(onnxviz("filters", classifier, "-o", "one.jpg"))
    assert files_in(tmp_path) == ["classifier.onnx"]


def test_filters_are_saved_bit_for_bit(onnxviz, classifier, tmp_path):
    ran = onnxviz("filters", classifier, "all", "--save", "weights.npz", "--json")
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


def test_save_and_draw_together(onnxviz, classifier, tmp_path):
    ran = onnxviz("filters", classifier, "--save", "w.npz", "-o", "f.svg")
    assert set(ran.lines) >= {"w.npz", "f.svg"}
    assert {"f.svg", "w.npz", "w.npz.manifest.json"} <= set(files_in(tmp_path))


def test_every_file_written_is_listed(onnxviz, classifier, photo, tmp_path):
    for number, arguments in enumerate([
        ("filters", classifier, "all", "--save", "a/w.npz", "-o", "a"),
        ("maps", classifier, photo, "--save", "b/m.npz", "-o", "b"),
        ("annotate", classifier, "--preprocess", "torch", "-o", "c/out.onnx"),
    ]):  # fmt: skip
        folder = "abc"[number]
        (tmp_path / folder).mkdir()
        ran = onnxviz(*arguments, "--json")
        assert ran.code == 0
        assert sorted(ran.document["files"]) == [f"{folder}/{file}" for file in files_in(tmp_path / folder)]


@pytest.mark.parametrize(
    "options",
    [
        ["--first", "2"],
        ["--filters", "0,3,5"],
        ["--filters", "1-4", "--channels", "0-1"],
        ["--style", "grid"],
        ["--style", "rgb"],
        ["--scale", "filter"],
        ["--scale", "symmetric", "--cmap", "coolwarm"],
        ["--layout", "keras"],
    ],
)
def test_options_of_filters_draw(onnxviz, classifier, tmp_path, options):
    assert onnxviz("filters", classifier, "-o", "plain.png").code == 0
    assert onnxviz("filters", classifier, "-o", "chosen.png", *options).code == 0
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "chosen.png").read_bytes()


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
        (["--save", "w.txt"], "w.txt"),
        (["--save", "nowhere/w.npz"], "nowhere"),
        (["-o", "nowhere/f.png"], "nowhere"),
    ],
)
def test_errors_of_filters_write_nothing(onnxviz, classifier, tmp_path, options, said):
    assert said in error_of(onnxviz("filters", classifier, *options))
    assert files_in(tmp_path) == ["classifier.onnx"]


# ---------------------------------------------------------------- maps


def test_maps_default(onnxviz, classifier, photo, tmp_path):
    ran = onnxviz("maps", classifier, photo)
    assert ran.code == 0
    names = [f"{index:03d}-{name}.png" for index, name in enumerate(CLASSIFIER_NAMES)]
    assert files_in(tmp_path / "maps") == [*names, "manifest.json"]
    assert sorted(ran.lines) == [f"maps/{name}" for name in [*names, "manifest.json"]]
    assert "assumed 'unit'" in ran.err
    assert "--preprocess" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_maps_as_json(onnxviz, classifier, photo, tmp_path):
    ran = onnxviz("maps", classifier, photo, "--layers", "0,last", "--json", "-q")
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
def test_saved_maps_are_what_the_model_computes(onnxviz, classifier, photo, tmp_path, at):
    ran = onnxviz("maps", classifier, photo, "--save", "m.npz", "--at", at, "-q")
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


def test_one_picture_per_input_and_layer(onnxviz, classifier, photos, tmp_path):
    ran = onnxviz("maps", classifier, photos, "--layers", "0-1", "-o", "out", "--save", "m.npz", "--json", "-q")
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
    pictures = [(tmp_path / "out" / file).read_bytes() for (_, layer), file in told.items() if layer == "block1_conv1"]
    assert len(set(pictures)) == 3


def test_one_bad_image_among_many(onnxviz, classifier, photos, tmp_path):
    (tmp_path / "photos" / "aa.png").write_text("no image")
    ran = onnxviz("maps", classifier, photos, "--layers", "first", "--json", "--save", "m.npz", "-o", "out")
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


def test_a_failure_is_said_even_when_quiet(onnxviz, classifier, photos, tmp_path):
    (tmp_path / "photos" / "aa.png").write_text("no image")
    ran = onnxviz("maps", classifier, photos, "--layers", "first", "-q")
    assert ran.code == 1, ran
    assert "aa.png" in ran.err
    assert "assumed" not in ran.err


def test_images_that_are_all_bad(onnxviz, classifier, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        (tmp_path / "photos" / f"{name}.png").write_text("no image")
    ran = onnxviz("maps", classifier, "photos", "-q")
    assert ran.code == 2, ran
    assert "none of 2 inputs could be used" in ran.err.splitlines()[-1]
    assert ran.out == ""
    assert not (tmp_path / "maps").exists()


def test_the_only_image_is_bad(onnxviz, classifier, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    assert "bad.png" in error_of(onnxviz("maps", classifier, "bad.png", "-q"))
    assert not (tmp_path / "maps").exists()


def test_quiet_and_notes(onnxviz, classifier, photo):
    assert onnxviz("maps", classifier, photo, "-q", "--layers", "0").err == ""
    assert onnxviz("maps", classifier, photo, "--preprocess", "torch", "--layers", "0").err == ""


def test_preprocess_reaches_the_model(onnxviz, classifier, photo, tmp_path):
    for name, feed in {
        "raw": PHOTO,
        "signed": PHOTO / 127.5 - 1,
        "caffe": PHOTO[..., ::-1] - np.array([103.939, 116.779, 123.68]),
        "scale=0.01,mean=0.1:0.2:0.3,std=2,order=BGR": (PHOTO[..., ::-1] * 0.01 - np.array([0.1, 0.2, 0.3])) / 2,
    }.items():
        assert onnxviz("maps", classifier, photo, "--preprocess", name, "--layers", "0", "--save", "m.npz").code == 0
        (expected,) = truth(feed.transpose(2, 0, 1)[None], ["r1"])
        with np.load(tmp_path / "m.npz") as archive:
            np.testing.assert_allclose(archive["block1_conv1"], expected, rtol=1e-3, atol=1e-3)


@pytest.fixture
def figures(monkeypatch):
    """The figures that maps draws, in order."""
    from onnxviz import album

    drawn = []

    def spy(figure, path, **options):
        drawn.append(figure)
        return save(figure, path, **options)

    save = album.save_figure
    monkeypatch.setattr(album, "save_figure", spy)
    return drawn


def mosaic_of(figure):
    """What is seen, without the words around it."""
    return np.ma.filled(figure.axes[0].images[0].get_array(), -1)


def words_of(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text")))


def test_each_input_has_its_own_maps_and_name_in_its_pictures(onnxviz, classifier, photos, figures):
    assert onnxviz("maps", classifier, photos, "--layers", "0-1", "-q").code == 0
    assert onnxviz("maps", classifier, *(f"photos/{name}.png" for name in "abc"), "--layers", "0-1", "-q").code == 0
    for name in "abc":
        assert onnxviz("maps", classifier, f"photos/{name}.png", "--layers", "0-1", "-q").code == 0
    folder, listed, single = figures[:6], figures[6:12], figures[12:]
    for position, one in enumerate(single):
        np.testing.assert_allclose(mosaic_of(folder[position]), mosaic_of(one), atol=1e-5)
        np.testing.assert_allclose(mosaic_of(listed[position]), mosaic_of(one), atol=1e-5)
        for figure in (folder[position], listed[position], one):
            assert f"{'abc'[position // 2]}.png" in words_of(figure)
            assert CLASSIFIER_NAMES[position % 2] in words_of(figure)


@pytest.mark.parametrize("sort", ["mean", "variance", "norm", "weight-norm"])
def test_sort_shows_the_largest_first(onnxviz, classifier, photo, figures, sort):
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
        assert onnxviz(*common, *options).code == 0
    by_sort, by_hand, plain = map(mosaic_of, figures)
    np.testing.assert_array_equal(by_sort, by_hand)
    assert not np.array_equal(by_sort, plain)


@pytest.mark.parametrize("sort", ["mean", "weight-norm"])
def test_sort_chooses_among_the_channels_asked_for(onnxviz, classifier, photo, figures, sort):
    kernel = numpy_helper.to_array(classifier_proto().graph.initializer[2]).reshape(8, -1)
    value = truth(unit(PHOTO), ["r2"])[0][0].mean((1, 2)) if sort == "mean" else np.sqrt((kernel**2).sum(1))
    best = sorted([1, 4, 6], key=lambda channel: -value[channel])
    common = ("maps", classifier, photo, "--layers", "1", "-q")
    assert onnxviz(*common, "--sort", sort, "--channels", "1,4,6").code == 0
    assert onnxviz(*common, "--channels", ",".join(map(str, best))).code == 0
    np.testing.assert_array_equal(*map(mosaic_of, figures))


def test_the_mosaic_holds_the_maps_that_the_model_computes(onnxviz, classifier, photo, figures):
    (maps,) = truth(unit(PHOTO), ["r2"])
    assert onnxviz("maps", classifier, photo, "--layers", "1", "--channels", "5", "-q").code == 0
    (mosaic,) = map(mosaic_of, figures)
    wanted = (maps[0, 5] - maps[0, 5].min()) / np.ptp(maps[0, 5])
    height, width = wanted.shape
    factor = max(mosaic.shape) // max(wanted.shape)  # small maps are drawn larger, by whole pixels
    found = [
        np.abs(mosaic[y : y + height * k : k, x : x + width * k : k] - wanted).max()
        for k in range(1, factor + 1)
        for y in range(mosaic.shape[0] - (height - 1) * k)
        for x in range(mosaic.shape[1] - (width - 1) * k)
    ]
    assert min(found) < 1e-4


def test_channels_are_as_many_as_first_allows(onnxviz, classifier, photo, tmp_path):
    for options in (["--first", "8"], ["--channels", "0-7"], []):
        assert onnxviz("maps", classifier, photo, "--layers", "1", *options, "-o", "-".join(["o", *options])).code == 0
    pictures = {path.read_bytes() for path in tmp_path.glob("o*/001-*.png")}
    assert len(pictures) == 1


def test_a_sort_by_weights_of_what_has_none(onnxviz, classifier, photo):
    ran = onnxviz("maps", classifier, photo, "--ops", "MaxPool", "--sort", "weight-norm", "-q")
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
def test_selections(onnxviz, classifier, photo, options, layers):
    assert onnxviz("maps", classifier, photo, *options, "--json", "-q").document["layers"] == layers


@pytest.mark.parametrize("kind", MAGIC)
def test_formats_of_maps(onnxviz, classifier, photo, tmp_path, kind):
    assert onnxviz("maps", classifier, photo, "--layers", "0", "--format", kind).code == 0
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
def test_options_of_maps_draw(onnxviz, classifier, photo, tmp_path, options):
    assert onnxviz("maps", classifier, photo, "--layers", "0", "-o", "plain").code == 0
    assert onnxviz("maps", classifier, photo, "--layers", "0", "-o", "chosen", *options).code == 0
    one, other = ((tmp_path / folder / "000-block1_conv1.png").read_bytes() for folder in ("plain", "chosen"))
    assert one != other


def test_verify_says_by_how_much_the_outputs_moved(onnxviz, classifier, photo, tmp_path):
    ran = onnxviz("maps", classifier, photo, "--verify", "--json")
    assert ran.code == 0
    moved = ran.document["verification"]
    assert set(moved) >= {"max_abs_diff", "max_rel_diff"}
    assert 0 <= moved["max_abs_diff"] < 1e-4
    assert "verified: the taps" in ran.err
    assert json.loads((tmp_path / "maps" / "manifest.json").read_text())["verification"] == moved
    assert onnxviz("maps", classifier, photo, "--verify", "-q").err == ""


@pytest.mark.parametrize("memory", ["1MiB", "1m", "512MiB", "0.5GB", "2000000", "2 GiB", "1000kb"])
def test_memory(onnxviz, classifier, photos, tmp_path, memory):
    ran = onnxviz("maps", classifier, photos, "--layers", "0", "--memory", memory, "--save", "m.npz", "-q")
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
def test_errors_of_maps_write_nothing(onnxviz, classifier, photo, tmp_path, options, said):
    assert said in error_of(onnxviz("maps", classifier, photo, "-q", *options))
    assert files_in(tmp_path) == ["classifier.onnx", "photo.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "photo.png")), PHOTO)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has CUDA")
def test_a_provider_that_is_not_there_is_no_silent_fallback(onnxviz, classifier, photo, tmp_path):
    line = error_of(onnxviz("maps", classifier, photo, "--provider", "cuda", "-q"))
    assert "'cuda'" in line
    assert re.search(r"has cpu\b", line)
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    "command", [["layers"], ["filters"], ["maps", "photo.png"], ["annotate", "--preprocess", "unit", "-o", "x"]]
)
@pytest.mark.parametrize(
    "content", [None, b"", b"hello", b"<html></html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_model_is_one_line(onnxviz, tmp_path, photo, command, content):
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    assert "m.onnx" in error_of(onnxviz(command[0], "m.onnx", *command[1:]))
    assert files_in(tmp_path) == (["m.onnx"] if content is not None else []) + ["photo.png"]


def test_several_inputs_by_name(onnxviz, two_inputs, tmp_path):
    left, right = RNG.random((2, 1, 3, 4, 4), np.float32)
    np.save(tmp_path / "l.npy", left)
    np.save(tmp_path / "r.npy", right)
    ran = onnxviz("maps", two_inputs, "left=l.npy", "right=r.npy", "--at", "conv", "--save", "m.npz", "-q")
    assert ran.code == 0
    expected = ReferenceEvaluator(onnx.load(two_inputs)).run(None, {"left": left, "right": right})[0]
    with np.load(tmp_path / "m.npz") as archive:
        np.testing.assert_allclose(archive["left_conv"] + archive["right_conv"], expected, rtol=1e-4, atol=1e-5)
    line = error_of(onnxviz("maps", two_inputs, "l.npy", "-q"))
    assert "left, right" in line
    assert "NAME=PATH" in line


def test_layers_that_need_sizes_get_them_from_the_input(onnxviz, photo, tmp_path):
    proto = classifier_proto(size=("h", "w"))
    onnx.save(proto, tmp_path / "open.onnx")
    ran = onnxviz("maps", "open.onnx", photo, "--layers", "block-ends", "--json", "-q")
    assert ran.document["layers"] == ["block1_conv2", "block2_conv1"]
    ran = onnxviz("maps", "open.onnx", photo, "--size", "8x6", "--layers", "0", "--save", "m.npz", "-q")
    assert ran.code == 0
    with np.load(tmp_path / "m.npz") as archive:
        assert archive["block1_conv1"].shape == (1, 6, 8, 6)


def test_photos_of_different_sizes_make_pictures_but_no_archive(onnxviz, photo, tmp_path):
    onnx.save(classifier_proto(size=("h", "w")), tmp_path / "open.onnx")
    Image.fromarray(PHOTO[:8]).save(tmp_path / "half.png")
    ran = onnxviz("maps", "open.onnx", photo, "half.png", "--layers", "0", "-q", "-o", "out")
    assert ran.code == 0
    assert len([file for file in files_in(tmp_path / "out") if file.endswith(".png")]) == 2
    ran = onnxviz("maps", "open.onnx", photo, "half.png", "--layers", "0", "-q", "--save", "m.npz")
    assert "--size" in ran.err
    assert ran.code == 2
    assert "m.npz" not in files_in(tmp_path)


def test_layer_names_that_are_no_file_names(onnxviz, photo, tmp_path):
    proto = classifier_proto()
    names = ["../../escape", "con", "a/b"]
    for node, name in zip([n for n in proto.graph.node if n.op_type == "Conv"], names, strict=True):
        stored = next(tensor for tensor in proto.graph.initializer if tensor.name == node.input[1])
        stored.name = node.input[1] = f"{name}/kernel"
    (tmp_path / "in").mkdir()
    onnx.save(proto, tmp_path / "in" / "m.onnx")
    ran = onnxviz("maps", "in/m.onnx", photo, "-o", "in/out", "--save", "in/m.npz", "--json", "-q")
    assert ran.document["layers"] == names
    pictures = [file for file in ran.document["files"] if file.endswith(".png")]
    assert len(set(pictures)) == 3
    others = ["in/m.npz", "in/m.npz.manifest.json", "in/m.onnx", "in/out/manifest.json", "photo.png"]
    assert files_in(tmp_path) == sorted([*pictures, *others])
    with np.load(tmp_path / "in" / "m.npz") as archive:
        assert archive.files == names


# ---------------------------------------------------------------- annotate


def outputs(path, array):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": array})[0]


@pytest.mark.parametrize("in_place", [False, True])
def test_annotate_keeps_everything_else(onnxviz, classifier, tmp_path, in_place):
    before = onnx.load(classifier)
    content = classifier.read_bytes()
    array = RNG.random((2, 3, 16, 12), np.float32)
    expected = outputs(classifier, array)
    target = classifier if in_place else tmp_path / "new.onnx"
    ran = onnxviz("annotate", classifier, "--preprocess", "torch", "-o", target)
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines == [str(target)]
    if not in_place:
        assert classifier.read_bytes() == content
    assert outputs(target, array).tobytes() == expected.tobytes()
    after = onnx.load(target)
    onnx.checker.check_model(after, full_check=True)
    note = {entry.key: entry.value for entry in after.metadata_props}
    assert list(note) == ["onnxviz.preprocessing"]
    assert json.loads(note["onnxviz.preprocessing"])["mean"] == [0.485, 0.456, 0.406]
    del after.metadata_props[:]
    assert after == before  # weights, names, order, producer: all
    assert files_in(tmp_path) == (["classifier.onnx"] if in_place else ["classifier.onnx", "new.onnx"])


def test_annotate_replaces_its_own_note_and_keeps_others(onnxviz, tmp_path):
    path = noted(tmp_path / "m.onnx", "kept", key="author")
    for name in ("torch", "caffe"):
        assert onnxviz("annotate", path, "--preprocess", name, "-o", path).code == 0
    note = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert set(note) == {"author", "onnxviz.preprocessing"}
    assert note["author"] == "kept"
    assert json.loads(note["onnxviz.preprocessing"])["name"] == "caffe"
    assert len(onnx.load(path).metadata_props) == 2


def test_what_annotate_wrote_is_what_maps_uses(onnxviz, classifier, photo, tmp_path):
    written = onnxviz("annotate", classifier, "--preprocess", "scale=0.5,mean=1:2:3", "-o", "a.onnx", "--json")
    assert written.document["preprocessing"]["scale"] == 0.5
    assert written.document["files"] == ["a.onnx"]
    assert onnxviz("layers", "a.onnx", "--json").document["preprocessing"] == written.document["preprocessing"]
    ran = onnxviz("maps", "a.onnx", photo, "--layers", "0", "--save", "m.npz", "--json")
    assert (ran.code, ran.err) == (0, "")  # nothing was assumed
    holds(ran.document["preprocessing"], {"name": "custom", "assumed": False, "mean": [1, 2, 3]})
    (expected,) = truth((PHOTO * 0.5 - np.array([1, 2, 3])).transpose(2, 0, 1)[None], ["r1"])
    with np.load(tmp_path / "m.npz") as archive:
        np.testing.assert_allclose(archive["block1_conv1"], expected, rtol=1e-3, atol=1e-3)


def test_annotate_takes_external_data_along(onnxviz, tmp_path):
    proto = classifier_proto()
    (tmp_path / "in").mkdir()
    onnx.save(proto, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "out").mkdir()
    array = RNG.random((1, 3, 16, 12), np.float32)
    expected = outputs(tmp_path / "in" / "m.onnx", array)
    assert onnxviz("annotate", "in/m.onnx", "--preprocess", "unit", "-o", "out/m.onnx").code == 0
    shutil.rmtree(tmp_path / "in")
    assert outputs(tmp_path / "out" / "m.onnx", array).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preprocess", "nope", "-o", "a.onnx"], "'nope'"),
        (["--preprocess", "auto", "-o", "a.onnx"], "'auto'"),
        (["--preprocess", "unit", "-o", "nowhere/a.onnx"], "nowhere"),
        (["--preprocess", "unit", "-o", "."], "folder"),
    ],
)
def test_errors_of_annotate_write_nothing(onnxviz, classifier, tmp_path, options, said):
    content = classifier.read_bytes()
    assert said in error_of(onnxviz("annotate", classifier, *options))
    assert files_in(tmp_path) == ["classifier.onnx"]
    assert classifier.read_bytes() == content


# ---------------------------------------------------------------- what newcomers stumbled over


def test_layers_of_chosen_operators_are_numbered_as_maps_counts_them(onnxviz, classifier, photo):
    listed = onnxviz("layers", classifier, "--ops", "Conv,MaxPool", "--json").document["layers"]
    assert {row["op"] for row in listed} == {"Conv", "MaxPool"}
    ran = onnxviz("maps", classifier, photo, "--ops", "Conv,MaxPool", "--layers", "1", "-o", "m", "--json")
    assert ran.document["layers"] == [listed[1]["name"]]


def test_arrays_have_no_preprocessing_on_record(onnxviz, classifier):
    proto = onnx.load(classifier)
    shape = [d.dim_value or 1 for d in proto.graph.input[0].type.tensor_type.shape.dim]
    np.save("x.npy", np.zeros(shape, np.float32))
    ran = onnxviz("maps", classifier, "x.npy", "--preprocess", "torch", "-o", "m", "--json")
    assert ran.document["preprocessing"] is None
    assert json.loads(Path("m/manifest.json").read_text())["preprocessing"] is None
    assert "--preprocess had nothing to do" in ran.err


def test_the_name_of_another_operators_layer_is_explained(onnxviz, classifier, photo):
    pool = onnxviz("layers", classifier, "--ops", "MaxPool", "--json").document["layers"][0]["name"]
    ran = onnxviz("maps", classifier, photo, "--layers", pool)
    assert ran.code == 2
    assert f"'{pool}' of {classifier} is a MaxPool" in ran.err
    assert "--ops MaxPool" in ran.err


def test_the_json_of_maps_names_what_failed_and_where_pictures_are(onnxviz, classifier, photo):
    Path("bad.png").write_bytes(b"nonsense")
    ran = onnxviz("maps", classifier, photo, "bad.png", "--layers", "first", "-o", "m", "--json")
    assert ran.code == 1
    assert [entry["input"] for entry in ran.document["failed"]] == ["bad.png"]
    assert all(Path(entry["file"]).is_file() for entry in ran.document["pictures"])


def test_bgr_filters_are_drawn_in_true_colours(onnxviz, classifier, monkeypatch):
    onnxviz("annotate", classifier, "--preprocess", "caffe", "-o", "bgr.onnx")
    seen = []
    import onnxviz.plots as plots

    original = plots.plot_filters
    monkeypatch.setattr(plots, "plot_filters", lambda layer, **o: seen.append(o["channels"]) or original(layer, **o))
    for model in ("bgr.onnx", classifier):
        assert onnxviz("filters", model, "--style", "rgb", "-o", "f.png").code == 0
    assert seen == [[2, 1, 0], None]
