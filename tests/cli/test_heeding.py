"""Every option in every mode of every command: it changes something, or it is refused by name; none is silent."""

import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import UnionType
from typing import ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import onnx
import pytest
import typer
from matplotlib.axis import Axis
from modes import FLAG_VALUES, MODE_VALUES, MODES, VALUES
from onnxruntime.quantization import quantize_dynamic
from PIL import Image
from protos import classifier_proto, normal, parsed
from small_detector import small_detector
from toy_framework import MODULE, ToyConverter

import onnxviz
from onnxviz import plots
from onnxviz.auditing import confined_work, finding
from onnxviz.cli import options
from onnxviz.cli.heeding import ALWAYS, check_heeded
from onnxviz.cli.program import load_commands, run
from onnxviz.conversion import sources
from onnxviz.explanations import explanation
from onnxviz.maps import statistics as statistics_
from onnxviz.output import filters as filters_
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import RunOptions, Session

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
    for name in ("m", "open", "signal"):
        quantize_dynamic(place / f"{name}.onnx", place / f"{name}8.onnx")
    two = parsed(
        "g (float[n,3,4,4] left, float[n,3,4,4] right) => (float[n,4,4,4] y)"
        "{ a = Conv (left, l) b = Relu (a) c = Conv (right, r) d = Relu (c) y = Add (b, d) }",
        l=-np.abs(normal(4, 3, 1, 1)), r=normal(4, 3, 1, 1, seed=2),
    )  # fmt: skip
    onnx.save(two, place / "two.onnx")
    onnx.save(small_detector(), place / "boxes.onnx")
    rng = np.random.default_rng(2)
    for name in "ab":
        pixels = rng.integers(0, 256, (24, 15, 4), np.uint8)
        pixels[4:20, 3:9, 3] = 255
        Image.fromarray(pixels).save(place / "photos" / f"{name}.png")
    np.save(place / "x.npy", normal(2, 3, 16, 12))
    np.save(place / "s.npy", normal(1, 2, 20))
    np.save(place / "l.npy", normal(1, 3, 4, 4))
    (place / "classes.csv").write_text("photos/a.png,1\nphotos/b.png,4\n")
    (place / "settings.toml").write_text("[audit]\nignore = ['W']\n")
    (place / "loud.toml").write_text("[audit.thresholds.A03]\nlargest = 0\n")  # says each layer's largest activation
    for name, count in (("three", 3), ("four", 4), ("names", 5), ("six", 6)):
        (place / f"{name}.txt").write_text("".join(f"name {number}\n" for number in range(count)))
    (Path(folder) / "toys.py").write_text(MODULE)
    released = onnxviz.audit(place / "m.onnx", select=["G00"], keep=True)
    onnxviz.Baseline.of(released.record).save(place / "release.baseline")
    onnxviz.Golden.of(place / "m.onnx").save(place / "golden")


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


def shown(artist):
    """An artist and what it is made of, but for axes that are switched off: making their ticks takes long."""
    yield artist
    for one in artist.get_children():
        if not isinstance(one, Axis) or one.axes.axison:
            yield from shown(one)


def held(figure, path, dpi, *, title, captions, record):
    """In the place of a picture, what its figure holds: drawing it is what takes the time."""
    parts = [path.suffix, dpi, title, captions]
    for artist in shown(figure):
        if hasattr(artist, "get_array") and artist.get_array() is not None and hasattr(artist, "get_cmap"):
            array = np.ma.asarray(artist.get_array())
            bits = array.data.tobytes(), np.ma.getmaskarray(array).tobytes()
            parts.append((*(sha256(one).hexdigest() for one in bits), artist.get_cmap().name))
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


_FEW = finding._FEW


class Sweep:
    """Runs commands in one folder, and sees what each did."""

    def __init__(self, folder, capture, patch):
        self.folder, self.capture, self.patch = folder, capture, patch
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
        if name == "verbose":  # as if any number of findings were too many to be told each by itself
            self.patch.setattr(finding, "_FEW", 0)
            usual = self.seen(typed)
        parameter = OPTIONS[typed[0], name]
        flag = (parameter.secondary_opts or parameter.opts)[0]
        value = value_of(mode, name)
        code, said, did = self.seen([*typed, flag, *value])
        self.patch.setattr(finding, "_FEW", _FEW)
        if code == 2:  # it names the option, or what was typed behind it
            named = any(
                re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", said) for text in (flag, *value) if len(text) > 1
            )
            return ("refused" if named and not did[0] and not did[1] else "wrong"), said
        if (typed[0], code) == ("audit", 1):  # a finding, which there was none of
            return "effect", said
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
        self.used.append(("asked", asked.get("weights"), asked.get("input_shapes")))
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
    found = Sweep(place, capsys, monkeypatch)
    started, batches = Session.__init__, Batching.of.__func__

    def session(self, proto, folder, label, options=None, **more):
        options = options or RunOptions()
        found.used.append(("threads", options.threads))
        started(self, proto, folder, label, replace(options, threads=1), **more)  # others would wait in vain

    def of(cls, model, memory=None, **more):
        found.used.append(("memory", memory))
        return batches(cls, model, *([memory] if memory is not None else []), **more)

    monkeypatch.setattr(plots, "save_figure", held)
    # That an option is written down is no effect.
    for home in (options, filters_):
        monkeypatch.setattr(home, "recorded", lambda verb, options: {})

    def at_once(works, limits, jobs=1, told=None):
        found.used.append(("confined", limits, jobs))
        for number, work in enumerate(works):
            yield number, confined_work.Outcome(work(lambda stage: None))

    monkeypatch.setattr(confined_work, "confined", at_once)
    monkeypatch.setattr(confined_work, "limit_memory", lambda count: found.used.append(("limit", count)))

    class Pool(ThreadPoolExecutor):
        def __init__(self, count, name):
            found.used.append(("threads", count))
            super().__init__(1, name)

    monkeypatch.setattr(statistics_, "ThreadPoolExecutor", Pool)
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


# ---------------------------------------------------------------- the mechanism, and Python


@pytest.mark.parametrize("declared", ["model", "model layers more"])
def test_a_parameter_that_no_mode_declares_is_a_bug(declared):
    class Context:
        params: ClassVar = {"model": "m.onnx", "layers": "all"}
        command = COMMANDS["layers"]

    with pytest.raises(TypeError, match=r"layers does not say in which mode it heeds (layers|more): see"):
        check_heeded(Context(), {ALWAYS: declared})


CLASSIFIER = classifier_proto()
ARRAY, PIXELS = normal(1, 3, 16, 12), {"fit": "crop", "background": "black", "size": (9, 9), "preprocess": "torch"}


@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        (lambda **o: onnxviz.filters(CLASSIFIER, save="f.npz", **o), {"cmap": "gray"}, "save= alone draws nothing"),
        (lambda **o: onnxviz.filters(CLASSIFIER, save="f.npz", **o), {"first": 2, "format": "png"}, "first=, format="),
        (lambda **o: onnxviz.filters(CLASSIFIER, output="f.png", **o), {"format": "svg"}, "in output= says its format"),
        (lambda **o: onnxviz.filters(CLASSIFIER, filters=[1], **o), {"first": 2}, "filters= says which are shown"),
        (
            lambda **o: onnxviz.plot_filters(normal(4, 3, 3, 3), style="rgb", **o),
            {"cmap": "gray"},
            "colours of its own",
        ),
        *(
            (lambda verb=verb, **o: verb(CLASSIFIER, ARRAY, **o), {name: value}, "arrays are fed as they are")
            for verb in (onnxviz.capture, onnxviz.stream, onnxviz.top_patches, onnxviz.explain, onnxviz.explain_each)
            for name, value in PIXELS.items()
        ),
        (lambda **o: onnxviz.explain(CLASSIFIER, ARRAY, **o), {"region": "all"}, "no positions"),
        (lambda **o: onnxviz.explain(CLASSIFIER, ARRAY, **o), {"samples": 3}, "grad-cam takes no samples"),
        (lambda **o: onnxviz.layers(CLASSIFIER, all=True, **o), {"ops": ["Conv"]}, "leave one of them out"),
    ],
)
def test_python_refuses_likewise(verb, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(onnxviz.UnheededOptionError) as error:
        verb(**options)
    said = str(error.value)
    assert words in said
    assert "--" not in said
    assert "{" not in said
    assert all(re.search(rf"\b{name}=", said) for name in options)
    assert not [*tmp_path.iterdir()]


def test_python_heeds_them_where_they_mean_something(tmp_path):
    prepare(tmp_path)
    photo, model = tmp_path / "in" / "photos" / "a.png", tmp_path / "in" / "open.onnx"
    with pytest.raises(
        onnxviz.UnheededOptionError, match=r"each image keeps its own size, size= sets one: leave out fit="
    ):
        onnxviz.capture(model, photo, fit="crop")
    stretched, cropped = (
        onnxviz.capture(model, photo, layers="first", size=(8, 8), fit=fit)["block1_conv1"] for fit in (None, "crop")
    )
    assert not np.array_equal(stretched, cropped)
    with pytest.raises(onnxviz.UnheededOptionError, match="takes images of 16x12, not of 8x8: leave out size"):
        onnxviz.capture(tmp_path / "in" / "m.onnx", photo, size=(8, 8))
    onnxviz.capture(tmp_path / "in" / "m.onnx", photo, size=(16, 12))
