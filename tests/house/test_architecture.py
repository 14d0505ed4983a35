"""The rules of the house: which folder may import which, and where a library has its place."""

import ast
import re
import sys
from graphlib import TopologicalSorter

import pytest
from house_source import (
    COMMAND_LINE,
    CONVERTER_IMPORTS,
    FILES,
    IMPORTS,
    TREES,
    arrows,
    everything_below,
    folder,
    importers,
    imports_of,
)

FRAMEWORKS = ("tensorflow", "keras", "torch", "tf2onnx", "onnxscript", "jax")

# What each folder (or file at the top) may import; those of the ground are open to all. This table is the
# architecture: a new arrow is a decision, made here.
GROUND = {"errors", "messages", "files", "arguments"}
MAY_IMPORT = {
    "errors": set(),
    "messages": set(),
    "files": set(),
    "arguments": set(),
    "forks": set(),
    "worker": set(),
    "plots": set(),
    "model": set(),
    "passes": {"model"},
    "inputs": {"model", "runtime"},  # provenance names the runtime's version
    "runtime": {"model", "passes"},
    "gradients": {"model", "passes", "runtime"},
    "conversion": {"model", "passes", "inputs", "runtime"},
    "maps": {"model", "passes", "inputs", "runtime"},
    "predictions": {"model", "passes", "inputs", "runtime"},
    "comparison": {"model", "passes", "inputs", "runtime"},
    "explanations": {"model", "inputs", "runtime", "gradients"},
    "maximization": {"model", "inputs", "runtime", "gradients", "maps"},  # what its units see
    "auditing": {"forks", "worker", "model", "inputs", "runtime", "maps", "comparison", "predictions", "conversion"},
    "reports": {"model", "plots", "inputs", "runtime", "maps", "predictions", "comparison", "explanations", "auditing"},
    "output": {"model", "plots", "inputs", "maps", "predictions", "explanations", "maximization", "comparison"},
}
# The vocabulary of graphs is for those that read, rewrite or run graphs; the families of operators and the type of
# shapes are everybody's.
GRAPH_READERS = ("model.", "passes.", "runtime.", "gradients.", "conversion.", "maps.", "comparison.", "auditing.")
OPEN_TO_ALL = {"model.graph.operators", "model.graph.shapes", "model.graph.symbolic_sizes"}
SHARED_BY_COMMANDS = {
    "cli.comparison_table", "cli.findings_table", "cli.heeding", "cli.options", "cli.program", "cli.progress",
    "cli.tables", "cli.terminal",
}  # fmt: skip
# Each of these files is a command; the others are what commands share.
COMMANDS = sorted({*COMMAND_LINE} - {"cli"} - SHARED_BY_COMMANDS)


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


def test_folders_and_floors_are_few():
    folders = {path.parent for path in FILES.values()}
    assert len(folders) <= 26
    floors = {}
    for name in TopologicalSorter(MAY_IMPORT).static_order():
        floors[name] = 1 + max((floors[other] for other in MAY_IMPORT[name]), default=1 if name not in GROUND else 0)
    assert max(floors.values()) + 1 <= 12  # the command line is the last


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("onnxruntime", {"runtime.session"}),
        ("matplotlib", {name for name in FILES if folder(name) == "plots"}),
        ("jinja2", {"reports.html_page"}),
        (
            "PIL",
            {
                "plots.encoding",
                "inputs.image_files",
                "inputs.image_depth",
                "inputs.image_bands",
                "inputs.perturbed_image",
            },
        ),
        ("tifffile", {"inputs.tiff_files"}),
        ("rich", {"cli.terminal", "cli.progress", "cli.tables", "cli.comparison_table", "cli.findings_table"}),
        ("typer", set(COMMAND_LINE)),
        ("pytest", {"auditing.pytest_plugin"}),
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
    """Core dependencies of pyproject.toml, protobuf, which onnx brings, what is asked for where it is, and pytest.

    It is pytest that imports its plugin, and nothing else does.
    """
    allowed = {
        "pytest",
        "numpy",
        "onnx",
        "onnxruntime",
        "matplotlib",
        "PIL",
        "typer",
        "rich",
        "google",
        "onnxviz",
        "tifffile",
        "jinja2",
    }
    used = {one.module.partition(".")[0] for found in IMPORTS.values() for one in found}
    assert used - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize("package", ["matplotlib", "onnx", "onnxruntime", "numpy", "PIL"])
def test_the_command_line_loads_what_is_heavy_only_when_it_is_used(package):
    early = importers(package, top_only=True)
    assert not early & {*COMMAND_LINE, *everything_below("cli")}


@pytest.mark.parametrize("module", ["cli.progress", "conversion.convert", "passes.fold_weights", "conversion.verify"])
def test_the_command_line_loads_late(module):
    assert module not in everything_below("cli")


def test_a_model_is_opened_without_what_follows_axes():
    """Most inputs tell their axes; `onnxviz layers` starts 8 ms sooner."""
    assert not {name for name in everything_below("model.model") if name.startswith("model.axes.")}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_file(command):
    """It takes what commands share, nothing of another command; `program` loads it by its name and knows no more."""
    assert {name for name in arrows(command) if name in COMMAND_LINE} <= SHARED_BY_COMMANDS
    assert not {name for name in FILES if command in arrows(name)}
    for shared in SHARED_BY_COMMANDS:
        assert not {other for other in everything_below(shared, top_only=False) if other in COMMANDS}


def test_errors_import_nothing_of_ours():
    assert {one.module for one in IMPORTS["errors"]} <= set(sys.stdlib_module_names)


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
    inference = {("model.graph.shapes", name) for name in ("sys", "importlib.util", "onnx.shape_inference")}
    checker = {("model.graph.conformance", name) for name in ("os", "sys", "importlib.util", "onnx")}
    assert found == inference | checker


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
    assert everything_below("worker", top_only=False) <= {"", "errors", "files", "forks", "messages"}
    for name in ("worker", "forks", "errors"):
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
