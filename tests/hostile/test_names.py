"""Names, notes and selections that a stranger wrote: no control characters, no file outside the folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hostile import conv, info, model, node, renamed, small, weight, write
from hostile_runs import accepted, refused, texts, works_or_refused

pytestmark = [pytest.mark.usefixtures("deadline", "room"), pytest.mark.inference_worker]

# ---------------------------------------------------------------- names

NAMES = {
    "escape": "\x1b]0;owned\x07\x1b[31mred",
    "csi": "a\x9b31m",
    "bidi": "a\u202eb\u2066c",
    "newline": "a\nb\r\nc",
    "separator": "a\u2028b",
    "slash": "a/b\\c",
    "parent": "../../../etc/passwd",
    "dots": "..",
    "absolute": "/etc/passwd",
    "nul": "a\0b",
    "long": "n" * 5000,
    "reserved": "CON",
    "emoji": "😀漢字",
    "markup": "[bold red]x[/bold red]",
    "mathtext": r"conv$\evil{$1",
    "html": "<script>alert(1)</script>",
    "formula": "=1+1",
    "blank": "   ",
}


@pytest.mark.parametrize("case", NAMES)
def test_layer_names(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, room: Path, no_inference: None
) -> None:
    name = NAMES[case]
    path = write(tmp_path, model([conv(name=name)], [weight()]))
    accepted(capsys, "layers", path)
    out, _ = accepted(capsys, "layers", path, "--json")
    assert json.loads(out)["layers"][0]["node"] == name
    out, err = accepted(capsys, "filters", path, "-q", "--first", "1", "--channels", "0")
    assert err == ""
    assert len(out.splitlines()) == 1
    (picture,) = (room / "filters").iterdir()
    assert re.fullmatch(r"000-[\w.-]{1,80}\.png", picture.name)
    accepted(capsys, "maps", path, small_photo, "-q", "--save", "m.npz")
    assert len(np.load("m.npz").files) == 1
    assert {p.name for p in room.iterdir()} == {"filters", "m.npz", "m.npz.manifest.json"}


def test_names_that_differ_by_case_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], room: Path, no_inference: None
) -> None:
    nodes = [node("Conv", ["x", "w"], [name + "o"], name=name) for name in ("Conv", "conv", "CONV", "conv")]
    nodes[3].output[0] = "y"
    path = write(tmp_path, model(nodes, [weight()]))
    accepted(capsys, "filters", path, "*", "--first", "1")
    assert len({picture.name.lower() for picture in (room / "filters").iterdir()}) == 4


@pytest.mark.parametrize("case", ["escape", "newline", "bidi", "nul", "emoji", "long", "mathtext"])
def test_names_of_tensors_inputs_and_notes(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, no_inference: None
) -> None:
    name = NAMES[case]
    made = model(
        [node("Conv", [name, "w" + name], ["o" + name])],
        [weight("w" + name)],
        [info(name, [1, 3, 8, 8])],
        [info("o" + name, [name, 2, None, None])],
        metadata=[(name, name)],
        producer_name=name,
        producer_version=name,
    )
    made.opset_import.add(domain=name, version=1)
    made.graph.node[0].metadata_props.add(key="onnxviz.scope", value=name)
    path = write(tmp_path, made)
    accepted(capsys, "layers", path)
    json.loads(accepted(capsys, "layers", path, "--json")[0])
    works_or_refused(capsys, "maps", path, small_photo, "-q", "--save", "m.npz")
    refused(capsys, "maps", path, f"no such input={small_photo}", match="no input called 'no such input'")


NOTES = {
    "escapes": '{"name":"\\u001b[31mevil\\nline\\u202e","scale":1,"mean":[1,2],"std":[1]}',
    "too large": '{"name":"x","scale":1' + "0" * 400 + ',"mean":[0],"std":[1]}',
    "digits": '{"name":"x","scale":1' + "0" * 5000 + ',"mean":[0],"std":[1]}',
    "list": "[1]",
    "text": "hello",
    "deep": "[" * 100_000,
    "nan": '{"name":"x","scale":NaN,"mean":[0],"std":[1]}',
    "mean": '{"name":"x","scale":1,"mean":5,"std":[1]}',
    "std 0": '{"name":"x","scale":1,"mean":[0],"std":[0]}',
    "no order": '{"name":"x","scale":1,"mean":[0],"std":[1],"order":"\\u001b[1m"}',
}


@pytest.mark.parametrize("case", NOTES)
def test_preprocessing_notes(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, no_inference: None
) -> None:
    made = small()
    made.metadata_props.add(key="onnxviz.preprocessing", value=NOTES[case])
    path = write(tmp_path, made)
    accepted(capsys, "layers", path)
    accepted(capsys, "layers", path, "--json")
    refused(capsys, "maps", path, small_photo, match="preprocess|channel order")


@pytest.mark.parametrize(
    "text",
    "inputname weightname outputname nodename SAME_UPPER batchname metakey metavalue producername producerversion "
    "modeldomain modeldoc graphname opsetdomain nodedoc scopevalue layervalue otherkey torchscopes rulename "
    "refattr onnxviz.scope".split(),
)
def test_text_that_is_not_utf8(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None
) -> None:
    old = text.encode()
    path = write(tmp_path, renamed(texts(), old, b"\xff" + old[1:]))
    for command in (["layers", path], ["layers", path, "--json", "--all"], ["filters", path, "--save", "w.npz"]):
        works_or_refused(capsys, *command, match="not UTF-8")


# ---------------------------------------------------------------- selections

SELECTIONS = [
    ("nolayer", "no layer is called 'nolayer'.*it has c "),
    ("99", "position 99.*it has c "),
    ("5-9", "no positions 5-9"),
    ("9-3", "no positions 9-3"),
    ("every:0", "N of every:N"),
    ("every:x", "no layer is called"),
    ("*zz", "no layer is called"),
    ("[", "no layer is called"),
    ("", "empty"),
    (",", "empty"),
    ("0,nope", "'nope'"),
    ("9" * 5000, "position|no layer"),
    ("every:" + "9" * 5000, "every|no layer"),
    ("0-" + "9" * 5000, "positions|no layer"),
    ("a\x1b[31mb\u202e", "no layer is called"),
    ("n" * 5000, "no layer is called"),
]


@pytest.mark.parametrize(("selection", "match"), SELECTIONS, ids=[s[:12] for s, _ in SELECTIONS])
def test_layers_that_do_not_exist(
    selection: str,
    match: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    small_photo: Path,
    no_inference: None,
) -> None:
    path = write(tmp_path, small())
    refused(capsys, "filters", path, "--", selection, match=match)
    refused(capsys, "maps", path, small_photo, "-q", f"--layers={selection}", match=match)


OPTIONS = [
    (["--ops", "Nope"], "no Nope; it has Conv, Relu"),
    (["--ops", "\x1b[31m\u202e"], "it has Conv, Relu"),
    (["--ops", ""], "op|layers"),
    (["--memory", "x"], "number of bytes"),
    (["--memory", "9" * 400], "bytes"),
    (["--memory", "1"], "too small"),
    (["--size", "0x0"], "not a size"),
    (["--size", "9x9"], "8x8, not of 9x9"),
    (["--preprocess", "z\x1b[31m"], "not a preprocessing"),
    (["--preprocess", "scale=1e400"], "finite"),
    (["--preprocess", "mean=1:2"], "2 mean values for 3 channels"),
    (["--cmap", "no\x1b[31m"], "no colour map"),
    (["--channels", "99"], "99"),
    (["--channels", "9-1"], "count upwards"),
    (["--channels", "9" * 5000], "channels"),
    (["--channels", "²"], "not a number"),
    (["--provider", "tpu"], "provider|cpu"),
    (["--first", "0"], "--first.*1"),
    (["--save", "x.txt"], "npz"),
    (["--nope\x1b[31m"], "has no option"),
]


@pytest.mark.parametrize(("options", "match"), OPTIONS, ids=[" ".join(o)[:24] for o, _ in OPTIONS])
def test_options_that_cannot_be(
    options: list[str],
    match: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    small_photo: Path,
    no_inference: None,
) -> None:
    refused(capsys, "maps", write(tmp_path, small()), small_photo, "-q", *options, match=match)
