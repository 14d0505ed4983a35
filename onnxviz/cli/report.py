"""`onnxviz report`: one HTML page about a model, for people to read and sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import (
    AgainstOption,
    BackgroundOption,
    ClassesOption,
    ConfigOption,
    FailOnOption,
    FitOption,
    IgnoreOption,
    InputsArgument,
    JsonOption,
    LabelsOption,
    MemoryOption,
    ModelArgument,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SelectOption,
    SizeOption,
    ThreadsOption,
    parse_bytes,
    parse_codes,
    parse_size,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import note, print_json, say
from onnxviz.files import destination

_HEEDS = {
    ALWAYS: "model inputs output data against labels classes select ignore fail_on config preprocess size fit "
    "background provider threads memory seconds as_json quiet",
}


@command(_HEEDS, epilog="Example: onnxviz report model.onnx photos -o report.html")
def report(
    model: ModelArgument,
    inputs: InputsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.html", help="Where to.", show_default=False)
    ] = Path("report.html"),
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT", help="What it is audited on; may be repeated.", show_default="the inputs"),
    ] = None,
    against: AgainstOption = None,
    labels: LabelsOption = None,
    classes: ClassesOption = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    fail_on: FailOnOption = None,
    config: ConfigOption = None,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = None,
    background: BackgroundOption = None,
    provider: ProviderOption = "cpu",
    threads: ThreadsOption = 0,
    memory: MemoryOption = "1GiB",
    seconds: Annotated[
        float, typer.Option(metavar="S", help="That the page may take, about; what does not fit is left out.", min=0.1)
    ] = 120,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a page about a model: verdict, model card, findings, layers, maps. Exit code 1 where it is not fit."""
    destination(output)
    from onnxviz.auditing.audit import document
    from onnxviz.cli.progress import stages
    from onnxviz.inputs.labels import read_labels
    from onnxviz.reports.report import report as verb

    with stages(quiet) as stage:
        made = verb(
            model, inputs, data=data or None, against=against, classes=classes,
            labels=None if labels is None else read_labels(labels), select=parse_codes(select),
            ignore=parse_codes(ignore),
            fail_on=fail_on, config=config, preprocess=preprocess, size=parse_size(size), fit=fit,
            background=background, provider=provider, threads=threads, memory=parse_bytes(memory), seconds=seconds,
            progress=stage,
        )  # fmt: skip
    made.save(output)
    for part, why in made.left_out:
        note(quiet, f"{part}: {why}")
    if as_json:
        listed = [{"part": part, "why": why} for part, why in made.left_out]
        print_json({**document([made.audit], made.fail_on), "files": [str(output)], "left_out": listed})
    else:
        say(str(output), 10_000)
    if made.fails:
        raise typer.Exit(1)
