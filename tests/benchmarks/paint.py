"""What is painted for `make bench-quality`, in which order, and where it is kept: a PNG each, with the CPU seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from trained import NETWORKS, Target

NETWORK = NETWORKS["lite0-224"]
# German shepherd, tabby, giant panda, zebra, monarch, flamingo; then drawn by numpy's default_rng(0).
FIRST_CLASSES = (235, 281, 388, 340, 323, 130)
CLASSES, EACH_LAYER, FIRST_EACH = 20, 6, 2
OURS = "onnxviz"
TITLES = {
    OURS: "onnxviz",
    "onnxviz-maco": "onnxviz, `--param maco`",
    "lucent": "lucent 0.1.8",
    "tf-keras-vis": "tf-keras-vis 0.8.7",
    "horama-fourier": "Horama 0.3, Fourier",
    "horama-maco": "Horama 0.3, MaCo",
    "onnxviz-earlier": "onnxviz, 256 steps at a rate of 0.05",
}
# What the first subjects are made with, the dear ones last; and then the others.
FIRST = ("onnxviz", "onnxviz-maco", "tf-keras-vis", "lucent", "onnxviz-earlier", "horama-maco", "horama-fourier")
REST = ("onnxviz", "onnxviz-maco", "tf-keras-vis", "lucent", "horama-fourier")


@dataclass(frozen=True, order=True)
class Subject:
    """A filter of a layer, or a class where the layer gives logits."""

    layer: str
    number: int

    @property
    def is_class(self) -> bool:
        """Whether it is a class."""
        return self.layer == NETWORK.classes

    def file(self, folder: str, tool: str, seed: int) -> Path:
        """Where a tool's picture of it is kept."""
        return Path(folder) / tool / f"{self.layer.strip('_')}-{self.number}-{seed}.png"


def classes() -> list[int]:
    """The classes, in the order in which they are made."""
    drawn = [int(one) for one in np.random.default_rng(0).permutation(1000) if one not in FIRST_CLASSES]
    return [*FIRST_CLASSES, *drawn][:CLASSES]


def rounds(folder: str) -> list[list[Subject]]:
    """What is made first, and what then: 6 classes and 8 filters; the other 14 and 16."""
    every = [Subject(NETWORK.classes, number) for number in classes()]
    first, then = every[: len(FIRST_CLASSES)], every[len(FIRST_CLASSES) :]
    for layer in NETWORK.layers:
        filters = np.random.default_rng(1).permutation(Target(NETWORK.name, layer, folder).filters()[0])[:EACH_LAYER]
        mine = [Subject(layer, int(number)) for number in filters]
        first, then = first + mine[:FIRST_EACH], then + mine[FIRST_EACH:]
    return [first, then]


def keep(file: Path, picture: np.ndarray, seconds: float) -> None:
    """Keeps a picture (H, W, 3) in 0…1, in 8 bits, and what it took; a broken run leaves none."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    file.parent.mkdir(parents=True, exist_ok=True)
    said = PngInfo()
    said.add_text("seconds", f"{seconds:.3f}")
    part = file.with_suffix(".part")
    Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)).save(part, format="PNG", pnginfo=said)
    part.rename(file)


def kept(file: Path) -> tuple[np.ndarray, float]:
    """A kept picture (H, W, 3) uint8, and the CPU seconds it took."""
    from PIL import Image

    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")), float(picture.info["seconds"])


def paint(tool: str, folder: str, seed: int, subjects: Sequence[Subject]) -> None:
    """Makes what is missing of a tool's pictures, one at a time; networks of other frameworks are built beforehand."""
    import painters

    import onnxviz  # noqa: F401 - before the clock starts

    targets: dict[str, Target] = {}
    for one in subjects:
        file = one.file(folder, tool, seed)
        if file.exists():
            continue
        if one.layer not in targets:
            targets[one.layer] = Target(NETWORK.name, one.layer, folder)
        painters.READY.get(tool, id)(targets[one.layer])
        started = time.process_time()
        picture = painters.PAINTERS[tool](targets[one.layer], [one.number], seed)[0]
        seconds = time.process_time() - started
        keep(file, picture, seconds)
        print(f"{tool}: {one.layer} {one.number}, {seconds:.0f} CPU s", file=sys.stderr, flush=True)
