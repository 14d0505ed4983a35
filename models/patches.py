"""The source photos and how views (random crops, turned, scaled, recoloured) are cut from them.

Every photo trained on is CC0 or public domain: those of ``photos/`` and ``pets/`` lie beside this file, the others
come with scikit-image (folder ``skimage/data``, no network needed). One region of each photo, ``held_out``, is painted
grey before training and is only used to measure accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

Box = tuple[float, float, float, float]  # left, top, right, bottom as fractions of the photo's width and height
Window = tuple[float, float, float, float, float]  # see Pyramid.views
Polygon = tuple[tuple[int, int], ...]  # corners (x, y) in pixels

HERE = Path(__file__).resolve().parent
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Source:
    """One region of one photo and the class that it shows."""

    label: str
    file: str
    subject: Box = WHOLE
    """Where crops may be centred."""
    held_out: Box | None = None
    """What training never sees; None: this region only helps training."""
    whole: bool = True
    """Whether the whole photo, squashed to a square, is also a view of this class."""


SOURCES = (
    Source("astronaut", "astronaut.png", (0.15, 0.10, 0.85, 0.95), (0.35, 0.60, 0.65, 0.90)),
    Source("brick", "brick.png", WHOLE, (0.65, 0.65, 1.0, 1.0)),
    Source("cat", "photos/cat.jpg", (0.08, 0.05, 0.80, 0.95), (0.10, 0.20, 0.42, 0.62)),
    Source("coffee", "coffee.png", (0.15, 0.05, 0.90, 0.95), (0.05, 0.55, 0.40, 0.98)),
    Source("dog", "photos/dog.jpg", (0.25, 0.12, 0.85, 0.65), (0.24, 0.38, 0.44, 0.66)),
    Source("galaxies", "hubble_deep_field.jpg", WHOLE, (0.65, 0.65, 1.0, 1.0)),
    Source("grass", "grass.png", WHOLE, (0.65, 0.65, 1.0, 1.0)),
    Source("grass", "photos/dog.jpg", (0.05, 0.85, 0.95, 0.97), None, whole=False),
    Source("gravel", "gravel.png", WHOLE, (0.65, 0.65, 1.0, 1.0)),
    Source("macaw", "photos/macaw.jpg", (0.26, 0.18, 0.85, 0.75), (0.58, 0.40, 0.84, 0.68)),
    Source("retina", "retina.jpg", (0.15, 0.15, 0.85, 0.85), (0.15, 0.52, 0.50, 0.85)),
    Source("rocket", "rocket.jpg", (0.10, 0.25, 0.95, 0.95), (0.68, 0.55, 1.0, 1.0)),
)
LABELS = tuple(sorted({source.label for source in SOURCES}))

# Outlines of the animals in photos/, drawn by hand (pixels of the file, a few pixels exact).
OUTLINES: dict[str, Polygon] = {
    "photos/cat.jpg": (
        (40, 0), (400, 0), (385, 30), (362, 72), (358, 90), (362, 118), (355, 160), (340, 195), (325, 215), (318, 235),
        (330, 260), (320, 285), (300, 300), (0, 300), (0, 160), (20, 120), (35, 80), (38, 40),
    ),
    "photos/dog.jpg": (
        (477, 75), (477, 45), (487, 18), (497, 30), (507, 55), (516, 61), (534, 60), (545, 42), (556, 19), (566, 35),
        (565, 70), (560, 85), (560, 110), (556, 140), (550, 170), (540, 195), (525, 215), (512, 228), (508, 255),
        (500, 268), (480, 280), (474, 310), (472, 370), (475, 420), (482, 437), (512, 442), (514, 448), (480, 452),
        (464, 447), (460, 425), (448, 400), (441, 360), (438, 320), (434, 345), (427, 380), (430, 412), (455, 428),
        (452, 434), (418, 435), (410, 425), (405, 395), (404, 370), (410, 310), (385, 303), (330, 295), (280, 288),
        (256, 303), (240, 330), (215, 360), (195, 375), (190, 395), (200, 415), (232, 418), (228, 428), (205, 428),
        (215, 440), (238, 446), (236, 453), (205, 452), (185, 440), (165, 410), (153, 385), (158, 372), (175, 350),
        (165, 348), (140, 362), (110, 378), (80, 382), (50, 372), (28, 352), (28, 330), (45, 322), (65, 334), (90, 338),
        (110, 330), (120, 315), (125, 290), (128, 255), (140, 225), (160, 205), (190, 182), (240, 158), (290, 143),
        (330, 139), (380, 134), (430, 128), (440, 122), (462, 110), (478, 88),
    ),
    "photos/macaw.jpg": (
        (146, 92), (150, 74), (170, 70), (200, 66), (230, 65), (255, 70), (275, 80), (310, 100), (345, 122), (380, 142),
        (430, 175), (450, 178), (480, 198), (508, 225), (525, 260), (545, 305), (555, 340), (562, 365), (578, 383),
        (566, 380), (563, 390), (568, 412), (556, 412), (545, 400), (535, 390), (530, 412), (470, 413), (455, 415),
        (440, 405), (410, 420), (395, 450), (385, 480), (385, 495), (378, 495), (382, 460), (375, 475), (368, 465),
        (380, 440), (385, 415), (360, 418), (345, 425), (335, 440), (330, 465), (322, 455), (325, 430), (310, 450),
        (298, 470), (288, 480), (290, 465), (305, 440), (325, 412), (342, 400), (338, 370), (332, 338), (305, 328),
        (280, 312), (262, 295), (250, 270), (243, 240), (245, 210), (232, 192), (222, 178), (200, 180), (175, 175),
        (170, 172), (176, 193), (166, 185), (155, 165), (148, 145), (146, 125),
    ),
}  # fmt: skip


def read_photo(file: str) -> Image.Image:
    """The photo as RGB; ``folder/file`` is beside this module, any other name is in scikit-image's data folder."""
    if "/" in file:
        path = HERE / file
    else:
        spec = find_spec("skimage")
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(
                f"{file} comes with scikit-image, which is not installed: pip install scikit-image==0.26.0"
            )
        path = Path(next(iter(spec.submodule_search_locations))) / "data" / file
    if not path.is_file():
        raise SystemExit(
            f"the photo {path} is missing: pip install scikit-image==0.26.0 has it, or git checkout models"
        )
    image: Image.Image = Image.open(path).convert("RGB")
    image.thumbnail((640, 640), Image.Resampling.LANCZOS)
    return image


def to_tensor(image: Image.Image) -> torch.Tensor:
    """The photo as (channel, height, width), float32, 0…1."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255.0).permute(2, 0, 1).contiguous()


def paint_grey(photo: torch.Tensor, box: Box) -> torch.Tensor:
    """A copy with the box filled with middle grey."""
    height, width = photo.shape[1:]
    left, top, right, bottom = box
    out = photo.clone()
    out[:, round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = 0.5
    return out


class Pyramid:
    """A picture at full, half and quarter size, so that small views of it are not aliased."""

    def __init__(self, picture: torch.Tensor) -> None:
        self.levels = [picture]
        while min(self.levels[-1].shape[1:]) >= 64:
            self.levels.append(F.avg_pool2d(self.levels[-1], 2))
        self.height, self.width = picture.shape[1:]

    def views(self, windows: list[Window], size: int) -> torch.Tensor:
        """The views (view, channel, size, size); a window is centre x, centre y, half width, half height, angle.

        Centre and halves are pixels of the full picture, the angle is in radians; a negative half width mirrors.
        Outside the picture its mirror image continues it.
        """
        out = torch.empty(len(windows), self.levels[0].shape[0], size, size)
        wanted = [math.log2(max(2 * min(abs(w), h) / size, 1.0)) for _, _, w, h, _ in windows]
        chosen = np.minimum(np.rint(wanted), len(self.levels) - 1).astype(int)
        for level in np.unique(chosen):
            members = np.flatnonzero(chosen == level)
            theta = torch.empty(len(members), 2, 3)
            for row, member in enumerate(members):
                cx, cy, half_w, half_h, angle = windows[member]
                cos, sin = math.cos(angle), math.sin(angle)
                theta[row] = torch.tensor(
                    [
                        [2 * half_w * cos / self.width, -2 * half_h * sin / self.width, 2 * cx / self.width - 1],
                        [2 * half_w * sin / self.height, 2 * half_h * cos / self.height, 2 * cy / self.height - 1],
                    ]
                )
            picture = self.levels[level]
            grid = F.affine_grid(theta, [len(members), picture.shape[0], size, size], align_corners=False)
            out[members] = F.grid_sample(
                picture.expand(len(members), -1, -1, -1), grid, padding_mode="reflection", align_corners=False
            )
        return out


def as_keras(images: torch.Tensor) -> np.ndarray:
    """Images (view, 3, size, size) in -1...1 as networks in Keras take them: (view, size, size, 3), pixels / 255."""
    return np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1) * 0.5 + 0.5)


def recolour(views: torch.Tensor, rng: np.random.Generator, strength: float = 1.0) -> torch.Tensor:
    """The views (view, 3, height, width) with hue, saturation, contrast and brightness changed at random, in 0…1."""
    count = len(views)
    grey = torch.full((3, 3), 1 / 3)
    # Hue turns about the grey axis (Rodrigues' rotation formula), saturation scales what is off that axis.
    axis = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    angle = torch.tensor(rng.normal(0, 0.35 * strength, count), dtype=torch.float32).view(-1, 1, 1)
    hue = torch.cos(angle) * torch.eye(3) + torch.sin(angle) * axis + (1 - torch.cos(angle)) * grey
    saturation = torch.tensor(
        np.where(rng.random(count) < 0.2 * strength, 0.0, rng.uniform(1 - 0.5 * strength, 1 + 0.5 * strength, count)),
        dtype=torch.float32,
    ).view(-1, 1, 1)
    mix = grey + saturation * (hue - grey)
    contrast = torch.tensor(np.exp(rng.normal(0, 0.25 * strength, count)), dtype=torch.float32).view(-1, 1, 1, 1)
    offset = torch.tensor(rng.normal(0, 0.08 * strength, count), dtype=torch.float32).view(-1, 1, 1, 1)
    mixed = torch.einsum("nij,njhw->nihw", mix, views)
    mean = mixed.mean((1, 2, 3), keepdim=True)
    return ((mixed - mean) * contrast + mean + offset).clamp(0, 1)


class Views:
    """Views of all sources: random ones for training, held-out crops and whole photos for the accuracy.

    Labels are numbers into ``labels``, the sources' classes in alphabetical order.
    """

    def __init__(self, sources: Sequence[Source], size: int) -> None:
        self.sources, self.size = sources, size
        self.labels = sorted({source.label for source in sources})
        photos = {source.file: to_tensor(read_photo(source.file)) for source in sources}
        hidden = dict(photos)
        for source in sources:
            if source.held_out:
                hidden[source.file] = paint_grey(hidden[source.file], source.held_out)
        self.complete = {file: Pyramid(photo) for file, photo in photos.items()}
        self.training = {file: Pyramid(photo) for file, photo in hidden.items()}

    def _window(self, source: Source, rng: np.random.Generator, angle: float) -> Window:
        """A random view of the source, three in four a square around a place of the subject, else the whole photo."""
        pyramid = self.training[source.file]
        mirror = -1 if rng.random() < 0.5 else 1
        if source.whole and rng.random() < 0.25:
            zoom = rng.uniform(0.8, 1.0)
            return (
                pyramid.width * (0.5 + rng.uniform(-0.5, 0.5) * (1 - zoom)),
                pyramid.height * (0.5 + rng.uniform(-0.5, 0.5) * (1 - zoom)),
                mirror * zoom * pyramid.width / 2,
                zoom * pyramid.height / 2,
                angle,
            )
        left, top, right, bottom = source.subject
        short = min(pyramid.width, pyramid.height)
        low, high = 0.22, 0.9
        if not source.whole:
            low, high = 0.15, 0.3
        half = 0.5 * short * math.exp(rng.uniform(math.log(low), math.log(high)))
        return (
            pyramid.width * rng.uniform(left, right),
            pyramid.height * rng.uniform(top, bottom),
            mirror * half,
            half,
            angle,
        )

    def batch(
        self, count: int, rng: np.random.Generator, quarters: int = 4
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images (count, 3, size, size) in -1...1, classes and quarter turns, of which ``quarters`` are drawn."""
        chosen = rng.integers(len(self.sources), size=count)
        quarter = rng.integers(quarters, size=count)
        images = torch.empty(count, 3, self.size, self.size)
        for index in np.unique(chosen):
            members = np.flatnonzero(chosen == index)
            source = self.sources[index]
            windows = [
                self._window(source, rng, math.pi / 2 * quarter[m] + rng.uniform(-1, 1) * math.pi / 8) for m in members
            ]
            images[members] = self.training[source.file].views(windows, self.size)
        images = recolour(images, rng)
        labels = torch.tensor([self.labels.index(self.sources[index].label) for index in chosen])
        return images * 2 - 1, labels, torch.from_numpy(quarter)

    def held_out(self, per_source: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Upright crops that lie wholly inside the regions which training never saw."""
        images, labels = [], []
        for source in self.sources:
            if not source.held_out:
                continue
            pyramid = self.complete[source.file]
            left, top, right, bottom = source.held_out
            box_w, box_h = (right - left) * pyramid.width, (bottom - top) * pyramid.height
            windows = []
            for _ in range(per_source):
                half = 0.5 * min(box_w, box_h) * rng.uniform(0.75, 1.0)
                windows.append(
                    (
                        left * pyramid.width + rng.uniform(half, box_w - half),
                        top * pyramid.height + rng.uniform(half, box_h - half),
                        half * rng.choice((-1, 1)),
                        half,
                        0.0,
                    )
                )
            images.append(pyramid.views(windows, self.size))
            labels += [self.labels.index(source.label)] * per_source
        return torch.cat(images) * 2 - 1, torch.tensor(labels)

    def whole(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Every photo, complete and squashed to a square."""
        sources = [source for source in self.sources if source.whole]
        images = []
        for source in sources:
            photo = read_photo(source.file).resize((self.size, self.size), resample=2)
            images.append(to_tensor(photo))
        return torch.stack(images) * 2 - 1, torch.tensor([self.labels.index(source.label) for source in sources])
