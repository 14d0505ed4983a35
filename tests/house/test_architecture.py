"""The rules of the house: which folder may import which, where files may lie. Read from the source alone."""

import ast
import re
import sys
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "onnxviz"
CONVERTERS = ROOT / "converters" / "onnxviz_converters"
FRAMEWORKS = ("tensorflow", "keras", "torch", "tf2onnx", "onnxscript", "jax")

# What each folder (or file at the top) may import; errors, messages and files are open to all. This table is the
# architecture: a new arrow is a decision, made here.
GROUND = {"errors", "messages", "files"}
MAY_IMPORT = {
    "errors": set(),
    "messages": set(),
    "files": set(),
    "worker": set(),
    "plots": set(),
    "model": set(),
    "passes": {"model"},
    "inputs": {"model", "runtime"},  # provenance names the runtime's version
    "runtime": {"model", "passes"},
    "gradients": {"model", "passes", "runtime"},
    "conversion": {"model", "passes", "inputs", "runtime"},
    "maps": {"model", "passes", "inputs", "runtime"},
    "explanations": {"model", "inputs", "runtime", "gradients"},
    "maximization": {"model", "inputs", "runtime", "gradients"},
    "output": {"model", "plots", "inputs", "maps", "explanations", "maximization"},
}
# The vocabulary of graphs is for those that read, rewrite or run graphs; the families of operators and the type of
# shapes are everybody's.
GRAPH_READERS = ("model.", "passes.", "runtime.", "gradients.", "conversion.", "maps.")
OPEN_TO_ALL = {"model.graph.operators", "model.graph.shapes", "model.graph.symbolic_sizes"}
AT_THE_TOP = {
    "__init__.py",
    "__main__.py",
    "errors.py",
    "messages.py",
    "files.py",
    "worker.py",
    "py.typed",
    "README.md",
}
# Folders whose files may have the name of another's: a noun is drawn, written and asked for, an operator has a rule.
SHARING_NAMES = ("plots", "output", "cli", "gradients.rules")
MOST_PARAMETERS = 7
MOST_LINES = 400


class Import(NamedTuple):
    """One import: the module's full name, its line, and whether it runs when its own module is imported."""

    module: str
    line: int
    top: bool


def module_name(path):
    """`model.graph.scopes`; a folder's own name means its __init__, "" the package's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
COMMAND_LINE = [name for name in FILES if name.partition(".")[0] == "cli"]
SHARED_BY_COMMANDS = {"cli.options", "cli.program", "cli.progress", "cli.tables", "cli.terminal"}
# Each of these files is a command; the others are what commands share.
COMMANDS = sorted({*COMMAND_LINE} - {"cli"} - SHARED_BY_COMMANDS)


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def module_of(name):
    """The module of onnxviz that `onnxviz.…` is, None if it is none."""
    package, _, module = name.partition(".")
    return module if package == "onnxviz" and module in FILES else None


def imports_of(tree, *, top=True):
    """Every import; those for type checkers do not run when the module is imported."""

    def visit(node, top):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            # `from onnxviz import files` imports a module, `… import load` a name; so in a package.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in dict.fromkeys(name if module_of(name) else node.module for name in names):
                yield Import(name, node.lineno, top)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            named = node.args[:1] if node.args and isinstance(node.args[0], ast.Constant) else []
            yield from (Import(str(name.value), node.lineno, top) for name in named)
        late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(node)
        skipped = node.orelse if is_type_checking(node) else []
        for child in ast.iter_child_nodes(node):
            yield from visit(child, top and (not late or child in skipped))

    return list(visit(tree, top))


IMPORTS = {name: imports_of(tree) for name, tree in TREES.items()}
CONVERTER_IMPORTS = {path.stem: imports_of(ast.parse(path.read_text("utf-8"))) for path in CONVERTERS.glob("*.py")}


def importers(package, *, top_only=False):
    """The modules that import `package`."""
    return {
        name
        for name, found in IMPORTS.items()
        for one in found
        if one.module.partition(".")[0] == package and (one.top or not top_only)
    }


def arrows(name, *, top_only=False):
    """The modules of onnxviz that one of them imports."""
    found = {module_of(one.module) or "" for one in IMPORTS[name] if one.module.partition(".")[0] == "onnxviz"
             and (one.top or not top_only)}  # fmt: skip
    return found - {name}


def everything_below(name, *, top_only=True):
    """The modules that come along when one is imported, itself left out."""
    found, waiting = set(), [name]
    while waiting:
        for other in arrows(waiting.pop(), top_only=top_only) - found:
            found.add(other)
            waiting.append(other)
    return found - {name}


def folder(name):
    return name.partition(".")[0]


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
    found = {one.module: one.top for one in imports_of(ast.parse(source))}
    late = {"lazy", "lazier", "hidden"}
    early = {"a.b", "c", "d", "typing", "onnxviz", "onnxviz.files", "shown", "tried", "fallback", "body", "dynamic"}
    assert {module for module, top in found.items() if top} == early
    assert {module for module, top in found.items() if not top} == late


def test_folders_import_what_the_table_allows():
    wrong = [
        f"{name} imports {other}: MAY_IMPORT gives {folder(name)}/ no arrow to {folder(other)}/"
        for name in FILES
        if folder(name) in MAY_IMPORT
        for other in arrows(name)
        if folder(other) not in {folder(name)} | GROUND | MAY_IMPORT[folder(name)]
    ]
    assert not wrong, "move the code, or decide on a new arrow:\n" + "\n".join(wrong)


def test_every_folder_is_in_the_table():
    assert {folder(name) for name in FILES} == {*MAY_IMPORT, "cli", "__main__", ""}
    used = {(folder(name), folder(other)) for name in FILES for other in arrows(name)}
    stale = {(name, other) for name, others in MAY_IMPORT.items() for other in others if (name, other) not in used}
    assert not stale, f"arrows in MAY_IMPORT that nothing uses: {stale}"


def test_the_table_has_no_circle():
    TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError


def test_no_circle_of_imports_not_even_late_or_for_types():
    graph = {name: arrows(name) - {""} for name in FILES if name}
    TopologicalSorter(graph).prepare()


def test_the_vocabulary_of_graphs_is_for_those_that_work_on_graphs():
    wrong = [
        f"{name} imports {other}; ask model/, passes/ or gradients/ instead"
        for name in FILES
        if not name.startswith(GRAPH_READERS)
        for other in arrows(name)
        if other.startswith("model.graph.") and other not in OPEN_TO_ALL
    ]
    assert not wrong, "\n".join(wrong)


def test_at_the_top_lie_the_package_and_its_ground_floor():
    there = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert there <= AT_THE_TOP, f"{there - AT_THE_TOP}: a file belongs into the folder of its noun"


def test_folders_and_floors_are_few():
    folders = {path.parent for path in FILES.values()}
    assert len(folders) <= 22
    floors = {}
    for name in TopologicalSorter(MAY_IMPORT).static_order():
        floors[name] = 1 + max((floors[other] for other in MAY_IMPORT[name]), default=1 if name not in GROUND else 0)
    assert max(floors.values()) + 1 <= 10  # the command line is the last


def test_a_file_name_occurs_once():
    """A reader who knows the name of a thing finds one file."""
    places = defaultdict(list)
    for name in FILES:
        where, _, noun = name.rpartition(".")
        if noun and FILES[name].name != "__init__.py" and where not in SHARING_NAMES:
            places[noun].append(name)
    twice = {noun: names for noun, names in places.items() if len(names) > 1}
    assert not twice, f"rename one of each: {twice}"


def test_a_class_name_occurs_once():
    names = defaultdict(list)
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names[node.name].append(name)
    twice = {noun: places for noun, places in names.items() if len(places) > 1}
    assert not twice, f"one name, one thing: {twice}"


def public_names():
    assignment = next(
        node
        for node in TREES[""].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    )  # fmt: skip
    return set(ast.literal_eval(assignment.value))


def functions():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_below_the_public_verbs_parameters_are_few():
    verbs = public_names()  # and `conversion`, which is `convert` with its report
    many = []
    for name, node in functions():
        count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
        count -= bool(node.args.args) and node.args.args[0].arg in ("self", "cls")
        if count > MOST_PARAMETERS and node.name not in verbs | {"conversion"} and name not in COMMAND_LINE:
            many.append(f"{name}.{node.name} has {count}")
    assert not many, f"group what belongs together in a frozen dataclass: {many}"


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_says_what_it_is(name):
    """By the field's term: a noun, not a riddle that begins with What, Where or How."""
    if FILES[name].stat().st_size == 0:
        return
    first = (ast.get_docstring(TREES[name]) or "").partition("\n")[0]
    assert first, "the module has no docstring"
    riddles = ("What", "Where", "Who", "How", "Which", "Whether", "When", "Why")
    assert first.split()[0].strip(",:'") not in riddles, f"'{first}': name the thing"


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("onnxruntime", {"runtime.session"}),
        ("matplotlib", {name for name in FILES if folder(name) == "plots"}),
        ("PIL", {"inputs.images"}),
        ("rich", {"cli.terminal", "cli.progress", "cli.tables"}),
        ("typer", set(COMMAND_LINE)),
        *((framework, set()) for framework in (*FRAMEWORKS, "cv2", "click")),
        *((package, set()) for package in ("scipy", "skimage", "pandas", "tqdm", "requests", "setuptools", "psutil")),
        ("onnxviz_converters", set()),
    ],
)
def test_a_library_has_its_place(package, allowed):
    assert importers(package) <= allowed


def test_pyplot_and_its_global_state_stay_out():
    assert not [
        (name, one) for name, found in IMPORTS.items() for one in found if one.module.startswith("matplotlib.pyplot")
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


@pytest.mark.parametrize("module", ["cli.progress", "conversion.convert", "passes.fold_weights", "conversion.verify"])
def test_the_command_line_loads_late(module):
    assert module not in everything_below("cli")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_file(command):
    """It takes what commands share, nothing of another command; the package names it and knows no more of it."""
    assert {name for name in arrows(command) if name in COMMAND_LINE} <= SHARED_BY_COMMANDS
    assert {name for name in FILES if command in arrows(name)} == {"cli"}
    for shared in SHARED_BY_COMMANDS:
        assert not {other for other in everything_below(shared, top_only=False) if other in COMMANDS}


def test_errors_import_nothing():
    assert IMPORTS["errors"] == []


def test_the_package_itself_imports_the_standard_library_only():
    early = {one.module.partition(".")[0] for one in IMPORTS[""] if one.top}
    assert early <= set(sys.stdlib_module_names)


def test_the_mosaic_knows_numbers_only():
    outside = {one.module.partition(".")[0] for one in IMPORTS["plots.mosaic"]} - set(sys.stdlib_module_names)
    assert outside <= {"numpy", "onnxviz"}
    assert arrows("plots.mosaic") <= {"errors", "messages"}


def literal_code(tree):
    """Long strings in the source that are programs, such as that of a worker process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\nimport " in node.value:
            yield node.value


def test_programs_in_strings_import_no_more_than_onnx():
    """What a worker process runs is part of the house too."""
    found = {
        (name, one.module)
        for name, tree in TREES.items()
        for program in literal_code(tree)
        for one in imports_of(ast.parse(re.sub(r"\{\w+!r\}", "[]", program)))
    }
    assert found == {("model.graph.shapes", name) for name in ("sys", "importlib.util", "onnx.shape_inference")}


RULES = [name for name in FILES if name.startswith("gradients.rules.")]


def test_the_engine_of_gradients_knows_no_operator():
    """It asks the table; the rules fill the table and know nothing of the engine."""
    for name in ("gradients.engine", "gradients.step", "gradients.builder", "gradients.table"):
        assert not {other for other in everything_below(name) if other.startswith("gradients.rules")}
    for rule in RULES:
        assert "gradients.engine" not in everything_below(rule)


def test_plots_are_asked_for_at_the_door():
    """Who draws imports `onnxviz.plots`; how its files share the work is their own matter."""
    inside = {name for name in FILES if folder(name) == "plots"} - {"plots", "plots.mosaic"}
    assert not [name for name in FILES if folder(name) != "plots" and arrows(name) & inside]


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_begins_with_an_underscore_stays_in_its_file(name):
    names = [
        alias.name
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "onnxviz"
        for alias in node.names
    ]
    assert not [name for name in names if name.startswith("_") and not name.startswith("__")]


def test_the_worker_is_light():
    """It forks before anything heavy is imported."""
    assert everything_below("worker", top_only=False) <= {"", "errors", "files", "messages"}
    for name in ("worker", "errors"):
        outside = {one.module.partition(".")[0] for one in IMPORTS[name]} - set(sys.stdlib_module_names)
        assert outside <= {"onnxviz"}


def test_nothing_prints_but_the_command_line():
    """`worker` speaks for it where it died."""
    printing = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    }
    assert printing <= {"cli.terminal", "worker"}


@pytest.mark.parametrize("word", ["utils", "util", "helpers", "core", "base", "common", "misc"])
def test_no_file_without_a_noun(word):
    assert not [name for name in FILES if word in name.split(".")]


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), *CONVERTERS.rglob("*.py"), *(ROOT / "tests").rglob("*.py")],
                         ids=lambda path: str(path.relative_to(ROOT)))  # fmt: skip
def test_a_file_is_taken_in_at_one_sitting(path):
    source = path.read_text(encoding="utf-8")
    lines = source.count("\n")
    if lines > MOST_LINES and not is_data(ast.parse(source)):
        pytest.fail(f"{lines} lines, more than {MOST_LINES}: split it along a noun")


def is_data(tree):
    """Whether most of a file is tables: literals that are assigned."""
    lines = sum(node.end_lineno - node.lineno + 1 for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    return bool(tree.body) and lines > tree.body[-1].end_lineno / 2


CONVERTERS_MAY_IMPORT = (
    "onnxviz.errors", "onnxviz.messages", "onnxviz.model", "onnxviz.passes", "onnxviz.inputs",
    "onnxviz.conversion.converter",
)  # fmt: skip


@pytest.mark.parametrize("module", sorted(CONVERTER_IMPORTS))
def test_a_converter_reaches_few_folders(module):
    found = {one.module for one in CONVERTER_IMPORTS[module] if one.module.split(".")[0] == "onnxviz"}
    assert not {name for name in found if not name.startswith(CONVERTERS_MAY_IMPORT)}


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


def test_there_is_no_circle_among_the_converters():
    graph = {
        module: {one.module.partition(".")[2] for one in found if one.module.startswith("onnxviz_converters.")}
        for module, found in CONVERTER_IMPORTS.items()
    }
    TopologicalSorter(graph).prepare()


# --- tests/ mirrors the house

TESTS = ROOT / "tests"
# Folders of tests that are not rooms of the package.
OF_THEIR_OWN = {"house", "hostile", "converters", "accuracy", "benchmarks", "sample_models"}


def test_tests_lie_where_what_they_test_lies():
    """`tests/maps/test_capture.py` tests `maps/capture.py`; an aspect may follow: `test_capture_memory.py`."""
    strange = []
    for path in TESTS.rglob("test_*.py"):
        place = path.relative_to(TESTS)
        if place.parts[0] in OF_THEIR_OWN:
            continue
        there = {file.stem for file in (PACKAGE / place.parent).glob("*.py")}
        if not any(place.stem == f"test_{stem}" or place.stem.startswith(f"test_{stem}_") for stem in there):
            strange.append(str(place))
    assert not strange, f"named after no file of onnxviz/ in that folder: {strange}"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_test_modules_share_through_helpers_only(path):
    source = path.read_text(encoding="utf-8")
    assert "# ruff: " + "noqa" not in source, "a rule is not switched off for a whole file"
    imported = [one.module for one in imports_of(ast.parse(source))]
    shared = [name for name in imported if name.rpartition(".")[2].startswith("test_") or name == "conftest"]
    assert not shared, f"imports {shared}: fixtures go into a conftest.py, functions into a helper"


def test_no_two_tests_of_one_name_in_a_file():
    for path in TESTS.rglob("test_*.py"):
        names = Counter(
            node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)
        )
        assert not [name for name, count in names.items() if count > 1], path
