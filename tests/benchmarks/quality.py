"""How good the pictures of `onnxviz.maximize` are beside others': `python tests/benchmarks quality`.

Real trained weights; 3 layers of 3 networks, 8 filters each, 5 seeds, 256 steps, pictures of one size, lucent's and
tf-keras-vis' defaults. All are judged by the same run of the network in onnxruntime, on the final picture in 0…1, not
moved about. Takes an hour or two on one thread, most of it for HED and the others; what is made is kept in a folder,
with a sheet for each layer (a row each for onnxviz, lucent and tf-keras-vis), and a second run goes on from there.
After a change to `maximize`, remove `*-onnxviz-*.npy`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from painters import STEPS
from trained import NETWORKS, Target

SEEDS = 5
OTHERS = ("lucent", "tf-keras-vis")
# Below this share of what photos excite, an activation counts as this: ratios of nothing to nothing say nothing.
FLOOR = 1e-2


def file_of(folder: str, network: str, layer: str, tool: str, seed: int) -> Path:
    """Where a tool's pictures of a layer's filters are kept."""
    return Path(folder) / f"{network}-{layer}-{tool}-{seed}.npy"


def write(file: Path, pictures: np.ndarray) -> None:
    """Keeps pictures; a broken run leaves none."""
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.save(stream, pictures)
    part.rename(file)


@dataclass(frozen=True)
class Judged:
    """What is measured of the pictures of one tool for one layer; arrays (seeds, filters).

    Attributes:
        activation: mean over the filter's map.
        robust: the same, mean of 32 views: shifted, scaled and turned a little.
        high: share of the brightness' power above 0.25 cycles a pixel, 0…1.
        rank: of the filter among all of its layer, each in units of its mean over photos; 1 is the most excited.
    """

    activation: np.ndarray
    robust: np.ndarray
    high: np.ndarray
    rank: np.ndarray


def judge(target: Target, filters: list[int], means: np.ndarray, pictures: np.ndarray) -> Judged:
    """Measures pictures (seeds, filters, H, W, 3) of a layer whose filters' means over photos are `means`."""
    run, count = target.session(), len(filters)
    flat = np.clip(pictures, 0, 1).astype(np.float32).reshape(-1, *pictures.shape[2:])
    own = np.tile(np.arange(count), len(pictures))
    every = run(flat).mean(axis=(2, 3), dtype=np.float64)
    row, number = np.arange(len(flat)), np.asarray(filters)[own]
    robust = np.mean([run(view).mean(axis=(2, 3), dtype=np.float64)[row, number] for view in _views(flat)], axis=0)
    relative = every / np.maximum(means, FLOOR * means.mean())
    rank = 1 + (relative > relative[row, number][:, None]).sum(axis=1)
    found = (every[row, number], robust, high_share(flat), rank)
    return Judged(*(array.reshape(-1, count) for array in found))


def _views(pictures: np.ndarray) -> Iterator[np.ndarray]:
    """32 views of pictures (N, H, W, 3): by at most 4 pixels, 10 % and 10°; what lies outside is mirrored."""
    from scipy.ndimage import affine_transform

    rng, middle = np.random.default_rng(0), (np.array(pictures.shape[1:3]) - 1) / 2
    for _ in range(32):
        shift, scale, angle = rng.integers(-4, 5, 2), rng.uniform(0.9, 1.1), np.radians(rng.uniform(-10, 10))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        offset = middle - turn @ middle + shift
        planes = np.moveaxis(pictures, -1, 1).reshape(-1, *pictures.shape[1:3])
        seen = np.stack([affine_transform(plane, turn, offset, order=1, mode="mirror") for plane in planes])
        yield np.moveaxis(seen.reshape(len(pictures), 3, *pictures.shape[1:3]), 1, -1)


def high_share(pictures: np.ndarray) -> np.ndarray:
    """Share (N,) of the power above 0.25 cycles a pixel in the brightness of pictures (N, H, W, 3), mean removed.

    Through a Hann window: else the jump from one edge to the other counts, which only pictures that are tiles lack.
    """
    grey = pictures @ np.float32([0.299, 0.587, 0.114])
    grey = grey - grey.mean(axis=(1, 2), keepdims=True)
    height, width = grey.shape[1:]
    power = np.abs(np.fft.fft2(grey * np.hanning(height)[:, None] * np.hanning(width))) ** 2
    high = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) > 0.25
    total = power.sum(axis=(1, 2))
    return np.where(total > 0, power[:, high].sum(axis=1) / np.maximum(total, 1e-12), 0)


def ratio(ours: np.ndarray, theirs: np.ndarray, floor: np.ndarray) -> float:
    """Geometric mean of ours / theirs, both (seeds, filters), neither below `floor` (filters,)."""
    return float(np.exp(np.log(np.maximum(ours, floor) / np.maximum(theirs, floor)).mean()))


def compared(ours: Judged, theirs: Judged, floor: np.ndarray) -> tuple[float, float, float]:
    """Ours to theirs: activation; the same without filters that either leaves below `floor`; moved about."""
    seen = ((ours.activation > floor) & (theirs.activation > floor)).all(axis=0)
    alive = ratio(ours.activation[:, seen], theirs.activation[:, seen], floor[seen]) if seen.any() else np.nan
    return ratio(ours.activation, theirs.activation, floor), alive, ratio(ours.robust, theirs.robust, floor)


def sheet(pictures: list[np.ndarray], file: Path) -> None:
    """One row for each tool's pictures (filters, H, W, 3), as PNG."""
    from PIL import Image

    rows = [
        np.concatenate([np.pad(p, ((2, 2), (2, 2), (0, 0)), constant_values=1) for p in row], 1) for row in pictures
    ]
    image = Image.fromarray(np.rint(np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8))
    image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST).save(file)


def main(work: Callable[..., object], folder: str, seeds: int) -> int:
    """Makes what pictures are missing, by pieces of `work`, and prints the table; exit code 1 if an aim is missed."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    print(f"{seeds} seeds, {STEPS} steps. Activations: ours to theirs; the aim is 1× or more, high frequencies at most "
          "theirs.\n")  # fmt: skip
    print("| network | layer | beside | activation | where both excite | moved about | high frequencies | rank | met |")
    print("|---|---|---|---|---|---|---|---|---|")
    missed = 0
    for network, layer in ((one, layer) for one in NETWORKS.values() for layer in one.layers):
        target = Target(network.name, layer, folder)
        filters, means = target.filters()
        judged, first = {}, []
        for tool in ("onnxviz", *OTHERS):
            files = [file_of(folder, network.name, layer, tool, seed) for seed in range(seeds)]
            if not all(file.exists() for file in files):
                print(f"{tool} makes pictures for {layer} of {network.title} …", file=sys.stderr)
                work("paint", tool, network.name, layer, folder, str(seeds))
            judged[tool] = judge(target, filters, means, np.stack([np.load(file) for file in files]))
            first.append(np.load(files[0]))
        sheet(first, Path(folder) / f"{network.name}-{layer}.png")
        for tool in OTHERS:
            ours, theirs = judged["onnxviz"], judged[tool]
            gain, alive, robust = compared(ours, theirs, FLOOR * means[filters])
            high, other = 100 * ours.high.mean(), 100 * theirs.high.mean()
            met = gain >= 1 and high <= other
            missed += not met
            print(f"| {network.title} | {layer} | {tool} | {gain:.2f}× | {alive:.2f}× | {robust:.2f}× "
                  f"| {high:.1f} % : {other:.1f} % | {np.median(ours.rank):.0f} : {np.median(theirs.rank):.0f} "
                  f"| {'yes' if met else '**no**'} |", flush=True)  # fmt: skip
    return 1 if missed else 0
