"""`python docs/draw_overview.py [PICTURE.webp]`: the picture at the top of README.md, made with the public Python API.

Six panels of one photo and one model: the photo, filters, feature maps, where the model looks, what a filter looks for,
and the audit's verdict. It lies on a dark card of its own with clear corners, to be read on light and on dark pages.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image, ImageOps

import onnxviz

ROOT = Path(__file__).resolve().parents[1]
MODEL, PHOTO, PHOTOS = (ROOT / "models" / name for name in ("classifier.onnx", "photos/macaw.jpg", "photos"))
TILES, STEPS = 9, 256
# Twice what GitHub gives it, in pixels; a panel is a square, with a line above it and one below.
WIDTH, HEIGHT, EDGE, GAP, TOP = 1800, 414, 34, 22, 78
SIDE = (WIDTH - 2 * EDGE - 5 * GAP) / 6
SHARP = 190  # pixels that a tile has at least, so that its cells stay sharp
CARD, CELL, WORDS, QUIET, GOOD, BAD = "#14222f", "#1d3040", "#ffffff", "#a9bccb", "#62d2a2", "#ff9d7a"


def panels() -> list[tuple[str, str, np.ndarray | onnxviz.Audit]]:
    """What is drawn: a title, the command that shows it, and a picture (H, W, 3) of 0…1 or the audit."""
    model = onnxviz.load(MODEL)
    maps = onnxviz.capture(model, PHOTO, layers="conv1,conv5", fit="crop")
    with Image.open(PHOTO) as image:  # the square that the model is given, with more pixels
        photo = np.asarray(ImageOps.fit(image.convert("RGB"), (2 * round(SIDE),) * 2, Image.Resampling.LANCZOS)) / 255
    answer = onnxviz.predict(model, PHOTO, fit="crop")[0].answer
    found = onnxviz.explain(model, PHOTO, method="grad-cam", fit="crop")
    weight = model.layer("conv1").weight  # (O, 3, H, W)
    heaviest = np.argsort(-(weight.astype(np.float64) ** 2).sum(axis=(1, 2, 3)), kind="stable")[:TILES]
    strongest = int(maps["conv5"][0].mean(axis=(1, 2)).argmax())
    made = onnxviz.maximize(model, "conv5", filters=[strongest], steps=STEPS)
    return [
        ("a photo", f"predict: {answer.sentence}", photo),
        ("filters", "filters", mosaic([coloured(one) for one in weight[heaviest]])),
        ("feature maps", "maps", mosaic([shaded(one) for one in maps["conv1"][0][heaviest]])),
        ("where it looks", "explain", overlay(photo, found.map)),
        ("what a filter wants", "maximize", np.asarray(made.images[0])),
        ("fit to deploy?", "audit", onnxviz.audit(model, PHOTOS)),
    ]


def coloured(weight: np.ndarray) -> np.ndarray:
    """A filter (3, H, W) as (H, W, 3): zero is mid-grey, its largest weight is 0 or 1."""
    return 0.5 + 0.5 * weight.transpose(1, 2, 0) / np.abs(weight).max()


def shaded(values: np.ndarray) -> np.ndarray:
    """A map (H, W) in colours (H, W, 3), from its least value to the one that a hundredth of them exceed."""
    least, most = values.min(), np.percentile(values, 99)
    return colormaps["viridis"](np.clip((values - least) / (most - least), 0, 1))[..., :3]


def mosaic(tiles: list[np.ndarray]) -> np.ndarray:
    """Square tiles (H, W, 3) of one size, side by side, with the card between them."""
    columns = math.isqrt(len(tiles))
    factor = -(-SHARP // len(tiles[0]))
    tiles = [one.repeat(factor, axis=0).repeat(factor, axis=1) for one in tiles]
    edge, space = len(tiles[0]), len(tiles[0]) // 12
    side = columns * (edge + space) - space
    whole = np.broadcast_to(to_rgb(CARD), (side, side, 3)).copy()
    for number, tile in enumerate(tiles):
        top, left = (place * (edge + space) for place in divmod(number, columns))
        whole[top : top + edge, left : left + edge] = tile
    return whole


def overlay(photo: np.ndarray, found: np.ndarray) -> np.ndarray:
    """A map (H, W) as colour on a grey copy of the photo (height, width, 3): the higher, the less of it is left."""
    coarse = Image.fromarray(np.clip(found / found.max(), 0, 1).astype(np.float32))
    share = np.asarray(coarse.resize(photo.shape[1::-1], Image.Resampling.BILINEAR))[..., None]
    grey = (photo @ [0.299, 0.587, 0.114])[..., None]
    return 0.7 * (1 - 0.75 * share) * grey + 0.75 * share * colormaps["inferno"](share[..., 0])[..., :3]


def verdict(audit: onnxviz.Audit) -> list[tuple[str, str]]:
    """Lines of the last panel with their colours: the verdict first, then what it rests on."""
    passes = audit.passes()
    counted = Counter(one.severity.name.lower() for one in audit.findings)
    return [
        ("✓ passes" if passes else "✗ fails", GOOD if passes else BAD),
        (f"{len(audit.passed)} checks passed", WORDS),
        *((f"{counted[name]} {name}s", WORDS) for name in ("error", "warning", "note")),
        (f"{len(audit.not_run)} not run,", QUIET),
        ("each with its reason", QUIET),
    ]


def draw(target: Path) -> None:
    """Writes the picture."""
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    whole = figure.add_axes((0, 0, 1, 1))
    whole.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    whole.axis("off")
    card = FancyBboxPatch(
        (14, 14), WIDTH - 28, HEIGHT - 28, boxstyle="round,pad=12,rounding_size=22", facecolor=CARD, edgecolor="none"
    )
    whole.add_patch(card)
    for number, (title, command, shown) in enumerate(panels()):
        left = EDGE + number * (SIDE + GAP)
        whole.text(left, TOP - 20, title, color=WORDS, size=18, weight="bold", va="baseline")
        whole.text(left, TOP + SIDE + 34, command, color=QUIET, size=15.5, va="baseline", family="DejaVu Sans Mono")
        place = figure.add_axes((left / WIDTH, 1 - (TOP + SIDE) / HEIGHT, SIDE / WIDTH, SIDE / HEIGHT))
        place.axis("off")
        if isinstance(shown, onnxviz.Audit):
            place.add_patch(FancyBboxPatch((0, 0), 1, 1, boxstyle="square,pad=0", facecolor=CELL, edgecolor="none"))
            for line, (words, colour) in enumerate(verdict(shown)):
                size, weight = (26, "bold") if line == 0 else (16, "normal")
                place.text(0.08, 0.8 - line * 0.118 - (line > 0) * 0.03, words, color=colour, size=size, weight=weight)
        else:
            place.imshow(shown, interpolation="lanczos" if shown.shape[0] < SIDE else "antialiased", aspect="auto")
    record = {"verb": "docs/draw_overview.py", "sha256": onnxviz.load(MODEL).sha256}
    figure.patch.set_alpha(0)
    onnxviz.save_figure(figure, target, record=record)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "pictures" / "overview.webp")
