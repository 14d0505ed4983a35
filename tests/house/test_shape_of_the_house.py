"""The shape of the house: names, sizes, parameters, and where tests lie."""

import ast
from collections import Counter, defaultdict

import pytest
from house_source import COMMAND_LINE, CONVERTERS, FILES, PACKAGE, ROOT, TREES, imports_of

AT_THE_TOP = {
    "arguments.py",
    "__init__.py",
    "__main__.py",
    "errors.py",
    "messages.py",
    "files.py",
    "forks.py",
    "worker.py",
    "py.typed",
    "README.md",
}
# Folders whose files may have the name of another's: a noun is drawn, written and asked for, an operator has a rule.
SHARING_NAMES = ("plots", "output", "cli", "gradients.rules", "auditing.checks")
MOST_PARAMETERS = 7
MOST_LINES = 400


def test_at_the_top_lie_the_package_and_its_ground_floor():
    there = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert there <= AT_THE_TOP, f"{there - AT_THE_TOP}: a file belongs into the folder of its noun"


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
    """Whether most of a file is tables: literals that are assigned, and classes that hold nothing else."""

    def is_table(node):
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        return all(
            isinstance(one, ast.Assign | ast.AnnAssign)
            or (one is not node and isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            for one in inside
        )

    lines = sum(node.end_lineno - node.lineno + 1 for node in tree.body if is_table(node))
    return bool(tree.body) and lines > tree.body[-1].end_lineno / 2


TESTS = ROOT / "tests"
# Folders of tests that are not rooms of the package.
OF_THEIR_OWN = {"house", "hostile", "converters", "accuracy", "benchmarks", "gallery", "sample_models"}


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
