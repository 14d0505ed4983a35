"""The program around the commands: their help, the process they run in, their errors and exit codes."""

from __future__ import annotations

import gc
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from onnxviz import __version__
from onnxviz.cli.heeding import Heeds, check_heeded, flag_of
from onnxviz.cli.terminal import failure, say, stderr
from onnxviz.errors import InputError, OnnxvizError, UnsupportedGradientError
from onnxviz.messages import for_command_lines, meant
from onnxviz.worker import INTERRUPTED, supervised

Verb = TypeVar("Verb", bound=Callable[..., Any])

PANELS = {
    "Look inside": ("layers", "filters", "predict", "maps", "explain", "maximize", "stats"),
    "Convert and edit": ("convert", "annotate", "extract"),
    "Audit and compare": ("audit", "compare", "report"),
}
"""The commands by what they are for, in the order of the help; each is a file here."""

COMMANDS = tuple(name for names in PANELS.values() for name in names)


def _without_types_of_flags(parameters: list[Any]) -> list[Any]:
    """The parameters, whose flags the help shows without a type: they take no value."""
    for one in parameters:
        if getattr(one, "is_flag", False):
            one.metavar = ""
    return parameters


class _Program(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types_of_flags(super().get_params(ctx))


app = typer.Typer(
    name="onnxviz",
    cls=_Program,
    help="See inside the CNN you ship: layers, filters and feature maps of any .onnx.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        say(f"onnxviz {__version__}")
        raise typer.Exit


def command(heeds: Heeds, *, epilog: str) -> Callable[[Verb], Verb]:
    """Puts a function into the program as the command of its name.

    Args:
        heeds: what each of its modes heeds; what none in force does is refused before the function is called.
        epilog: an example.
    """

    class Heedful(TyperCommand):
        def get_params(self, ctx: Any) -> list[Any]:
            return _without_types_of_flags(super().get_params(ctx))

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not ctx.resilient_parsing:
                _refuse_repeated(self.make_parser(ctx).parse_args([*args])[2])
            return super().parse_args(ctx, args)

        def invoke(self, ctx: Any) -> Any:
            check_heeded(ctx, heeds)
            return super().invoke(ctx)

    def add(function: Verb) -> Verb:
        panel = next(title for title, names in PANELS.items() if function.__name__ in names)
        return app.command(cls=Heedful, epilog=epilog, rich_help_panel=panel)(function)

    return add


def _refuse_repeated(order: Sequence[Any]) -> None:
    """Refuses an option that is given twice, of whose values one would be dropped.

    Args:
        order: the parameters, each as often as it is given.
    """
    for one, times in Counter(one for one in order if one.param_type_name == "option").items():
        if times > 1 and not one.multiple:
            raise InputError(f"{flag_of(one)} is given {times} times: give it once")


def load_commands(arguments: Sequence[str] | None = None) -> typer.Typer:
    """`app` with the command that `arguments` begin with, or with all: Typer takes 10 ms to make one ready."""
    first = next((argument for argument in arguments or () if not argument.startswith("-")), None)
    for command in [first] if first in COMMANDS else COMMANDS:
        import_module(f"onnxviz.cli.{command}")
    app.registered_commands.sort(key=lambda info: COMMANDS.index(getattr(info.callback, "__name__", "")))
    return app


def main() -> None:
    """Runs the command that `sys.argv` names, in a process that may die, and exits with its code."""
    # Importing makes a hundred thousand objects that stay: looking for garbage among them after each 700, as Python
    # does, is a tenth of the time of a short command.
    gc.set_threshold(100_000, 50, 50)
    sys.exit(supervised(run))


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command; errors that are the input's fault are one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about a stranger's file: not the user's to act on
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names in a file need not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        with for_command_lines():
            code = load_commands(given)(args=given or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except OnnxvizError as error:
        # What lacks a gradient is a list, a line each.
        failure(str(error), lines=isinstance(error, UnsupportedGradientError))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the reader of a pipe has enough, or a shell its completions
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a name too long, no permission
        failure(f"{error.filename or 'the output'} cannot be written or read: {error.strerror or error}")
        return 2
    except Exception as error:
        if not hasattr(error, "format_message"):  # how Typer says that the command line is wrong
            raise
        failure(_usage(error))
        return 2
    if code == INTERRUPTED:
        stderr().print("interrupted")
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> str:
    """What is wrong with a command line, as Typer says it; of an option that does not exist, which was meant."""
    if (name := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        options = [flag for one in error.ctx.command.get_params(error.ctx) for flag in (*one.opts, *one.secondary_opts)]
        known = [flag for flag in options if flag.startswith("--")]
        where = error.ctx.command_path
        return f"{where} has no option {name}; {meant(name, known)}{where} --help lists them"
    return str(error.format_message()).replace("Value error, ", "")
