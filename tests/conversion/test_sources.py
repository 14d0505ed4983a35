"""What can be converted, and who converts it: code, files, objects; converters and frameworks."""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import textwrap
from types import SimpleNamespace

import pytest
from toy_framework import MODULE, Toy, ToyConverter, saved_toy

import onnxviz
from onnxviz import ConversionError
from onnxviz.conversion import sources
from onnxviz.conversion.convert import conversion

# ---------------------------------------------------------------- what can be converted


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The folder of `toys.py`, as the user's folder."""
    (tmp_path / "toys.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("value = 1 / 0\n", encoding="utf-8")
    (tmp_path / "needy.py").write_text("import surely_not_installed\n", encoding="utf-8")
    (tmp_path / "leaving.py").write_text("raise SystemExit(4)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry not in ("", str(tmp_path))])
    yield tmp_path
    for name in ("toys", "broken", "needy", "leaving"):
        __import__("sys").modules.pop(name, None)


@pytest.mark.parametrize(
    "source",
    [
        "toys:factory",
        "toys:instance",
        "toys:factory()",
        "toys:Nested.inner",
        "toys:Nested.build",
        "toys:Nested.build()",
    ],
)
def test_code_that_makes_a_model(toy, code, source):
    toy("")
    done = conversion(source)
    assert done.source == source
    assert len(done.model.layers) == 2


@pytest.mark.parametrize("where", ["", "./", "{here}/", "sub/", "sub/../"])
@pytest.mark.parametrize("what", ["factory", "Nested.build()"])
def test_code_in_a_file_is_named_by_its_path(toy, code, where, what):
    toy("")
    folder = code / "sub" if where == "sub/" else code
    (code / "sub").mkdir()
    if where == "sub/":
        (code / "toys.py").rename(folder / "toys.py")
    (folder / "beside.py").write_text("value = 1\n", encoding="utf-8")
    (folder / "toys.py").write_text("import beside\n" + MODULE, encoding="utf-8")
    source = f"{where.format(here=code)}toys.py:{what}"
    try:
        done = conversion(source)
    finally:
        __import__("sys").modules.pop("beside", None)
    assert done.source == source
    assert len(done.model.layers) == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere/toys.py:factory", "there is no file nowhere/toys.py$"),
        ("my-toys.py:factory", "my-toys.py cannot be imported: 'my-toys' is no name of a module"),
        ("json.py:factory", "another module is called 'json' already: rename json.py"),
        ("toys.py:factroy", "toys has no 'factroy'; did you mean factory?"),
        ("toys.py", r"toys.py is code: name what gives the model in it, as toys.py:\w+ or toys.py:\w+"),
    ],
)
def test_code_in_a_file_that_cannot_be_had(toy, code, source, said):
    toy("")
    for name in ("my-toys.py", "json.py"):
        (code / name).write_text("", encoding="utf-8")
    with pytest.raises(ConversionError, match=said):
        conversion(source)


def test_a_call_has_literal_arguments(toy, code):
    converter = toy("")
    onnxviz.convert("toys:factory(3, 'text', (1, None), size=-2.5, flags={'a': [True]})", verify=False)
    assert converter.opened.model.given == ((3, "text", (1, None)), {"size": -2.5, "flags": {"a": [True]}})


@pytest.mark.parametrize(
    "call",
    [
        "(open('x'))",
        "(__import__('os'))",
        "(x)",
        "(1 + y)",
        "(**{'a': 1})",
        "(*[1])",
        "(f'{1}')",
        "(lambda: 0)",
        "(]",
        "()()",
    ],
)
def test_nothing_but_literals_is_evaluated(toy, code, call):
    toy("")
    with pytest.raises(ConversionError, match=r"are not literals; write numbers, text|there is no file"):
        onnxviz.convert(f"toys:factory{call}")
    module = __import__("sys").modules.get("toys")
    assert module is None or module.count == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("toys:missing", r"toys has no 'missing'; it has factory, Nested, fails, leaves, nothing"),
        ("toys:Nested.missing", r"toys has no 'Nested.missing'"),
        ("toys:number", r"toys:number is a int, neither a model nor a callable"),
        ("toys:instance()", r"toys:instance is a Toy, neither a model nor a callable|failed"),
        ("toys:fails", r"toys:fails failed: ValueError: the weights are$"),
        ("toys:leaves", r"toys:leaves failed: SystemExit"),
        ("toys:nothing", r"toys:nothing is of type NoneType, which no converter knows; there are converters for Toy"),
        ("broken:x", r"importing broken failed: ZeroDivisionError: division by zero"),
        ("leaving:x", r"importing leaving failed: SystemExit"),
        ("needy:x", r"needy needs 'surely_not_installed', which is not installed"),
        ("surely_not_installed:x", r"there is no module 'surely_not_installed', here \(.*\) or installed"),
        ("surely_not.installed:x", r"there is no module 'surely_not.installed'"),
        ("nothing-here.keras", r"there is no file nothing-here.keras; code that makes a model is named module:factory"),
        ("toys", r"there is no file toys;"),
        ("toys:", r"there is no file toys:;"),
        ("", r"\. is not a kind of file that a converter knows"),
        ("a\x1b[31mb", r"there is no file a\ufffd\[31mb"),
        ("notes.txt", r"notes.txt is not a kind of file that a converter knows \(Toy\): give"),
        ("folder", r"folder is not a kind of file that a converter knows"),
        ("model.onnx", r"model.onnx is an ONNX model already: onnxviz layers, filters and maps read it"),
    ],
)
def test_a_source_that_is_none(toy, code, source, message):
    toy("")
    (code / "notes.txt").write_text("hello", encoding="utf-8")
    (code / "model.onnx").write_bytes(b"")
    (code / "folder").mkdir()
    with pytest.raises(ConversionError, match=message):
        onnxviz.convert(source)


@pytest.mark.parametrize("source", [None, 5, b"bytes", [], object()])
def test_an_object_that_is_no_model(toy, source):
    toy("")
    with pytest.raises(ConversionError, match=f"is of type {type(source).__name__}, which no converter knows"):
        onnxviz.convert(source)


def test_a_file_goes_to_the_converter_that_knows_it(toy, tmp_path):
    toy("")
    path = saved_toy(Toy(), tmp_path / "a.toy")
    for source in (path, str(path)):
        assert conversion(source, verify=False).source == str(path)


# ---------------------------------------------------------------- converters and frameworks


def test_the_converters_of_the_package_are_registered():
    entries = {entry.name: entry.value for entry in importlib.metadata.entry_points(group="onnxviz.converters")}
    assert entries.items() >= {"keras": "onnxviz_converters.keras", "pytorch": "onnxviz_converters.pytorch"}.items()
    found = {one.framework: one for one in sources.converters()}
    assert set(found) >= {"Keras", "PyTorch"}
    assert found["Keras"].install == "onnxviz[keras]"
    assert found["PyTorch"].install == "onnxviz[pytorch]"


@pytest.fixture
def registered(monkeypatch, tmp_path):
    """Registers converters under the group's name: modules, from source code."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def register(**modules):
        entries = []
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
            names.append(name)
            entries.append(importlib.metadata.EntryPoint(name.removeprefix("c_"), name, "onnxviz.converters"))
        monkeypatch.setattr(sources, "entry_points", lambda group: entries if group == "onnxviz.converters" else [])

    yield register
    for name in names:
        __import__("sys").modules.pop(name, None)


THIRD = """
    from pathlib import Path
    from toy_framework import Toy, ToySource
    framework, packages, install = "Third", (), "third-converter"

    def recognises(source):
        return isinstance(source, Path) and source.suffix == ".third"

    def open(source, *, weights=None, input_shapes=None, allow_code_execution=False):
        return ToySource(Toy())
"""


def test_a_converter_of_others_is_found(registered, tmp_path):
    registered(c_third=THIRD)
    path = tmp_path / "model.third"
    path.touch()
    assert len(onnxviz.convert(path).layers) == 2


def test_a_converter_that_fails_does_not_hide_the_others(registered, tmp_path):
    registered(c_broken="raise RuntimeError('my cat\\nate it')", c_empty="", c_third=THIRD)
    (tmp_path / "model.third").touch()
    assert len(onnxviz.convert(tmp_path / "model.third").layers) == 2
    (tmp_path / "model.fourth").touch()
    with pytest.raises(ConversionError) as caught:
        onnxviz.convert(tmp_path / "model.fourth")
    message = str(caught.value)
    assert "a converter knows (Third)" in message
    assert "the converter 'broken' is broken: RuntimeError: my cat" in message
    assert "the converter 'empty' is broken: it lacks what a converter has" in message
    with pytest.raises(ConversionError, match="converter 'broken' is broken"):
        onnxviz.convert(5)


def test_without_a_converter_that_is_said(registered, tmp_path):
    registered()
    with pytest.raises(ConversionError, match=r"no converter knows; there are converters for none is installed"):
        onnxviz.convert(5)


def test_the_first_of_two_converters_that_know_a_source_is_taken(monkeypatch):
    first, second = ToyConverter(), ToyConverter("opening")
    monkeypatch.setattr(sources, "converters", lambda: [first, second])
    assert len(onnxviz.convert(Toy()).layers) == 2
    monkeypatch.setattr(sources, "converters", lambda: [second, first])
    with pytest.raises(ConversionError, match="the toy is broken"):
        onnxviz.convert(Toy())


def test_the_second_of_two_is_taken_where_the_first_does_not_know_the_source(monkeypatch):
    stranger = ToyConverter()
    monkeypatch.setattr(stranger, "recognises", lambda source: False)
    monkeypatch.setattr(sources, "converters", lambda: [stranger, ToyConverter()])
    assert len(onnxviz.convert(Toy()).layers) == 2


def without(monkeypatch, *missing):
    """As if these packages were not installed, and other frameworks were."""
    find = importlib.util.find_spec
    there = {"keras", "tensorflow", "tf2onnx", "torch", "onnxscript"} - {*missing}  # installed here or not

    def spec(name, *rest):
        if name in missing:
            return None
        return importlib.machinery.ModuleSpec(name, None) if name in there else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", spec)


@pytest.mark.parametrize(
    ("file", "missing", "message"),
    [
        ("model.keras", ["keras"], r"converting from Keras needs keras: pip install 'onnxviz\[keras\]'"),
        ("model.h5", ["tf2onnx", "tensorflow"], r"needs tensorflow, tf2onnx: pip install 'onnxviz\[keras\]'"),
        ("model.pt2", ["torch"], r"converting from PyTorch needs torch.*: pip install 'onnxviz\[pytorch\]'"),
    ],
)
def test_a_missing_framework_is_named_with_what_to_install(monkeypatch, tmp_path, file, missing, message):
    without(monkeypatch, *missing)
    (tmp_path / file).touch()
    with pytest.raises(ConversionError, match=message):
        onnxviz.convert(tmp_path / file)


@pytest.mark.parametrize(("source", "extra"), [("keras.applications:VGG16", "keras"), ("torch.nn:Identity", "pytorch")])
def test_a_missing_framework_behind_code_is_named_too(monkeypatch, source, extra):
    package = source.partition(".")[0]

    def absent(name):
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    monkeypatch.setattr(sources.importlib, "import_module", absent)
    with pytest.raises(ConversionError, match=rf"needs {package}: pip install 'onnxviz\[{extra}\]'"):
        onnxviz.convert(source)


def test_the_toys_of_this_file_are_what_a_converter_is():
    from onnxviz.conversion.converter import Converter

    assert isinstance(ToyConverter(), Converter)
    assert not isinstance(SimpleNamespace(framework="x"), Converter)
