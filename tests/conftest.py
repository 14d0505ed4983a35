"""Fixtures of several test files. At its top this imports nothing of onnxviz, and of others its dependencies alone."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import examples
import frameworks
import installed
import numpy as np
import onnx
import processor
import pytest
from deadlines import processor_seconds
from PIL import Image
from protos import classifier_proto, one_conv_proto, two_inputs_proto

# What asserts for several files says as much where it fails as a test does.
pytest.register_assert_rewrite(
    "adjoints",
    "command_line",
    "converter_contract",
    "factory_checks",
    "figures",
    "hostile_inputs",
    "hostile_runs",
    "house_source",
    "keras_checks",
    "torch_checks",
    "toy_framework",
)

# What takes half of the time of the tests that need no framework: sweeps over options and over the pages of docs/, the
# largest tables, whole audits, processes.
DEAR = {
    "test_heeding",
    "test_docs",
    "test_demo",
    "test_notebooks",
    "test_site",
    "test_action",
    "test_explanation_table",
    "test_maps_photos",
    "test_maps_run_folders",
    "test_explain_methods",
    "test_many",
    "test_check",
    "test_preprocessing_probe",
    "test_pytest_plugin",
    "test_forks",
    "test_worker",
    "test_advice",
}

_IN_USE = pytest.StashKey[set[str]]()


def pytest_addoption(parser):
    """How many cases of each test are run."""
    parser.addoption("--cases", type=int, metavar="N", help="of each test at most N cases, spread over all that it has")


def pytest_configure(config):
    """Says at once what would fail in a hundred tests, and how much the tests are to try."""
    if reason := installed.missing():
        raise pytest.UsageError(reason)
    examples.thorough = "not slow" not in config.option.markexpr
    if find_spec("hypothesis") is not None:  # the wheel is tested without it
        from hypothesis import HealthCheck, settings

        # A busy machine fails verdicts in milliseconds, and those on the seconds that drawing takes.
        settings.register_profile("onnxviz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("onnxviz")


def without_frameworks(config) -> bool:
    """Whether the tests that need a framework are left out, as `make test-quick` does."""
    return "not framework" in config.option.markexpr


def pytest_ignore_collect(collection_path, config):
    """Modules that need a framework are not even imported where none of their tests runs."""
    if without_frameworks(config) and collection_path.suffix == ".py" and frameworks.module_needs(collection_path):
        return True
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Marks what needs a framework, before -m chooses; and then leaves of each test so many cases as --cases says."""
    for item in items:
        if frameworks.item_needs(item.path, item.originalname):
            item.add_marker("framework")
        if item.path.parent.name == "hostile":
            item.add_marker("hostile")
        if item.path.stem in DEAR or item.get_closest_marker("browser"):
            item.add_marker("dear")
    chosen = yield
    if config.option.cases:
        cases = {}
        for item in items:
            cases.setdefault((item.parent, item.originalname), []).append(item)
        kept = {one for every in cases.values() for one in spread(every, config.option.cases)}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    return chosen


def spread(every: list, most: int) -> list:
    """At most so many of a list, at equal distances, the ends among them."""
    if len(every) <= most:
        return every
    return [every[round(place * (len(every) - 1) / max(most - 1, 1))] for place in range(most)]


def pytest_runtest_setup(item):
    """Skips what needs an execution provider that this onnxruntime does not have."""
    for name in ("CUDA", "OpenVINO"):
        if item.get_closest_marker(name.lower()):
            import onnxruntime

            if f"{name}ExecutionProvider" not in onnxruntime.get_available_providers():
                pytest.skip(f"this onnxruntime does not have {name}")


def pytest_runtest_teardown(item):
    """A test without a framework that imported one all the same is marked wrongly."""
    loaded = frameworks.FRAMEWORKS & set(sys.modules)
    if without_frameworks(item.config) and loaded:
        pytest.fail(f"imports {', '.join(sorted(loaded))} and is not marked `framework`: see tests/frameworks.py")


def pytest_sessionfinish(session):
    """A worker of xdist tells what its libraries use of the processor."""
    if session.testsfailed and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["in_use"] = processor.in_use()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Notes what a worker told."""
    node.config.stash.setdefault(_IN_USE, set()).update(getattr(node, "workeroutput", {}).get("in_use", ()))


def pytest_terminal_summary(terminalreporter, config):
    """Where a test failed, says on which instruction sets."""
    if not terminalreporter.stats.get("failed") and not terminalreporter.stats.get("error"):
        return
    terminalreporter.section("processor features in use")
    for line in sorted(config.stash.get(_IN_USE, None) or processor.in_use()):
        terminalreporter.line(line)


# ---------------------------------------------------------------- models and photos


@pytest.fixture(autouse=True)
def advice_can_be_followed(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Whatever a test provokes: an option that a message names exists in the command or function that was called."""
    from advice import Listener

    listener = Listener(monkeypatch)
    yield listener
    assert not listener.wrong, "; ".join(listener.wrong)


@pytest.fixture(autouse=True)
def shapes_in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Shape inference without a process of its own: starting one costs half a second, and most tests open a model.

    Gives the names of the graphs, as they are inferred. Tests marked `inference_worker` have the process: those that
    are about it, and those whose models may crash what infers.
    """
    if request.node.get_closest_marker("inference_worker"):
        return []
    from onnxviz.model.graph.shapes import Shapes

    graphs = []

    def inferred(self: Shapes) -> tuple[onnx.ModelProto, str]:
        graphs.append(self._model.graph.name)
        return onnx.shape_inference.infer_shapes(self._model, data_prop=True), ""

    once = cached_property(inferred)  # as it is in the class: shapes are asked for many times
    once.__set_name__(Shapes, "_inferred")
    monkeypatch.setattr(Shapes, "_inferred", once)
    return graphs


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """`classifier.onnx` in the test's folder, for images of 16x12, any batch."""
    path = tmp_path / "classifier.onnx"
    onnx.save(classifier_proto(), path)
    return path


@pytest.fixture
def one_conv(tmp_path: Path):
    """A function that writes a one-convolution model and gives its path; arguments as for `one_conv_proto`."""

    def write(shape, **options) -> Path:
        path = tmp_path / "one.onnx"
        onnx.save(one_conv_proto(shape, **options), path)
        return path

    return write


@pytest.fixture
def two_inputs(tmp_path: Path) -> Path:
    """`two.onnx` in the test's folder."""
    path = tmp_path / "two.onnx"
    onnx.save(two_inputs_proto(), path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """The name of a photo of 16x12 in the test's folder."""
    pixels = np.random.default_rng(23).integers(0, 256, (16, 12, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return "photo.png"


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """The name of a folder of three photos: a.png, b.png, c.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, pixels in zip("abc", np.random.default_rng(24).integers(0, 256, (3, 16, 12, 3), np.uint8), strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return "photos"


# ---------------------------------------------------------------- commands


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """A function that runs a command in the test's folder and gives what it did (`command_line.Ran`)."""
    from command_line import Ran

    from onnxviz.cli import run

    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return command


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """The figures that commands save, in order; at least one."""
    from onnxviz import plots

    drawn, save = [], plots.save_figure

    def spy(figure, path, *dpi, **options):
        drawn.append(figure)
        return save(figure, path, *dpi, **options)

    monkeypatch.setattr(plots, "save_figure", spy)
    yield drawn
    assert drawn, "no figure went through save_figure: does another function save them now?"


# ---------------------------------------------------------------- what strangers made


@pytest.fixture
def deadline() -> Iterator[None]:
    """No test hangs: what should take milliseconds gets seconds, of each of two threads."""
    with processor_seconds(40):
        yield


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "room"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_photo(tmp_path: Path) -> Path:
    """A photo of 8x8 beside the current folder of `room`."""
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Shapes are not inferred: starting the worker costs half a second. No process may be started in its place.

    Gives the names of the graphs that would have been.
    """
    from onnxviz.model.graph.shapes import Inference

    graphs = []

    def given_back(inference: Inference, model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
        graphs.append(model.graph.name)
        return model, ""

    def started(inference: Inference) -> None:
        raise AssertionError("a worker was started all the same")

    monkeypatch.setattr(Inference, "infer", given_back)
    monkeypatch.setattr(Inference, "_started", started)
    return graphs


# ---------------------------------------------------------------- conversions


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Makes the toy converter the only one; gives a function that makes it harmful. `asked` is what was looked up."""
    from toy_framework import ToyConverter

    from onnxviz.conversion import sources

    converter = ToyConverter()

    def harm(what: str) -> ToyConverter:
        converter.harm = what
        return converter

    harm.asked = []
    monkeypatch.setattr(sources, "converters", lambda: harm.asked.append("converters") or [converter])
    monkeypatch.setattr(sources, "_loaded", lambda: harm.asked.append("_loaded") or iter(()))
    return harm


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that temporary files are made in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="session")
def keras_models():
    """The module models/keras_models.py."""
    # GPUs are not hidden here: CUDA_VISIBLE_DEVICES would hide them from onnxruntime in the same process too.
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("keras")
    from factories import importable

    return importable("models.keras_models")


@pytest.fixture(scope="session")
def torch_models():
    """The module models/torch_models.py."""
    pytest.importorskip("torch")
    from factories import importable

    return importable("models.torch_models")
