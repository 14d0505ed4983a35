"""The command line as a whole: help, usage, processes; and what a script can rely on (contract.md)."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import error_of, files_in, program
from quantised import quantise

from onnxviz import __version__
from onnxviz.cli.program import COMMANDS, PANELS, load_commands

ROOT = Path(__file__).resolve().parents[2]


def test_the_commands_of_this_release():
    assert sorted(COMMANDS) == [
        "annotate",
        "audit",
        "compare",
        "convert",
        "explain",
        "extract",
        "filters",
        "layers",
        "maps",
        "maximize",
        "predict",
        "report",
        "stats",
    ]


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["maps", "filters"], {"maps"}),
        (["-q", "layers"], {"layers"}),
        (["mps"], {*COMMANDS}),
        (["--help"], {*COMMANDS}),
        ([], {*COMMANDS}),
    ],
)
def test_only_the_command_that_is_asked_for_is_made_ready(arguments, loaded):
    code = "import sys; from onnxviz.cli.program import load_commands; load_commands(sys.argv[1:]); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert {name for name in COMMANDS if f"onnxviz.cli.{name}" in ran.stdout.split()} == loaded


def test_help_lists_the_commands_in_their_order_whichever_was_run_first(run_command):
    run_command("maximize", "--help")
    listed = run_command("--help").out
    assert [*COMMANDS] == sorted(COMMANDS, key=lambda name: listed.index(f"│ {name} "))


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_help_groups_the_commands_by_what_they_are_for(run_command, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    grouped: dict[str, list[str]] = {}
    for line in run_command("--help").out.splitlines():
        assert len(line) <= int(columns)
        if title := re.match(r"╭─ ([^─]+) ─", line):
            listed = grouped.setdefault(title[1], [])
        elif name := re.match(r"│ ([a-z]\S*)", line):
            listed.append(name[1])
    assert {title: tuple(names) for title, names in grouped.items() if title != "Options"} == PANELS


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_an_example(run_command, name, flag):
    ran = run_command(name, flag)
    assert ran.code == 0
    assert re.search(rf"Example: onnxviz {name} \S+\.(onnx|keras)", ran.out)
    assert ran.err == ""


# What each example writes, and what its JSON says of it: that it did what it shows, not only that it parsed.
EXAMPLES = {
    "layers": (set(), lambda told: told["layers"][0]["weight"]["shape"] == [3, 3, 3, 6]),
    "filters": ({"filters.png"}, lambda told: told["filters"] == [{"layer": "block1_conv1", "file": "filters.png"}]),
    "maps": (
        {"maps/manifest.json", "maps/001-block1_conv2.png", "maps/002-block2_conv1.png"},
        lambda told: told["layers"] == ["block1_conv2", "block2_conv1"],
    ),
    "predict": (set(), lambda told: len(told["inputs"][0]["outputs"][0]["top"]) == 5),
    "stats": (
        {"stats.npz", "stats.npz.manifest.json"},
        lambda told: told["images"] == 1 and len(told["layers"][0]["mean"]) == 6,
    ),
    "compare": (
        set(),
        lambda told: [one["a"] for one in told["outputs"]] == ["logits"] and told["agreement"]["total"] == 1,
    ),
    "audit": (set(), lambda told: [one["path"] for one in told["models"]] == ["model.onnx"] and not told["fails"]),
    "explain": (
        {"cat.png"},
        lambda told: [(one["input"], one["method"]) for one in told["explanations"]] == [("cat.jpg", "grad-cam")],
    ),
    "maximize": (
        {"looks-for/manifest.json", "looks-for/sheet.png"},
        lambda told: len(told["pictures"]) == 4 and {one["layer"] for one in told["pictures"]} == {"block1_conv2"},
    ),
    "report": ({"report.html"}, lambda told: told["files"] == ["report.html"]),
    "extract": ({"block1.onnx"}, lambda told: [one["name"] for one in told["layers"]] == ["block1_conv1"]),
    "annotate": ({"annotated.onnx"}, lambda told: told["preprocessing"]["name"] == "torch"),
}


# What converts needs a framework: its example is run in test_cli_convert.py.
@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"convert"}))
def test_the_example_in_the_help_does_what_it_shows(run_command, classifier, photo, tmp_path, name):
    text = " ".join(run_command(name, "--help").out.split())
    example = re.search(rf"Example: onnxviz ({name} .*)", text)[1].strip(" │╰─╯").split()
    shutil.copy(classifier, "model.onnx")
    if "model-int8.onnx" in example:
        quantise(classifier, Path("model-int8.onnx"), [np.zeros((1, 3, 16, 12), np.float32)])
    shutil.copy(photo, "cat.jpg")
    Path("photos").mkdir()
    shutil.copy(photo, "photos/cat.jpg")
    before = {*files_in(tmp_path)}
    ran = run_command(*example, "--json")
    assert ran.code == 0, ran
    written, said = EXAMPLES[name]
    assert {*files_in(tmp_path)} - before >= written
    assert said(ran.document), ran


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    command = __import__("typer").main.get_command(load_commands()).commands[name]
    for parameter in command.params:
        assert getattr(parameter, "help", None), parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_json_and_can_be_quiet(name):
    command = __import__("typer").main.get_command(load_commands()).commands[name]
    options = {flag for parameter in command.params for flag in parameter.opts}
    assert {"--json", "--quiet", "-q"} <= options


def test_no_command_shows_the_help(run_command):
    ran = run_command()
    assert all(name in ran.out + ran.err for name in COMMANDS)


def test_version(run_command):
    assert run_command("--version").out == f"onnxviz {__version__}\n"


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
        (["maps", "m.onnx", "a.png", "--at", "input"], "input"),
        (["maps", "m.onnx", "a.png", "--sort", "size"], "size"),
        (["maps", "m.onnx", "a.png", "--format", "bmp"], "bmp"),
        (["annotate", "m.onnx", "-o", "b.onnx"], "--preprocess"),
        (["annotate", "m.onnx", "--preprocess", "unit"], "--output"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(run_command, arguments, said):
    assert said in error_of(run_command(*arguments))


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


def test_a_bug_keeps_its_traceback(monkeypatch, run_command, classifier):
    def broken(*arguments):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("onnxviz.model.model.load", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run_command("layers", classifier)


def test_an_interrupt_is_code_130(monkeypatch, run_command, classifier):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxviz.model.model.load", interrupted)
    ran = run_command("layers", classifier)
    assert ran.code == 130
    assert ran.out == ""
    assert "interrupted" in ran.err


def test_every_file_written_is_listed(run_command, classifier, photo, tmp_path):
    for number, arguments in enumerate([
        ("filters", classifier, "all", "--save", "a/w.npz", "-o", "a"),
        ("maps", classifier, photo, "--save", "b/m.npz", "-o", "b"),
        ("annotate", classifier, "--preprocess", "torch", "-o", "c/out.onnx"),
    ]):  # fmt: skip
        folder = "abc"[number]
        (tmp_path / folder).mkdir()
        ran = run_command(*arguments, "--json")
        assert ran.code == 0
        assert sorted(ran.document["files"]) == [f"{folder}/{file}" for file in files_in(tmp_path / folder)]


@pytest.mark.parametrize(
    "command", [["layers"], ["filters"], ["maps", "photo.png"], ["annotate", "--preprocess", "unit", "-o", "x"]]
)
@pytest.mark.parametrize(
    "content", [None, b"", b"hello", b"<html></html>", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_what_is_no_model_is_one_line(run_command, tmp_path, photo, command, content):
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    assert "m.onnx" in error_of(run_command(command[0], "m.onnx", *command[1:]))
    assert files_in(tmp_path) == (["m.onnx"] if content is not None else []) + ["photo.png"]
