"""Runs the benchmarks and prints their table: `make bench`, or `python tests/benchmarks [NAME ...]`.

Each measurement is a fresh process that prints its seconds and peak memory; ours and the alternative's alternate, and
the median of the repetitions counts. Absolute figures drift with the machine, the ratios hardly do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil


@dataclass(frozen=True)
class Measured:
    """Seconds, and peak resident memory in MiB, of the work in one process.

    `unfinished`: the system ended it because memory ran out; both figures are then lower bounds.
    """

    seconds: float
    memory: float
    unfinished: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table; `holds` is whether the aim is met, None where there is none."""

    what: str
    ours: str
    theirs: str
    ratio: str
    aim: str
    holds: bool | None


def work(name: str, *arguments: str, threads: int | None = None) -> Measured:
    """Runs `tests/benchmarks/work.py NAME ARGUMENTS` and reads what it measured of itself."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)} if threads else None
    command = [sys.executable, str(Path(__file__).with_name("work.py")), name, *arguments]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        peak = 0
        while True:
            try:
                out, err = process.communicate(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                with contextlib.suppress(psutil.Error):
                    peak = max(peak, psutil.Process(process.pid).memory_info().rss)
    if process.returncode == -signal.SIGKILL:
        return Measured(time.perf_counter() - started, peak / 2**20, unfinished=True)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{err}")
    return Measured(**json.loads(out.splitlines()[-1]))


def alternate(repeat: int, *measure: Callable[[], Measured]) -> list[Measured]:
    """The median of each measurement, taken in turns."""
    rounds = [[one() for one in measure] for _ in range(repeat)]
    return [
        Measured(
            statistics.median(r[i].seconds for r in rounds),
            statistics.median(r[i].memory for r in rounds),
            any(r[i].unfinished for r in rounds),
        )
        for i in range(len(measure))
    ]


def first_map(model: str, repeat: int) -> list[Row]:
    """The first feature map of the first layer: from opening the file to the array."""
    ours, theirs = alternate(repeat, lambda: work("first-map", model), lambda: work("first-map-by-hand", model))
    faster, smaller = theirs.seconds / ours.seconds, theirs.memory / ours.memory
    return [
        Row("first map of VGG16, seconds", f"{ours.seconds:.3f} s", f"{theirs.seconds:.2f} s", f"{faster:.0f}×",
            "≥ 80×", faster >= 80),
        Row("first map of VGG16, memory", f"{ours.memory:.0f} MiB", f"{theirs.memory:.0f} MiB", f"{smaller:.1f}×",
            "≥ 12×", smaller >= 12),
    ]  # fmt: skip


def all_maps(model: str, repeat: int) -> list[Row]:
    """All 13 layers, bit for bit; and of 64 images."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/ours.npz", f"{folder}/theirs.npz"]
        ours, theirs = alternate(1, lambda: work("all-maps", model, files[0]),
                                 lambda: work("all-maps-by-hand", model, files[1]))  # fmt: skip
        one, other = np.load(files[0]), np.load(files[1])
        same = one.files == other.files and all(np.array_equal(one[n], other[n]) for n in one.files)
    batch = work("maps-of-64", model)
    return [
        Row("13 layers of VGG16, one image", f"{ours.seconds:.2f} s", f"{theirs.seconds:.2f} s",
            f"{theirs.seconds / ours.seconds:.1f}×", "bit-identical", same),
        Row("13 layers of VGG16, 64 images", f"{batch.memory:.0f} MiB, {batch.seconds:.0f} s", "–", "–",
            "< 2048 MiB", batch.memory < 2048),
    ]  # fmt: skip


def drawing(model: str, repeat: int) -> list[Row]:
    """A grid of 64 maps of 224x224, drawn and written as PNG."""
    ours, plain, bare = alternate(
        max(repeat, 3), lambda: work("draw"), lambda: work("draw-subplots"), lambda: work("draw-subplots-no-ticks")
    )
    return [
        Row("64 maps of 224×224 to PNG; one subplot a map", f"{ours.seconds:.2f} s", f"{plain.seconds:.2f} s",
            f"{plain.seconds / ours.seconds:.1f}×", "≥ 5×", plain.seconds >= 5 * ours.seconds),
        Row("the same; subplots without ticks", f"{ours.seconds:.2f} s", f"{bare.seconds:.2f} s",
            f"{bare.seconds / ours.seconds:.1f}×", "", None),
    ]  # fmt: skip


def command(model: str, repeat: int) -> list[Row]:
    """Wall time of a whole process."""
    times = []
    for _ in range(max(repeat, 3)):
        started = time.perf_counter()
        subprocess.run([str(Path(sys.executable).with_name("onnxviz")), "layers", model], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        times.append(time.perf_counter() - started)
    wall = statistics.median(times)
    return [Row("onnxviz layers on VGG16, whole process", f"{wall:.2f} s", "–", "–", "< 1 s", wall < 1)]


# How much faster than Keras' own export a conversion shall be, without and with verification.
CONVERSIONS = {"VGG16": (100, 20), "ResNet50": (1, 1), "MobileNetV2": (1, 1), "EfficientNetB0": (1, 1)}


def conversion(model: str, repeat: int) -> list[Row]:
    """Keras models of keras.applications, converted here and by `model.export(format="onnx")`."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, aims in CONVERSIONS.items():
            file = f"{folder}/{name}.onnx"
            ours, checked, theirs = alternate(
                1,
                lambda name=name, file=file: work("convert", name, file, "no"),
                lambda name=name, file=file: work("convert", name, file, "verify"),
                lambda name=name, file=file: work("convert-by-keras", name, file),
            )
            # Where the alternative ran out of memory, its figures are lower bounds.
            least = "> " if theirs.unfinished else ""
            for one, how, aim in ((ours, "", aims[0]), (checked, ", verified", aims[1])):
                ratio = theirs.seconds / one.seconds
                rows.append(
                    Row(f"convert {name}{how}", f"{one.seconds:.2f} s", f"{least}{theirs.seconds:.1f} s",
                        f"{least}{ratio:.1f}×", f"≥ {aim}×", ratio >= aim)
                )  # fmt: skip
            if name == "VGG16":
                for one, how in ((ours, ""), (checked, ", verified")):
                    smaller = theirs.memory / one.memory
                    rows.append(
                        Row(f"convert VGG16{how}, memory", f"{one.memory:.0f} MiB",
                            f"{least}{theirs.memory:.0f} MiB", f"{least}{smaller:.1f}×", "≥ 8×", smaller >= 8)
                    )  # fmt: skip
    return rows


# Layers that are maximised: of onnxviz' own classifier, of EfficientNet-Lite0 and of HED's VGG16.
MAXIMIZED = ("classifier conv3", "lite0 _blocks.4._expand_conv", "hed block3_conv2")


# The part of the bare model's throughput that is to be left, by network.
WATCHED = {"resnet50": ("ResNet50", 0.87), "vgg16": ("VGG16", 0.93), "lite0": ("EfficientNet-Lite0", 0.65)}
IMAGES, FEW = "256", "32"
# What is reduced besides, one after the other.
PARTS = ("mean", "mean of squares", "maximum", "zeros or minimum")


def watching(model: str, repeat: int) -> list[Row]:
    """Statistics of all activations, beside the bare model, maps reduced by numpy, and PyTorch's hooks."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (title, aim) in WATCHED.items():
            file = f"{folder}/watched-{name}.onnx"
            work("make-watched", name, file)
            bare, ours = alternate(repeat, *(partial(work, kind, file, IMAGES) for kind in ("bare", "watch")))
            rows += [
                watched_row(f"statistics of {title}, {IMAGES} images; bare", ours, bare, aim),
                Row("the same, memory; bare", f"{ours.memory:.0f} MiB", f"{bare.memory:.0f} MiB",
                    f"{ours.memory / bare.memory:.2f}×", "≤ 1.2× + 200 MiB", ours.memory <= 1.2 * bare.memory + 200),
            ]  # fmt: skip
            few, some, hand, hooks, complete, bins, *parts = alternate(
                repeat,
                partial(work, "bare", file, FEW),
                partial(work, "watch", file, FEW),
                partial(work, "watch-by-hand", file, FEW),
                partial(work, "watch-by-hooks", name, FEW),
                partial(work, "watch", file, FEW, "complete"),
                partial(work, "watch", file, FEW, "histogram"),
                *(partial(work, "watch-parts", file, FEW, *PARTS[: count + 1]) for count in range(len(PARTS))),
            )
            rows += [
                watched_row(f"{FEW} images; all maps, numpy", some, hand, 3),
                watched_row(f"{FEW} images; forward hooks of PyTorch", some, hooks, 1.5),
                watched_row(f"{FEW} images, complete; bare", complete, few),
                watched_row(f"{FEW} images, histogram; bare", bins, few),
                *(
                    watched_row(f"{FEW} images, nodes for {' + '.join(PARTS[: count + 1])}; bare", one, few)
                    for count, one in enumerate(parts)
                ),
            ]
    small, large = alternate(1, partial(work, "watch-many", "1000"), partial(work, "watch-many", "20000"))
    more = large.memory - small.memory
    rows.append(
        Row("memory for 20,000 images; 1,000", f"{large.memory:.0f} MiB", f"{small.memory:.0f} MiB",
            f"{more:+.0f} MiB", "≤ +32 MiB", more <= 32)
    )  # fmt: skip
    return rows


def watched_row(what: str, ours: Measured, theirs: Measured, aim: float | None = None) -> Row:
    """A row of two times in seconds."""
    ratio = theirs.seconds / ours.seconds
    holds = None if aim is None else ratio >= aim
    return Row(what, f"{ours.seconds:.1f} s", f"{theirs.seconds:.1f} s", f"{ratio:.2f}×",
               "" if aim is None else f"≥ {aim}×", holds)  # fmt: skip


# One thread, since that is what can be compared.
step = partial(work, threads=1)


def gradient(model: str, repeat: int) -> list[Row]:
    """Value and gradient with respect to the input, one image, one thread, beside torch's autograd."""
    rows, ratios = [], []
    for name, title in (("vgg16", "VGG16 to conv4_3"), ("resnet18", "ResNet18"), ("mobilenet_v2", "MobileNetV2")):
        ours, theirs = alternate(repeat, partial(step, "gradient", name), partial(step, "gradient-by-torch", name))
        ratios.append(theirs.seconds / ours.seconds)
        rows.append(step_row(f"gradient of {title}; torch eager", ours, theirs, 1.3))
    mean = statistics.geometric_mean(ratios)
    return [*rows, Row("the three, geometric mean", "", "", f"{mean:.2f}×", "≥ 1.6×", mean >= 1.6)]


def maximize(model: str, repeat: int) -> list[Row]:
    """Steps of activation maximisation, beside tf-keras-vis and a loop written in PyTorch, on the same weights."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for layer in MAXIMIZED:
            for count in ("1", "6"):
                case = (*layer.split(), count, folder)
                ours, theirs, still, torch = alternate(
                    repeat,
                    partial(step, "maximize", *case),
                    partial(step, "maximize-by-tf-keras-vis", *case),
                    partial(step, "maximize-still", *case),
                    partial(step, "maximize-by-torch", *case),
                )
                what = f"step of {layer}, {count} picture{'s' * (count != '1')}"
                rows.append(step_row(f"{what}; tf-keras-vis", ours, theirs, 5))
                rows.append(step_row(f"{what}, unmoved; torch loop", still, torch, 1.5))
    return rows


def step_row(what: str, ours: Measured, theirs: Measured, aim: float) -> Row:
    """A row of two times in milliseconds."""
    ratio = theirs.seconds / ours.seconds
    return Row(what, f"{ours.seconds * 1e3:.1f} ms", f"{theirs.seconds * 1e3:.1f} ms", f"{ratio:.2f}×", f"≥ {aim:g}×",
               ratio >= aim)  # fmt: skip


# What an audit of the file alone may take: so many times as long as the weights, and so many seconds a model.
TIMES, EACH = 3, 0.3


def auditing(model: str, repeat: int) -> list[Row]:
    """Audits without data of ten models of 100 MB, beside one look at each weight."""
    from auditing import MODELS, RUNNING, RUNS

    count = str(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        work("make-audited", folder)
        static, least, one, whole, bare = alternate(
            repeat,
            partial(work, "audit", folder, count, *RUNNING),
            partial(work, "finite", folder, count),
            partial(work, "audit", folder, "1", *RUNNING),
            partial(work, "audit", folder, count),
            partial(work, "bare-runs", folder, count),
        )
    limit, more = TIMES * least.seconds + EACH * MODELS, static.memory - one.memory
    by_hand = bare.seconds + least.seconds
    what = f"audit of {count} models of 100 MB"
    return [
        Row(f"{what}, file alone; isfinite", f"{static.seconds:.2f} s", f"{least.seconds:.2f} s",
            f"{static.seconds / least.seconds:.1f}×", f"≤ {TIMES}× + {EACH} s a model = {limit:.2f} s",
            static.seconds <= limit),
        Row("the same, memory; of 1 model", f"{static.memory:.0f} MiB", f"{one.memory:.0f} MiB", f"{more:+.0f} MiB",
            "≤ +32 MiB", more <= 32),
        Row(f"{what}, and run; {RUNS} runs in onnxruntime, isfinite", f"{whole.seconds:.2f} s", f"{by_hand:.2f} s",
            f"{whole.seconds / by_hand:.1f}×", "", None),
    ]  # fmt: skip


def systems(model: str, repeat: int) -> list[Row]:
    """The systems of the gallery beside the original programs; no aim in seconds, since pyplot's are not Keras'."""
    import systems as gallery

    rows = []
    for name, ours, theirs, convert in gallery.systems(repeat, Path(os.environ.get("GALLERY", "gallery"))):
        what = f"{name}, its commands on the .onnx; the program in Keras"
        rows += [
            Row(what, f"{ours[0]:.1f} CPU s", f"{theirs[0]:.1f} CPU s", f"{theirs[0] / ours[0]:.1f}×",
                f"(converted in {convert:.1f} CPU s)", None),
            Row("the same, memory", f"{ours[1]:.0f} MiB", f"{theirs[1]:.0f} MiB", f"{theirs[1] / ours[1]:.1f}×", "",
                None),
        ]  # fmt: skip
    return rows


BENCHMARKS = {
    "first-map": first_map,
    "all-maps": all_maps,
    "drawing": drawing,
    "command": command,
    "conversion": conversion,
    "watching": watching,
    "gradient": gradient,
    "maximize": maximize,
    "auditing": auditing,
    "systems": systems,
}


def main() -> int:
    """Prints the table; exit code 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = f"of {', '.join(BENCHMARKS)}; all without; or quality, alone"
    parser.add_argument("names", nargs="*", metavar="NAME", help=every)
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each measurement")
    parser.add_argument("--folder", default="bench/quality", help="where quality keeps its pictures")
    parser.add_argument("--seeds", type=int, default=1, help="starts of each of quality's pictures")
    parser.add_argument("--table", action="store_true", help="quality: judge the pictures there are, make none")
    options = parser.parse_args()
    if options.names == ["quality"]:
        import quality

        return quality.main(work, options.folder, options.seeds, only_table=options.table)
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/vgg16.onnx"
        # In a process of its own: a child's peak memory begins with that of the process that starts it.
        work("make-vgg16", model)
        rows: list[Row] = []
        for name in options.names or BENCHMARKS:
            print(f"running {name} …", file=sys.stderr)
            rows.extend(BENCHMARKS[name](model, options.repeat))
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxviz", "onnx", "onnxruntime", "matplotlib"))
    memory = psutil.virtual_memory().total / 2**30
    print(f"{psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {packages}\n")
    print("| measured | onnxviz | alternative | ratio | aim | met |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        met = "" if row.holds is None else "yes" if row.holds else "**no**"
        print(f"| {row.what} | {row.ours} | {row.theirs} | {row.ratio} | {row.aim} | {met} |")
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
