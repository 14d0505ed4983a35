"""`import onnxviz` is light: what is heavy comes with the first use. Also run against an installed wheel.

Nothing but the standard library, pytest and onnxviz is imported here, and no fixture of conftest.py is used.
"""

import json
import subprocess
import sys

import pytest
from deadlines import HANG_SECONDS

import onnxviz

HEAVY = ("numpy", "onnx", "onnxruntime", "matplotlib", "PIL", "rich", "typer", "jinja2", "google.protobuf")


def run(code, *arguments, warnings="default"):
    """What a fresh interpreter prints; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", warnings, "-c", code, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = f"""
import json, sys
def loaded():
    return sorted(name for name in {HEAVY!r} if name in sys.modules)
"""


def test_import_is_light():
    assert json.loads(run(LOADED + "import onnxviz; print(json.dumps(loaded()))", warnings="error")) == []


def test_names_version_and_dir_are_light():
    code = "import onnxviz; dir(onnxviz), onnxviz.__version__, onnxviz.__all__; print(json.dumps(loaded()))"
    assert json.loads(run(LOADED + code)) == []


def test_load_comes_on_first_use_without_what_runs_or_draws():
    code = LOADED + "import onnxviz; onnxviz.load; print(json.dumps(loaded()))"
    assert set(json.loads(run(code))) == {"numpy", "onnx", "google.protobuf"}


def test_every_public_name_is_there():
    code = "import onnxviz\nfor name in onnxviz.__all__: assert getattr(onnxviz, name).__doc__, name\nprint('done')"
    assert run(code) == "done\n"


def test_star_import_gives_the_public_names():
    assert (
        run("import onnxviz\nfrom onnxviz import *\nprint(all(name in globals() for name in onnxviz.__all__))")
        == "True\n"
    )


@pytest.mark.parametrize(
    "name", ["load", "capture", "plot_filters", "plot_maps", "Preprocessing", "FeatureMaps", "grad_support"]
)
def test_the_names_of_the_contract_are_public(name):
    assert name in onnxviz.__all__
    assert name in dir(onnxviz)


def test_errors_are_one_family():
    for name in ("InputError", "ModelError", "ProviderError", "SelectionError", "UnsupportedGradientError"):
        assert issubclass(getattr(onnxviz, name), onnxviz.OnnxvizError)
        assert getattr(onnxviz, name).exit_code == 2


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'onnxviz' has no attribute 'nothing'"):
        onnxviz.nothing  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    code = "import onnxviz, importlib.metadata as m; print(onnxviz.__version__ == m.version('onnxviz'))"
    assert run(code) == "True\n"


COMMAND = LOADED + "from onnxviz.cli import run\ncode = run(sys.argv[1:])\nprint('@' + json.dumps([code, loaded()]))"


def command(*arguments):
    """The exit code and the heavy packages that one command loaded."""
    return json.loads(run(COMMAND, *arguments).rpartition("@")[2])


@pytest.mark.parametrize("arguments", [["--help"], ["maps", "--help"]])
def test_help_is_light(arguments):
    code, heavy = command(*arguments)
    assert code == 0
    assert not set(heavy) & {"numpy", "onnx", "onnxruntime", "matplotlib", "PIL"}


MODEL = """
import onnx, sys
from onnx import TensorProto, helper
value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "conv.weight"], ["y"])], "g",
    [value("x", TensorProto.FLOAT, [1, 1, 4, 4])], [value("y", TensorProto.FLOAT, [1, 1, 2, 2])],
    [helper.make_tensor("conv.weight", TensorProto.FLOAT, [1, 1, 3, 3], [0.0] * 9)],
)
onnx.save(helper.make_model(graph, ir_version=9), sys.argv[1])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("light") / "m.onnx"
    run(MODEL, path)
    return path


@pytest.mark.parametrize("options", [[], ["--all", "--json"]])
def test_listing_layers_neither_runs_nor_draws(model, options):
    code, heavy = command("layers", model, *options)
    assert code == 0
    assert not set(heavy) & {"onnxruntime", "matplotlib", "PIL"}


def test_annotating_neither_runs_nor_draws(model, tmp_path):
    code, heavy = command("annotate", model, "--preprocess", "torch", "-o", tmp_path / "out.onnx")
    assert code == 0
    assert not set(heavy) & {"onnxruntime", "matplotlib"}


def test_drawing_filters_runs_nothing(model, tmp_path):
    code, heavy = command("filters", model, "-o", tmp_path / "f.png")
    assert code == 0
    assert "onnxruntime" not in heavy


def test_saving_filters_draws_nothing(model, tmp_path):
    code, heavy = command("filters", model, "--save", tmp_path / "f.npz")
    assert code == 0
    assert not set(heavy) & {"onnxruntime", "matplotlib"}
