"""`onnxviz convert` as a person and a script meet it: stdout, stderr, exit codes, files; mostly of a toy framework."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import error_of, files_in, program
from deadlines import HANG_SECONDS
from PIL import Image
from toy_framework import MODULE, Toy, ToyConverter, saved_toy

from onnxviz import Preprocessing
from onnxviz.conversion import convert as convert_room
from onnxviz.conversion import sources

TESTS = Path(__file__).resolve().parents[1]
KEYS = {
    "source", "framework", "versions", "opset", "parameters", "layers", "preprocessing", "verification", "seconds",
    "notes", "files",
}  # fmt: skip
CHECKED = {"inputs", "max_abs_diff", "max_rel_diff", "filters_identical", "seconds"}


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Makes the toy converter the only one; gives it. `toys:factory` and the like are in the test's folder."""
    converter = ToyConverter()
    monkeypatch.setattr(sources, "converters", lambda: [converter])
    monkeypatch.setattr(sources, "_loaded", lambda: iter(()))
    prints = 'print("on import")\n' + MODULE.replace(
        "    made = Toy()\n", '    print("a print of mine")\n    made = Toy()\n'
    )
    (tmp_path / "toys.py").write_text(prints, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield converter
    sys.modules.pop("toys", None)


# ---------------------------------------------------------------- what it prints


def test_stdout_is_the_path_and_stderr_the_story(run_command, toy):
    ran = run_command("convert", "toys:factory", "-o", "m.onnx")
    assert ran.code == 0
    assert ran.lines == ["m.onnx"]
    for word in (
        "on import",
        "a print of mine",
        "a note of the toy's",
        "Toy model (toy 1.5)",
        "2 convolutions",
        "opset 18",
    ):
        assert word in ran.err
    assert "2 layers: weights and biases identical, bit for bit" in ran.err
    assert re.search(r"2 feature maps: within \d\.\de-\d\d of the largest value", ran.err)
    assert "1x3x7x9 and 2x3x7x9" in ran.err
    assert re.search(r"opening \d+\.\d, tracing \d+\.\d, folding \d+\.\d, writing \d+\.\d, verifying \d+\.\d", ran.err)
    assert len(onnx.load("m.onnx").graph.node) == 6


def test_one_document_and_nothing_else(run_command, toy):
    ran = run_command("convert", "toys:factory", "-o", "m.onnx", "--json")
    assert ran.code == 0
    found = ran.document
    assert set(found) == KEYS
    assert set(found["verification"]) >= CHECKED
    assert found["files"] == ["m.onnx"]
    assert (found["source"], found["framework"], found["layers"]) == ("toys:factory", "Toy", 2)
    assert found["verification"]["filters_identical"] is True


def test_quiet(run_command, toy):
    ran = run_command("convert", "toys:instance", "-o", "m.onnx", "-q")
    assert (ran.code, ran.lines) == (0, ["m.onnx"])
    assert ran.err == "on import\n"  # the user's own
    sys.modules.pop("toys")
    assert run_command("convert", "toys:instance", "-o", "m.onnx", "-q", "--json").document["notes"] == [
        "a note of the toy's"
    ]


def test_unverified(run_command, toy):
    toy.harm = "activation"
    saved_toy(Toy(), Path("m.toy"))
    assert "first at 'body/second'" in error_of(run_command("convert", "m.toy", "-o", "m.onnx"))
    assert files_in(".") == ["m.toy", "toys.py"]
    ran = run_command("convert", "toys:instance", "-o", "m.onnx", "--no-verify")
    assert ran.code == 0
    assert "no (--no-verify)" in ran.err
    assert (
        run_command("convert", "toys:instance", "-o", "m.onnx", "--no-verify", "--json").document["verification"]
        is None
    )


def test_preprocessing_is_kept_and_used(run_command, toy, tmp_path):
    found = run_command("convert", "toys:instance", "-o", "m.onnx", "--preprocess", "caffe", "--json").document
    assert found["preprocessing"] == Preprocessing.parse("caffe").as_dict()
    assert run_command("layers", "m.onnx", "--json").document["preprocessing"]["name"] == "caffe"
    Image.fromarray(np.full((7, 9, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    ran = run_command("maps", "m.onnx", "photo.png", "--save", "maps.npz", "-o", "maps")
    assert ran.code == 0
    assert "assumed" not in ran.err
    assert run_command("filters", "m.onnx", "body/first", "-o", "f.png").lines == ["f.png"]
    with np.load("maps.npz") as maps:
        assert maps["body/first"].shape == (1, 4, 5, 7)


# ---------------------------------------------------------------- usage and errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toys:instance"], "Missing option '--output'"),
        (["toys:instance", "-o", "model"], "model does not end in .onnx"),
        (["toys:instance", "-o", "m.onnx", "--preprocess", "auto"], "'auto' is none: name raw"),
        (["toys:instance", "-o", "m.onnx", "--preprocess", "nonsense"], "nonsense"),
        (["toys:instance", "-o", "m.onnx", "--opset", "7"], "opset 7 is not supported; there are 13 to 23"),
        (["toys:instance", "-o", "m.onnx", "--input-shape", "1x3xbig"], "'1x3xbig' is not a shape"),
        (["toys:instance", "-o", "nowhere/m.onnx"], "there is no folder nowhere"),
        (["toys:nothing", "-o", "m.onnx"], "toys:nothing is of type NoneType"),
        (["toys:leaves", "-o", "m.onnx"], "toys:leaves failed: SystemExit"),
        (["gone.keras", "-o", "m.onnx"], "there is no file gone.keras"),
        (
            ["toys:factory", "-o", "m.onnx", "--allow-code"],
            "has no option --allow-code; did you mean --allow-code-execution?",
        ),
    ],
)
def test_errors_are_one_line_and_exit_code_2(run_command, toy, arguments, message):
    ran = run_command("convert", *arguments)
    ran.err = ran.err.replace("on import\n", "").replace("a print of mine\n", "")
    assert message in error_of(ran)
    assert not Path("m.onnx").exists()


def test_code_that_a_file_brings_has_exit_code_3(run_command, toy):
    toy.harm = "code"
    saved_toy(Toy(), Path("m.toy"))
    ran = run_command("convert", "m.toy", "-o", "m.onnx")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "error: the toy would run code: add --allow-code-execution\n"
    assert toy.asked["allow"] is False
    run_command("convert", "m.toy", "-o", "m.onnx", "--allow-code-execution")
    assert toy.asked["allow"] is True


def test_options_reach_the_converter(run_command, toy):
    saved_toy(Toy(), Path("w.h5"))
    run_command(
        "convert", "toys:instance", "-o", "m.onnx", "--weights", "w.h5", "--input-shape", "1x3x7x9", "--opset", "15"
    )
    assert toy.asked == {"weights": Path("w.h5"), "input_shapes": {"": (1, 3, 7, 9)}, "allow": False}
    assert onnx.load("m.onnx").opset_import[0].version == 15


def test_a_bug_keeps_its_traceback(run_command, toy, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(convert_room, "fold", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run_command("convert", "toys:instance", "-o", "m.onnx")


# ---------------------------------------------------------------- processes, with a converter that is installed

INSTALLED = """
    import os, sys, time
    from pathlib import Path
    from toy_framework import Toy, ToyConverter, ToySource

    framework, packages, install = "Toy", (), "toy"

    class Slow(ToySource):
        def run(self, feeds, observe=()):
            Path("running").touch()
            time.sleep(86400)

    def recognises(source):
        return isinstance(source, Path) and source.suffix == ".toy"

    def open(source, **options):
        text = source.read_text()
        os.write(1, b"native code speaks to stdout\\n")
        os.write(2, b"I0000 00:00:1 native.cc:1] native code speaks to stderr\\n")
        os.system("echo a child process speaks")
        print("python speaks to stdout")
        if text == "crash":
            os.abort()
        return Slow(Toy()) if text == "slow" else ToySource(Toy())
"""


@pytest.fixture
def installed(tmp_path):
    """An environment in which a converter for `.toy` files is installed, and the folder to work in."""
    site = tmp_path / "site"
    (site / "toy_converter-1.0.dist-info").mkdir(parents=True)
    (site / "toy_converter.py").write_text(textwrap.dedent(INSTALLED), encoding="utf-8")
    info = site / "toy_converter-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-converter\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[onnxviz.converters]\ntoy = toy_converter\n", encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    for text in ("quick", "slow", "crash"):
        (work / f"{text}.toy").write_text(text, encoding="utf-8")
    return work, {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(TESTS)])}


def test_a_converter_of_others_is_found_once_it_is_installed(installed):
    work, environment = installed
    ran = program("convert", "quick.toy", "-o", "m.onnx", "--json", cwd=work, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout)) == KEYS
    assert "python speaks to stdout" in ran.stderr
    assert "native" not in ran.stdout + ran.stderr
    assert sorted(path.name for path in work.iterdir()) == ["crash.toy", "m.onnx", "quick.toy", "slow.toy"]


def test_a_crash_of_native_code_is_one_line(installed):
    work, environment = installed
    ran = program("convert", "crash.toy", "-o", "m.onnx", cwd=work, env=environment)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[-1].startswith("error: ")
    assert "SIGABRT" in ran.stderr
    assert not (work / "m.onnx").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(installed, number):
    work, environment = installed
    (work / "m.onnx").write_bytes(b"what was there before")
    child = subprocess.Popen(
        [sys.executable, "-c", "from onnxviz.cli import main; main()", "convert", "slow.toy", "-o", "m.onnx"],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + HANG_SECONDS
        while not (work / "running").exists():
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.05)
        assert any(path.name.startswith(".onnxviz-") for path in work.iterdir())
        os.killpg(child.pid, number)
        out, _ = child.communicate(timeout=HANG_SECONDS)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    assert child.returncode == 130
    assert out == b""
    assert (work / "m.onnx").read_bytes() == b"what was there before"
    assert sorted(path.name for path in work.iterdir()) == ["crash.toy", "m.onnx", "quick.toy", "running", "slow.toy"]


# ---------------------------------------------------------------- processes, with Keras


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """`model.keras`: two convolutions, one with its ReLU inside."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = pytest.importorskip("keras")
    pytest.importorskip("tf2onnx")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3), name="photo"),
            layers.Conv2D(6, 3, activation="relu", padding="same", name="block1_conv1"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(4, 3, name="block2_conv1"),
        ],
        name="small",
    )
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def test_the_example_of_the_help_and_what_comes_after(keras_file, tmp_path):
    """The framework's own noise stays away from a user who has set no variable against it."""
    shutil.copy(keras_file, tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_"))}
    ran = program("convert", "model.keras", "-o", "model.onnx", "--preprocess", "signed", cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "model.onnx\n"
    assert "2 layers: weights and biases identical" in ran.stderr
    for noise in ("oneDNN", "WARNING", "absl", "cuda", "TensorRT", "I0000", "tf2onnx:", "Warning"):
        assert noise not in ran.stderr, ran.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "model.keras"] == ["model.onnx"]

    found = json.loads(program("layers", "model.onnx", "--json", cwd=tmp_path).stdout)
    assert [layer["name"] for layer in found["layers"]] == ["block1_conv1", "block2_conv1"]
    assert found["preprocessing"]["name"] == "signed"
    assert found["inputs"][0] == {"name": "photo", "dtype": "float32", "shape": ["batch", 16, 12, 3], "layout": "NHWC"}


def test_a_broken_file_in_a_process(tmp_path):
    pytest.importorskip("keras")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    ran = program("convert", "model.h5", "-o", "m.onnx", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("error: model.h5 cannot be loaded by Keras")
