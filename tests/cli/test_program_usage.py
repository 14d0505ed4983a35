"""Usage, walked through every command: spelling, repetition, help, completion; one word for one thing."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import typer
from command_line import error_of, files_in

from onnxviz.cli.heeding import flag_of
from onnxviz.cli.program import COMMANDS, load_commands

PROGRAM = typer.main.get_command(load_commands())
OPTIONS = [
    (name, one)
    for name, command in PROGRAM.commands.items()
    for one in command.params
    if one.param_type_name == "option"
]
# What is typed before the option, so that nothing else is wrong.
ARGUMENTS = {"maps": ["m.onnx", "a.png"], "compare": ["a.onnx", "b.onnx"], "convert": ["a:b"], "annotate": ["m.onnx"]}


def test_a_bare_call_shows_the_help_and_is_no_error(run_command):
    bare = run_command()
    assert (bare.code, bare.err) == (0, "")
    assert bare.out == run_command("--help").out
    assert "│ layers" in bare.out


def test_the_package_runs_as_a_module(tmp_path):
    done = subprocess.run([sys.executable, "-m", "onnxviz"], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "│ layers" in done.stdout


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_gives_no_type_to_a_flag_and_one_to_a_value(run_command, name):
    text = run_command(*filter(None, [name, "--help"])).out
    assert "bool" not in text.lower()
    for one in (PROGRAM.commands[name] if name else PROGRAM).params:
        if one.param_type_name == "option" and not one.is_flag:
            assert re.search(rf"{re.escape(flag_of(one))}\S* +(-\w +)?[^\s│]", text), one.opts


@pytest.fixture
def made_once(monkeypatch):
    """The commands are made ready once: it takes longer than to refuse what is wrong with a command line."""
    monkeypatch.setattr(typer.main, "get_command", lambda app: PROGRAM)


@pytest.mark.usefixtures("made_once")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(run_command, name):
    for flag in {max(one.opts + one.secondary_opts, key=len) for command, one in OPTIONS if command == name}:
        said = error_of(run_command(name, flag + flag[-1]))
        assert f"{name} has no option {flag + flag[-1]}; did you mean {flag}? " in said
        assert f"{name} --help lists them" in said


@pytest.mark.usefixtures("made_once")
@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_takes_one_value_is_refused_twice(run_command, tmp_path, name):
    for flag, one in {flag_of(one): one for command, one in OPTIONS if command == name}.items():
        once = [flag] if one.is_flag else [flag, "1"]
        said = error_of(run_command(name, *ARGUMENTS.get(name, ["m.onnx"]), *once, *once))
        assert (f"{flag} is given 2 times: give it once" in said) == (not one.multiple), said
    assert files_in(tmp_path) == []


def test_a_short_and_a_long_form_are_the_same_option(run_command):
    assert "--output is given 2 times" in error_of(run_command("filters", "m.onnx", "-o", "a.png", "--output", "b.png"))


def test_a_misspelt_command_is_refused_with_the_one_that_was_meant(run_command):
    assert "'layers'" in error_of(run_command("layr", "m.onnx"))


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["filters", "{model}", "block1_con1"], "block1_conv1"),
        (["filters", "{model}", "--layers", "Block1_conv1"], "block1_conv1"),
        (["maps", "{model}", "{photo}", "--layers", "block-end"], "block-ends"),
        (["stats", "{model}", "{photo}", "--layers", "block2_cnv1"], "block2_conv1"),
        (["explain", "{model}", "{photo}", "--method", "gradcam"], "grad-cam"),
        (["explain", "{model}", "{photo}", "--layer", "block2_convv1"], "block2_conv1"),
        (["explain", "{model}", "{photo}", "--target", "logit"], "logits"),
        (["filters", "{model}", "--cmap", "virids"], "viridis"),
        (["maps", "{model}", "{photo}", "--cmap", "Greys_R"], "Greys_r"),
        (["maps", "{model}", "{photo}", "--ops", "Maxpool"], "MaxPool"),
        (["maximize", "{model}", "blok1_conv1"], "block1_conv1"),
        (["maps", "{model}", "imag={photo}"], "image"),
        (["maps", "{model}", "{photo}", "--provider", "cpuu"], "cpu"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(run_command, classifier, photo, arguments, meant):
    said = error_of(run_command(*(one.format(model=classifier, photo=photo) for one in arguments)))
    assert f"did you mean {meant}? " in said, said


@pytest.mark.parametrize(
    "arguments",
    [
        ["maps", "{model}", "{photo}"],
        ["maps", "{model}", "{photo}", "--ops", "Conv,MaxPool"],
        ["maps", "{model}", "{photo}", "--top-patches", "2"],
        ["stats", "{model}", "{photo}"],
        ["compare", "{model}", "{model}", "--data", "{photo}"],
        ["filters", "{model}"],
        ["maximize", "{model}"],
    ],
)
def test_of_layers_that_are_named_with_a_comma_the_one_that_is_not_there_is_said(
    run_command, classifier, photo, arguments
):
    given = [one.format(model=classifier, photo=photo) for one in arguments]
    said = error_of(run_command(*given, "--layers", "block1_conv1,block9_conv2"))
    assert "'block9_conv2' in" in said
    assert re.search(r"did you mean block\d_conv2\? it has block1_conv1, block1_conv2, ", said)
    assert "--ops" not in said
    assert "'block1_conv1'" not in said


def test_a_name_that_is_like_none_gets_no_suggestion(run_command, classifier):
    assert "did you mean" not in error_of(run_command("filters", classifier, "encoder.stem"))


# ---------------------------------------------------------------- one word for one thing

# Where the same word rightly has another help: what it counts, draws or takes differs between the commands.
OWN = {
    "baseline", "channels", "data", "first", "format", "from", "labels", "layers", "layout", "memory", "output",
    "preprocess", "save", "scale", "size", "sort", "style", "target", "threads", "weights",
}  # fmt: skip
# Only how many there may be of it differs (a file or a folder, one list or another), or it is another word's homonym.
OWN_KIND = {
    "--baseline", "--channels", "--filters", "--from", "--layers", "--output", "--scale", "--size", "--sort",
    "--target",
}  # fmt: skip


def test_an_option_takes_the_same_kind_of_value_in_every_command():
    kinds = defaultdict(set)
    for _, one in OPTIONS:
        kinds[flag_of(one)].add((one.is_flag, None if one.is_flag else one.metavar))  # a flag's help takes it away
    assert {flag for flag, found in kinds.items() if len(found) > 1} <= OWN_KIND


def test_an_option_means_the_same_in_every_command():
    helps = defaultdict(set)
    for _, one in OPTIONS:
        helps[flag_of(one)].add(one.help)
    differ = {flag.lstrip("-") for flag, found in helps.items() if len(found) > 1}
    assert differ == OWN


def test_one_thing_has_one_name():
    """Two options of one help would be two names; those of two helps that begin alike are looked at by a person."""
    names = defaultdict(set)
    for _, one in OPTIONS:
        names[one.help].add(flag_of(one))
    assert {text: flags for text, flags in names.items() if len(flags) > 1} == {}


@pytest.mark.parametrize("name", ["filters", "maps", "stats", "compare", "maximize", "explain"])
def test_every_command_that_takes_layers_takes_them_by_the_same_option(name):
    assert [one for command, one in OPTIONS if command == name and "--layers" in one.opts]


@pytest.mark.parametrize(
    ("name", "more"), [("filters", ["--save", "f.npz"]), ("maximize", ["--steps", "1", "--filters", "0,2"])]
)
def test_layers_are_named_behind_the_model_or_with_the_option(run_command, classifier, name, more):
    both = ["block1_conv2", "block2_conv1"]
    argument = run_command(name, classifier, *both, *more, "--json")
    option = run_command(name, classifier, "--layers", ",".join(both), *more, "--json")
    assert (argument.code, option.code) == (0, 0)
    told = [{key: value for key, value in one.document.items() if key != "seconds"} for one in (argument, option)]
    assert told[0] == told[1]
    said = error_of(run_command(name, classifier, "block1_conv1", "--layers", "last", *more))
    assert "layers are named twice, as block1_conv1 and with --layers last: leave one of them out" in said


# ---------------------------------------------------------------- completion


def completed(tmp_path, words):
    """What a bash that was told to complete the last of the words gets."""
    environment = {
        "_ONNXVIZ_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "onnxviz"], capture_output=True, encoding="utf-8", cwd=tmp_path,
        env={**os.environ, **environment}, check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (["ma"], ["maps", "maximize"]),
        (["maps", "--lay"], ["--layers"]),
        (["filters", "m.onnx", "--style", ""], ["rows", "grid", "rgb", "lines", "matrix"]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(tmp_path, words, there):
    assert completed(tmp_path, ["onnxviz", *words]) == there


def test_the_completion_of_a_shell_is_shown(tmp_path):
    script = Path(sys.executable).parent / "onnxviz"
    done = subprocess.run([script, "--show-completion", "bash"], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.returncode == 0
    assert "complete -o default -F" in done.stdout
