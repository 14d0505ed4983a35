"""The arrows of the house: who may import what. Read from the source, nothing is imported here."""

import ast
import re
import sys
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "onnxviz"
CONVERTERS = PACKAGE.parent / "converters" / "onnxviz_converters"
FRAMEWORKS = ("tensorflow", "keras", "torch", "tf2onnx", "onnxscript", "jax")
# `capture`, `gradients.engine`; a package's own name means its __init__.
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
ROOMS = sorted(FILES)
DRAWING = [room for room in ROOMS if room.partition(".")[0] == "plots"]
COMMAND_LINE = [room for room in ROOMS if room.partition(".")[0] == "cli"]
# Each of these files is a command; the others are what commands share.
COMMANDS = sorted({*COMMAND_LINE} - {"cli", "cli.options", "cli.program", "cli.progress", "cli.terminal"})


class Import(NamedTuple):
    """One import: the module's full name, its line, and whether it runs when its own module is imported."""

    module: str
    line: int
    top: bool


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def room_of(module):
    """The room that the module `onnxviz.…` is, "" if it is none."""
    package, _, room = module.partition(".")
    return room if package == "onnxviz" and room in FILES else ""


def imports_of(source, *, top=True):
    """Every import in the source but those for type checkers."""

    def visit(node, top):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            # `from onnxviz import files` imports a room, `… import load` a name; so in a package.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in dict.fromkeys(name if room_of(name) else node.module for name in names):
                yield Import(name, node.lineno, top)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            named = node.args[:1] if node.args and isinstance(node.args[0], ast.Constant) else []
            yield from (Import(str(name.value), node.lineno, top) for name in named)
        if is_type_checking(node):
            for child in node.orelse:
                yield from visit(child, top)
            return
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, top and not inside)

    return list(visit(ast.parse(source), top))


def literal_code(source):
    """Long strings in the source that are programs, such as that of a worker process."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\nimport " in node.value:
            yield node.value


SOURCES = {room: path.read_text(encoding="utf-8") for room, path in FILES.items()}
IMPORTS = {room: imports_of(source) for room, source in SOURCES.items()}


CONVERTER_IMPORTS = {path.stem: imports_of(path.read_text(encoding="utf-8")) for path in CONVERTERS.glob("*.py")}


def importers(package, *, top_only=False):
    """The rooms that import `package`."""
    return {
        room
        for room, found in IMPORTS.items()
        for one in found
        if one.module.partition(".")[0] == package and (one.top or not top_only)
    }


def rooms_of(room, *, top_only=True):
    """The rooms of onnxviz that `room` imports."""
    names = (one.module for one in IMPORTS[room] if one.top or not top_only)
    return {room_of(name) or "__init__" for name in names if name.partition(".")[0] == "onnxviz"}


def everything_below(room, *, top_only=True):
    """The rooms that come along when `room` is imported, itself left out."""
    found, waiting = set(), [room]
    while waiting:
        for other in rooms_of(waiting.pop(), top_only=top_only) - found:
            found.add(other)
            waiting.append(other)
    return found - {room}


def test_the_reader_of_imports_sees_them_all():
    source = """
import a.b, c
from d import e
from onnxviz import files, load
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import hidden
else:
    import shown
try:
    import tried
except ImportError:
    import fallback
class Inside:
    import body
def late():
    import lazy
    def later():
        from lazier import x
importlib.import_module("dynamic")
"""
    found = {one.module: one.top for one in imports_of(source)}
    lazy = {"lazy", "lazier"}
    early = {"a.b", "c", "d", "typing", "onnxviz", "onnxviz.files", "shown", "tried", "fallback", "body", "dynamic"}
    assert {module for module, top in found.items() if top} == early
    assert {module for module, top in found.items() if not top} == lazy


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("onnxruntime", {"runtime"}),
        ("matplotlib", set(DRAWING)),
        ("PIL", {"images"}),
        ("rich", {"cli.terminal", "cli.progress", "tables"}),
        ("typer", set(COMMAND_LINE)),
        *((framework, set()) for framework in (*FRAMEWORKS, "cv2", "click")),
        *((package, set()) for package in ("scipy", "skimage", "pandas", "tqdm", "requests", "setuptools", "psutil")),
        ("onnxviz_converters", set()),
    ],
)
def test_a_library_has_its_room(package, allowed):
    assert importers(package) <= allowed


def test_pyplot_and_its_global_state_stay_out():
    assert not [
        (room, one) for room, found in IMPORTS.items() for one in found if one.module.startswith("matplotlib.pyplot")
    ]


def test_only_declared_dependencies_are_imported():
    """Core dependencies of pyproject.toml, and protobuf, which onnx brings."""
    allowed = {"numpy", "onnx", "onnxruntime", "matplotlib", "PIL", "typer", "rich", "google", "onnxviz"}
    used = {one.module.partition(".")[0] for found in IMPORTS.values() for one in found}
    assert used - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize("package", ["matplotlib", "onnx", "onnxruntime", "numpy", "PIL"])
def test_the_command_line_loads_what_is_heavy_only_when_it_is_used(package):
    early = importers(package, top_only=True)
    assert not early & {*COMMAND_LINE, *everything_below("cli")}


def test_bars_are_loaded_when_something_takes_long():
    assert "cli.progress" not in everything_below("cli")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_file(command):
    """It takes what commands share, nothing of another command; the package names it and knows no more of it."""
    shared = {"cli.options", "cli.program", "cli.progress", "cli.terminal"}
    assert {room for room in rooms_of(command, top_only=False) if room in COMMAND_LINE} <= shared
    users = {room for room in ROOMS if command in rooms_of(room, top_only=False)}
    assert users == {"cli"}
    for room in shared:
        assert not {other for other in everything_below(room, top_only=False) if other in COMMANDS}


def test_the_mosaic_knows_numbers_only():
    used = {one.module for one in IMPORTS["mosaic"]}
    outside = {module for module in used if module.partition(".")[0] not in sys.stdlib_module_names}
    assert {module.partition(".")[0] for module in outside} <= {"numpy", "onnxviz"}
    assert rooms_of("mosaic", top_only=False) <= {"errors", "text"}


def test_errors_import_nothing():
    assert IMPORTS["errors"] == []


def test_the_package_itself_imports_the_standard_library_only():
    assert {one.module.partition(".")[0] for one in IMPORTS["__init__"]} <= set(sys.stdlib_module_names)


def test_programs_in_strings_import_no_more_than_onnx():
    """What a worker process runs is part of the house too."""
    found = {
        (room, one.module)
        for room, source in SOURCES.items()
        for program in literal_code(source)
        for one in imports_of(re.sub(r"\{\w+!r\}", "[]", program))
    }
    assert found == {("shapes", name) for name in ("sys", "importlib.util", "onnx.shape_inference")}


def test_there_is_no_cycle():
    graph = {room: rooms_of(room) - {"__init__"} for room in ROOMS}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(ROOMS)


def test_there_is_no_cycle_through_late_imports_either():
    graph = {room: rooms_of(room, top_only=False) - {"__init__"} for room in ROOMS}
    TopologicalSorter(graph).prepare()


# From the ground up: each room may import those before it. (design.md, "Arrows go one way".)
ORDER = [
    "errors",
    "scopes",
    "skeleton",
    "validate",
    "weights",
    "layers",
    "model",
    "scores",
    "graph",
    "runtime",
    "gradients",
    "capture",
    "explain",
    "album",
    "cli",
]


@pytest.mark.parametrize(("lower", "upper"), list(pairwise(ORDER)))
def test_arrows_go_one_way(lower, upper):
    above = ORDER[ORDER.index(upper) :]
    assert not everything_below(lower, top_only=False) & set(above)


# What rewrites a graph while it is converted, and what compares the result.
CONVERTING = ["scopes", "known", "fold", "convert", "cli"]


@pytest.mark.parametrize(("lower", "upper"), list(pairwise(CONVERTING)))
def test_converting_has_its_own_ladder(lower, upper):
    above = CONVERTING[CONVERTING.index(upper) :]
    assert not everything_below(lower, top_only=False) & set(above)


def test_only_the_command_line_converts():
    """Looking at a model takes nothing of what makes one, and rewriting knows no source and no runtime."""
    making = {"convert", "fold", "fuse", "known", "layout", "sizes", "source", "verify"}
    users = {room for room in set(ROOMS) - making for other in rooms_of(room, top_only=False) if other in making}
    assert users <= {"cli.convert"}  # and the package, which names `convert` and loads it on first use
    for room in ("fold", "fuse", "known", "layout", "sizes"):
        assert not everything_below(room, top_only=False) & {"source", "verify", "runtime", "model", "convert"}
    assert "convert" not in everything_below("verify", top_only=False)
    assert not everything_below("source", top_only=False) & making


@pytest.mark.parametrize("room", ["convert", "fold", "verify"])
def test_the_command_line_loads_converting_late(room):
    assert room not in everything_below("cli")


@pytest.mark.parametrize("module", sorted(CONVERTER_IMPORTS))
def test_a_converter_reaches_few_rooms(module):
    found = {one.module for one in CONVERTER_IMPORTS[module] if one.module.split(".")[0] == "onnxviz"}
    rooms = ("errors", "fresh_names", "images", "model", "names", "source", "text")
    assert found <= {f"onnxviz.{room}" for room in rooms}


@pytest.mark.parametrize("entry", ["keras", "pytorch"])
def test_a_converter_imports_its_framework_when_it_is_used(entry):
    """Whoever asks which converters there are imports these modules, and must not wait for a framework."""
    found, waiting = set(), [entry]
    while waiting:
        for one in CONVERTER_IMPORTS[waiting.pop()]:
            package, _, module = one.module.partition(".")
            if one.top and package == "onnxviz_converters" and module and one.module not in found:
                waiting.append(module)
            if one.top:
                found.add(one.module)
    assert {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) <= {
        "numpy", "onnx", "onnxviz", "onnxviz_converters",
    }  # fmt: skip


@pytest.mark.parametrize(("family", "other"), [("keras", "torch"), ("torch", "keras"), ("torch", "tensorflow")])
def test_one_framework_knows_nothing_of_the_other(family, other):
    modules = [module for module in CONVERTER_IMPORTS if module.startswith(family)]
    assert modules
    reached = {one.module for module in modules for one in CONVERTER_IMPORTS[module]}
    assert not {name for name in reached if name.removeprefix("onnxviz_converters.").startswith(other)}


def test_there_is_no_cycle_among_the_converters():
    graph = {
        module: {one.module.partition(".")[2] for one in found if one.module.startswith("onnxviz_converters.")}
        for module, found in CONVERTER_IMPORTS.items()
    }
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", sorted({*ROOMS} - {*COMMAND_LINE}))
def test_nothing_imports_the_command_line(room):
    assert not rooms_of(room, top_only=False) & {*COMMAND_LINE}


@pytest.mark.parametrize("room", ["model", *sorted(everything_below("model", top_only=False))])
def test_opening_a_model_needs_no_runtime_no_capture_and_no_pictures(room):
    heavy = {
        "runtime",
        "gradients",
        "capture",
        "graph",
        "album",
        "images",
        "inputs",
        "tables",
        "featuremaps",
        *DRAWING,
        *COMMAND_LINE,
    }
    assert not rooms_of(room, top_only=False) & heavy


RULES = [room for room in ROOMS if room.startswith("gradients.rules.")]


def test_the_engine_of_gradients_knows_no_operator():
    """It asks the table; the rules fill the table and know nothing of the engine."""
    for room in ("gradients.engine", "gradients.step", "gradients.builder", "gradients.table"):
        assert not {other for other in everything_below(room) if other.startswith("gradients.rules")}
    for room in RULES:
        assert "gradients.engine" not in everything_below(room)
        assert rooms_of(room) <= {
            "gradients.builder",
            "gradients.corrections",
            "gradients.rules.windows",
            "gradients.step",
            "gradients.table",
            "runtime",
            "weights",
            "windows",
        }


@pytest.mark.parametrize("room", [*DRAWING, "mosaic"])
def test_drawing_knows_nothing_of_models(room):
    assert everything_below(room, top_only=False) <= {"errors", "files", "mosaic", "text", *DRAWING}


def test_plots_are_asked_for_at_the_door():
    """Who draws imports `onnxviz.plots`; how its files share the work is their own matter."""
    inside = {*DRAWING} - {"plots"}
    assert not [room for room in ROOMS if room not in DRAWING and rooms_of(room, top_only=False) & inside]


@pytest.mark.parametrize("room", ROOMS)
def test_what_begins_with_an_underscore_stays_in_its_file(room):
    names = [
        alias.name
        for node in ast.walk(ast.parse(SOURCES[room]))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "onnxviz"
        for alias in node.names
    ]
    assert not [name for name in names if name.startswith("_") and not name.startswith("__")]


def test_the_supervisor_is_light():
    """It forks before anything heavy is imported."""
    assert everything_below("supervise", top_only=False) <= {"__init__", "errors", "files"}
    for room in ("supervise", "files", "errors"):
        early = {one.module.partition(".")[0] for one in IMPORTS[room] if one.top}
        assert early - set(sys.stdlib_module_names) <= {"onnxviz"}


def test_nothing_prints_but_the_command_line():
    """`supervise` speaks for it where it died."""
    printing = {
        room
        for room, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    }
    assert printing <= {"cli.terminal", "supervise"}


@pytest.mark.parametrize("room", ["utils", "util", "helpers", "core", "base", "common", "misc"])
def test_no_room_without_a_noun(room):
    assert room not in ROOMS
