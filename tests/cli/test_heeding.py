"""Every option in every mode of every command: it changes something, or it is refused by name; none is silent."""

import json
import re
import shutil
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import onnx
import pytest
import typer
from PIL import Image
from protos import classifier_proto, normal, parsed
from toy_framework import MODULE, ToyConverter

from onnxviz import plots
from onnxviz.cli.program import load_commands, run
from onnxviz.conversion import sources
from onnxviz.explanations import explanation
from onnxviz.explanations.methods import METHODS
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import Session

APP = load_commands()
PROGRAM = typer.main.get_command(APP)
COMMANDS = PROGRAM.commands
OPTIONS = {
    (command, parameter.name): parameter
    for command, found in COMMANDS.items()
    for parameter in found.params
    if parameter.param_type_name == "option" and parameter.name != "help"
}
HINTS = {
    command.name or command.callback.__name__: get_type_hints(command.callback) for command in APP.registered_commands
}
MAPS = ["maps", "in/m.onnx", "in/photos/a.png", "--layers", "last"]
EXPLAIN = ["explain", "in/m.onnx", "in/photos/a.png", "--save", "e.npz"]
MAXIMIZE = ["maximize", "in/m.onnx", "block1_conv1", "--steps", "1", "--filters", "0"]

# Each way in which a command works, by what one types for it. What its options are is not said here.
MODES = {
    "layers": ["layers", "in/m.onnx"],
    "layers --all": ["layers", "in/m.onnx", "--all"],
    "layers --ops": ["layers", "in/m.onnx", "--ops", "MaxPool,Conv"],
    "layers --json": ["layers", "in/m.onnx", "--json"],
    "filters": ["filters", "in/m.onnx"],
    "filters, a file": ["filters", "in/m.onnx", "-o", "f.png"],
    "filters, saved": ["filters", "in/m.onnx", "--save", "f.npz"],
    "filters, drawn and saved": ["filters", "in/m.onnx", "--save", "f.npz", "-o", "f"],
    "filters by number": ["filters", "in/m.onnx", "--filters", "1,2"],
    "filters grid": ["filters", "in/m.onnx", "--style", "grid"],
    "filters rgb": ["filters", "in/m.onnx", "--style", "rgb"],
    "filters lines": ["filters", "in/signal.onnx", "--style", "lines"],
    "filters, signals": ["filters", "in/signal.onnx"],
    "maps": MAPS,
    "maps, photos": ["maps", "in/m.onnx", "in/photos", "--layers", "last"],
    "maps, a sized model's sizes": ["maps", "in/open.onnx", "in/photos/a.png", "--layers", "last", "--size", "12x10"],
    "maps, each photo's size": ["maps", "in/open.onnx", "in/photos/a.png", "--layers", "last"],
    "maps, saved": [*MAPS, "--save", "m.npz"],
    "maps, drawn and saved": [*MAPS, "--save", "m.npz", "-o", "m"],
    "maps, arrays": ["maps", "in/m.onnx", "in/x.npy", "--layers", "last"],
    "maps, arrays by name": ["maps", "in/two.onnx", "left=in/l.npy", "right=in/l.npy"],
    "maps strip": [*MAPS, "--style", "strip"],
    "maps by number": [*MAPS, "--channels", "1,0,2"],
    "maps sorted": [*MAPS, "--sort", "mean"],
    "maps, signals": ["maps", "in/signal.onnx", "in/s.npy"],
    "maps lines": ["maps", "in/signal.onnx", "in/s.npy", "--style", "lines"],
    "maps, numbers": ["maps", "in/m.onnx", "in/x.npy", "--ops", "MatMul"],
    "top patches": [*MAPS, "--top-patches", "2"],
    "top patches by number": [*MAPS, "--top-patches", "2", "--channels", "1,2"],
    "top patches, saved": [*MAPS, "--top-patches", "2", "--save", "p.npz"],
    "top patches, each photo's size": ["maps", "in/open.onnx", "in/photos", "--layers", "0,2", "--top-patches", "2"],
    "top patches, arrays": ["maps", "in/m.onnx", "in/x.npy", "--layers", "last", "--top-patches", "2"],
    **{f"explain {name}": [*EXPLAIN, "--method", name] for name in METHODS},
    "explain integrated-gradients": [*EXPLAIN, "--method", "integrated-gradients", "--samples", "4"],
    "explain smooth-grad": [*EXPLAIN, "--method", "smooth-grad", "--samples", "2"],
    "explain rise": [*EXPLAIN, "--method", "rise", "--samples", "4"],
    "explain, a file": ["explain", "in/m.onnx", "in/photos/a.png", "-o", "e.png"],
    "explain, drawn": ["explain", "in/m.onnx", "in/photos/a.png"],
    "explain, photos": ["explain", "in/m.onnx", "in/photos", "--save", "e.npz"],
    "explain, drawn and saved": [*EXPLAIN, "-o", "e"],
    "explain a class": [*EXPLAIN, "--class", "1"],
    "explain --sanity": ["explain", "in/signal.onnx", "in/s.npy", "--save", "e.npz", "--sanity"],
    "explain --sanity rise": [
        "explain", "in/signal.onnx", "in/s.npy", "--save", "e.npz", "--sanity", "--method", "rise", "--samples", "9",
    ],
    "explain a tensor": [*EXPLAIN, "--target", "r1"],
    "explain a segmentation": ["explain", "in/seg.onnx", "in/photos/a.png", "--save", "e.npz"],
    "explain each photo's size": ["explain", "in/open.onnx", "in/photos/a.png", "--save", "e.npz"],
    "explain arrays": ["explain", "in/m.onnx", "in/x.npy", "--save", "e.npz"],
    "explain signals": ["explain", "in/signal.onnx", "in/s.npy", "--method", "saliency"],
    "maximize": MAXIMIZE,
    "maximize, saved": [*MAXIMIZE, "--save", "s.npz"],
    "maximize, drawn and saved": [*MAXIMIZE, "--save", "s.npz", "-o", "s"],
    "maximize, drawn filters": ["maximize", "in/m.onnx", "block1_conv1", "--steps", "1", "--save", "s.npz"],
    "maximize a class": ["maximize", "in/m.onnx", "--class", "1", "--steps", "1", "--save", "s.npz"],
    "maximize both": [*MAXIMIZE, "--class", "1", "--save", "s.npz"],
    "maximize --at conv": [*MAXIMIZE, "--at", "conv", "--save", "s.npz"],
    "maximize pixels": [*MAXIMIZE, "--param", "pixel", "--save", "s.npz"],
    "maximize unmoved": [*MAXIMIZE, "--transforms", "none", "--save", "s.npz"],
    "maximize jitter": [*MAXIMIZE, "--transforms", "jitter", "--save", "s.npz"],
    "maximize, open size": ["maximize", "in/open.onnx", "0", *MAXIMIZE[3:], "--size", "10x8", "--save", "s.npz"],
    "maximize, two inputs": [
        "maximize", "in/two.onnx", "0", "--filters", "0", "--steps", "1", "--fixed", "right=in/l.npy",
        "--save", "s.npz",
    ],
    "maximize signals": ["maximize", "in/signal.onnx", "front", *MAXIMIZE[3:]],
    "annotate": ["annotate", "in/m.onnx", "--preprocess", "raw", "-o", "out.onnx"],
    "convert": ["convert", "toys:factory", "-o", "out.onnx"],
    "convert, unverified": ["convert", "toys:factory", "-o", "out.onnx", "--no-verify"],
}  # fmt: skip

# Values that are not the usual ones, where the option's type does not give one. An option that is not here fails.
VALUES = {
    "output": "elsewhere", "save": "saved.npz", "ops": "MaxPool", "layers": "block1_conv2", "channels": "0",
    "numbers": "1", "first": "2", "cmap": "magma", "preprocess": "torch", "size": "14x10", "background": "black",
    "memory": "2MiB",
    "class_": "2", "method": "layer-cam", "layer": "block1_conv2",
    "target": "r2", "region": "0,0,2,2", "wrt": "other", "labels": "in/names.txt", "plus": "norm=-0.5",
    "fixed": "image=in/x.npy", "input_shape": "1x3x8x9", "weights": "in/m.onnx", "opset": "17",
}  # fmt: skip
FLAG_VALUES = {
    ("annotate", "output"): "elsewhere.onnx", ("convert", "output"): "elsewhere.onnx", ("maximize", "size"): "12x9",
    ("filters", "scale"): "symmetric", ("maps", "scale"): "symmetric", ("maps", "sort"): "variance",
}  # fmt: skip
# Where the mode has other layers, classes or sizes than most.
MODE_VALUES = {
    ("filters rgb", "channels"): "2,1,0", ("explain occlusion", "stride"): "2",
    **{(mode, "ops"): "Relu" for mode in ("maps, signals", "maps lines", "maps, arrays by name")},
    ("explain a tensor", "labels"): "in/six.txt", ("explain a tensor", "class_"): "1",
    ("explain a segmentation", "labels"): "in/three.txt", ("explain signals", "labels"): "in/three.txt",
    **{(f"explain --sanity{rise}", "labels"): "in/three.txt" for rise in ("", " rise")},
    **{(f"explain --sanity{rise}", "target"): "f" for rise in ("", " rise")},
    ("explain --sanity", "layer"): "r", ("explain signals", "target"): "f", ("explain signals", "wrt"): "other",
    ("maximize, two inputs", "class_"): "1", ("maximize signals", "fixed"): "x=in/s.npy",
    ("maximize signals", "size"): "19x1",
}  # fmt: skip
# What gives the same result by contract: it says where the model runs, or what may be said or done. `tried` looks at
# what the option governs: the session, the batches, stderr.
PERMISSIONS = {("convert", "allow_code_execution")}


def value_of(mode, name):
    """What is typed behind the option: not its usual value, and not what the mode has."""
    typed = MODES[mode]
    command = typed[0]
    parameter = OPTIONS[command, name]
    if parameter.is_flag:
        return []
    hint = HINTS[command][name]
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    text = MODE_VALUES.get((mode, name)) or FLAG_VALUES.get((command, name))
    if text is None and choices:
        usual = choices[0] if parameter.default is None else parameter.default
        text = next(choice for choice in choices if choice not in (usual, *typed))
    elif text is None:
        text = VALUES.get(name, "3" if int in kinds else "0.3" if float in kinds else None)
    assert text is not None, f"{command} has a new option {parameter.opts[0]}: say in VALUES with what it is tried"
    return [text]


PAIRS = [
    (mode, name)
    for mode, typed in MODES.items()
    for (command, name), parameter in OPTIONS.items()
    if command == typed[0] and not {*parameter.opts, *parameter.secondary_opts} & {*typed}
]


def test_every_command_has_modes():
    assert {typed[0] for typed in MODES.values()} == {*COMMANDS}


# ---------------------------------------------------------------- what is tried, and what is seen of it


def prepare(folder):
    """The models, photos and arrays that the modes name."""
    place = Path(folder) / "in"
    (place / "photos").mkdir(parents=True)
    onnx.save(classifier_proto(), place / "m.onnx")
    onnx.save(classifier_proto(("height", "width")), place / "open.onnx")
    seg = parsed(
        "g (float[n,3,16,12] x) => (float[n,3,16,12] y) "
        "{ c = Conv <pads=[1,1,1,1]> (x, u) r = Relu (c) y = Conv (r, v) }",
        u=normal(4, 3, 3, 3), v=normal(3, 4, 1, 1),
    )  # fmt: skip
    onnx.save(seg, place / "seg.onnx")
    signal = parsed(
        "g (float[n,2,20] x) => (float[n,3] y) { c = Conv <pads=[1,1]> (x, u) r = Relu (c) m = GlobalAveragePool (r) "
        "f = Flatten (m) y = MatMul (f, v) }",
        v=normal(4, 3), **{"u": normal(4, 2, 3)},
    )  # fmt: skip
    signal.graph.initializer[1].name = "front/kernel"
    signal.graph.node[0].input[1] = "front/kernel"
    onnx.save(signal, place / "signal.onnx")
    two = parsed(
        "g (float[n,3,4,4] left, float[n,3,4,4] right) => (float[n,4,4,4] y)"
        "{ a = Conv (left, l) b = Relu (a) c = Conv (right, r) d = Relu (c) y = Add (b, d) }",
        l=-np.abs(normal(4, 3, 1, 1)), r=normal(4, 3, 1, 1, seed=2),
    )  # fmt: skip
    onnx.save(two, place / "two.onnx")
    rng = np.random.default_rng(2)
    for name in "ab":
        pixels = rng.integers(0, 256, (24, 15, 4), np.uint8)
        pixels[4:20, 3:9, 3] = 255
        Image.fromarray(pixels).save(place / "photos" / f"{name}.png")
    np.save(place / "x.npy", normal(2, 3, 16, 12))
    np.save(place / "s.npy", normal(1, 2, 20))
    np.save(place / "l.npy", normal(1, 3, 4, 4))
    for name, count in (("three", 3), ("names", 5), ("six", 6)):
        (place / f"{name}.txt").write_text("".join(f"name {number}\n" for number in range(count)))
    (Path(folder) / "toys.py").write_text(MODULE)


# What a manifest says of the options themselves: that it is written down is no effect.
ECHOES = {"look", "settings", "leak", "decay", "param", "seconds", "rate", "steps", "seed"}


def without_echoes(value):
    if isinstance(value, dict):
        return {key: without_echoes(item) for key, item in value.items() if key not in ECHOES}
    return [without_echoes(item) for item in value] if isinstance(value, list) else value


def content(path):
    if path.suffix == ".json":
        return json.dumps(without_echoes(json.loads(path.read_text())))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    return path.read_bytes()


def held(figure, path, **options):
    """In the place of a picture, what its figure holds: drawing it is what takes the time."""
    parts = []
    for artist in figure.findobj():
        if hasattr(artist, "get_array") and artist.get_array() is not None and hasattr(artist, "get_cmap"):
            array = np.ma.asarray(artist.get_array())
            parts.append((array.data.tobytes(), np.ma.getmaskarray(array).tobytes(), artist.get_cmap().name))
        if hasattr(artist, "get_text"):
            parts.append(artist.get_text())
        if hasattr(artist, "get_segments"):
            parts.append([segment.tolist() for segment in artist.get_segments()])
        if hasattr(artist, "get_xydata"):
            parts.append(artist.get_xydata().tolist())
        if hasattr(artist, "get_bbox"):
            parts.append(str(artist.get_bbox()))
    path.write_text(repr(parts))
    return path


class Sweep:
    """Runs commands in one folder, and sees what each did."""

    def __init__(self, folder, capture):
        self.folder, self.capture = folder, capture
        self.used = []
        self._usual = {}

    def seen(self, typed):
        """(exit code, stderr, everything else that it did)."""
        self.used.clear()
        self.capture.readouterr()
        code = run(typed)
        out, err = self.capture.readouterr()
        with suppress(ValueError):
            out = json.dumps(without_echoes(json.loads(out)))
        made = {}
        for path in sorted(self.folder.iterdir()):
            if path.name in ("in", "toys.py", "__pycache__"):
                continue
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            made.update({str(one.relative_to(self.folder)): content(one) for one in files if one.is_file()})
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        said = re.sub(r"\d+\.\d", "_", err)  # seconds
        return code, said, (out, made, sorted(map(str, self.used)))

    def tried(self, mode, name):
        """What came of one option in one mode: "effect", "refused", "silent" or "wrong", and what was said."""
        typed = MODES[mode]
        if mode not in self._usual:
            self._usual[mode] = self.seen(typed)
            assert self._usual[mode][0] == 0, (typed, self._usual[mode][1])
        usual = self._usual[mode]
        parameter = OPTIONS[typed[0], name]
        flag = (parameter.secondary_opts or parameter.opts)[0]
        value = value_of(mode, name)
        code, said, did = self.seen([*typed, flag, *value])
        if code == 2:  # it names the option, or what was typed behind it
            named = any(
                re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", said) for text in (flag, *value) if len(text) > 1
            )
            return ("refused" if named and not did[0] and not did[1] else "wrong"), said
        if code != 0:
            return "wrong", said
        if name == "quiet":  # a promise: no notes
            return ("effect" if not said else "wrong"), said
        if (typed[0], name) in PERMISSIONS:
            return "effect", said
        return ("effect" if (said, did) != (usual[1], usual[2]) else "silent"), said


class Noting(ToyConverter):
    """Notes what it is asked: what a converter does with it is told by its own tests."""

    def __init__(self, used):
        super().__init__()
        self.used = used

    def open(self, source, **asked):
        self.used.append(("asked", asked["weights"], asked["input_shapes"]))
        return super().open(source, **asked)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heeding")
    prepare(folder)
    return folder


@pytest.fixture
def sweep(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(typer.main, "get_command", lambda app: PROGRAM)  # made once: it takes longer than most runs
    found = Sweep(place, capsys)
    started, batches = Session.__init__, Batching.of.__func__

    def session(self, proto, folder, label, options=None, **more):
        if options is not None:
            found.used.append(("threads", options.threads))
        started(self, proto, folder, label, *([options] if options is not None else []), **more)

    def of(cls, model, memory=None, **more):
        found.used.append(("memory", memory))
        return batches(cls, model, *([memory] if memory is not None else []), **more)

    for home in (
        plots,
        *(import_module(f"onnxviz.output.{name}") for name in ("explanations", "maps", "patches", "synthetic")),
    ):
        monkeypatch.setattr(home, "save_figure", held)
    monkeypatch.setattr(explanation, "_LONGEST", 24)  # pixels of a photo that is not looked at
    monkeypatch.setattr(Session, "__init__", session)
    monkeypatch.setattr(Batching, "of", classmethod(of))
    monkeypatch.setattr(sources, "converters", lambda: [Noting(found.used)])
    monkeypatch.setattr(sources, "_loaded", lambda: iter(()))
    monkeypatch.syspath_prepend(place)
    yield found
    sys.modules.pop("toys", None)


@pytest.mark.parametrize("mode", MODES)
def test_no_option_is_silent(sweep, mode):
    names = [name for one, name in PAIRS if one == mode]
    found = {name: sweep.tried(mode, name) for name in names}
    bad = {name: (what, said) for name, (what, said) in found.items() if what not in ("effect", "refused")}
    assert not bad, "\n".join(f"{mode}, {name}: {what}: {said}" for name, (what, said) in bad.items())
