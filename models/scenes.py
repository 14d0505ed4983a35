"""Scenes to segment: animals, and shapes of their fur and feathers, pasted on backgrounds, each with its mask.

Command: ``python models/scenes.py -o scenes.npz`` writes held-out scenes: ``images`` (N, size, size, 3), pixels in
0...1, ``masks`` (N, size, size), where the animal is, and ``animals`` (N,), which one; and beside it the first image
alone, ``sample.npy`` (1, size, size, 3). Needs torch==2.13.0 and scikit-image==0.26.0.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from patches import OUTLINES, WHOLE, Box, Pyramid, as_keras, read_photo, recolour, to_tensor
from PIL import Image, ImageDraw
from torch.nn import functional as F

ANIMALS = tuple(OUTLINES)  # the photos of the animals

# Backgrounds, and the region of each that crops are cut from. Training sees the left 70 % of it, the test the rest.
BACKGROUNDS: tuple[tuple[str, Box], ...] = (
    ("brick.png", WHOLE),
    ("grass.png", WHOLE),
    ("gravel.png", WHOLE),
    ("coffee.png", WHOLE),
    ("rocket.jpg", WHOLE),
    ("camera.png", WHOLE),
    ("hubble_deep_field.jpg", WHOLE),
    ("retina.jpg", (0.15, 0.15, 0.85, 0.85)),
    ("photos/dog.jpg", (0.0, 0.0, 0.65, 0.25)),
    ("photos/dog.jpg", (0.0, 0.84, 1.0, 1.0)),
    ("photos/macaw.jpg", (0.0, 0.0, 1.0, 0.13)),
    ("photos/macaw.jpg", (0.0, 0.5, 0.35, 1.0)),
)

# Boxes of nothing but fur or feathers. Training cuts shapes from the first of each animal's, the test from the second.
COATS: tuple[tuple[str, Box, Box], ...] = (
    ("photos/cat.jpg", (0.20, 0.02, 0.62, 0.28), (0.12, 0.42, 0.45, 0.66)),
    ("photos/dog.jpg", (0.42, 0.30, 0.66, 0.60), (0.23, 0.42, 0.38, 0.62)),
    ("photos/macaw.jpg", (0.40, 0.25, 0.60, 0.65), (0.62, 0.40, 0.82, 0.68)),
)


def outline_mask(file: str, size: tuple[int, int]) -> torch.Tensor:
    """1 inside the animal's outline, 0 outside, (1, height, width)."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon(list(OUTLINES[file]), fill=255)
    return torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255.0)[None]


def blob_masks(count: int, size: int, rng: np.random.Generator) -> torch.Tensor:
    """Smooth random shapes, (count, 1, size, size): low-pass noise above a threshold."""
    coarse = torch.from_numpy(rng.normal(size=(count, 1, 5, 5)).astype(np.float32))
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    cut = torch.tensor(rng.normal(0.2, 0.35, count), dtype=torch.float32).view(-1, 1, 1, 1)
    return (smooth > cut).float()


def cut_out(picture: torch.Tensor, box: Box) -> torch.Tensor:
    height, width = picture.shape[1:]
    left, top, right, bottom = box
    return picture[:, round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


class Scenes:
    """Animals, and random shapes of their fur or feathers, pasted on backgrounds without animals.

    The test takes backgrounds and shapes from other parts of the photos than training does. The whole animals are the
    same, and training also sees the animals' photos as they are.
    """

    def __init__(self, test: bool) -> None:
        self.test = test
        self.backgrounds: list[Pyramid] = []
        for file, (left, top, right, bottom) in BACKGROUNDS:
            middle = left + 0.7 * (right - left)
            box = (middle, top, right, bottom) if test else (left, top, middle, bottom)
            self.backgrounds.append(Pyramid(cut_out(to_tensor(read_photo(file)), box)))
        self.coats = [
            Pyramid(cut_out(to_tensor(read_photo(file)), boxes[1] if test else boxes[0])) for file, *boxes in COATS
        ]
        self.animals = []
        for file in OUTLINES:
            photo = read_photo(file)
            self.animals.append(Pyramid(torch.cat([to_tensor(photo), outline_mask(file, photo.size)])))

    @staticmethod
    def _crops(
        pyramids: list[Pyramid], count: int, size: int, scale: tuple[float, float], rng: np.random.Generator
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Crops at random places, and of which picture each is.

        ``scale`` is the range of the crop's side over the picture's shorter side.
        """
        chosen = rng.integers(len(pyramids), size=count)
        out = torch.empty(count, pyramids[0].levels[0].shape[0], size, size)
        for index in np.unique(chosen):
            pyramid, members = pyramids[index], np.flatnonzero(chosen == index)
            windows = []
            for _ in members:
                half = 0.5 * min(pyramid.width, pyramid.height) * math.exp(rng.uniform(*np.log(scale)))
                half_x, half_y = min(half, pyramid.width / 2), min(half, pyramid.height / 2)
                windows.append(
                    (
                        rng.uniform(half_x, pyramid.width - half_x),
                        rng.uniform(half_y, pyramid.height - half_y),
                        half * rng.choice((-1, 1)),
                        half,
                        rng.uniform(-math.pi, math.pi),
                    )
                )
            out[members] = pyramid.views(windows, size)
        return out, chosen

    def _whole(self, count: int, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
        """Whole animals with their masks, (count, 4, size, size), somewhat upright, and which animal each is."""
        chosen = rng.integers(len(self.animals), size=count)
        out = torch.empty(count, 4, size, size)
        for index in np.unique(chosen):
            pyramid, members = self.animals[index], np.flatnonzero(chosen == index)
            windows = []
            for _ in members:
                half = 0.5 * min(pyramid.width, pyramid.height) * math.exp(rng.uniform(math.log(0.5), math.log(1.4)))
                windows.append(
                    (
                        pyramid.width * rng.uniform(0.3, 0.7),
                        pyramid.height * rng.uniform(0.3, 0.7),
                        half * rng.choice((-1, 1)),
                        half,
                        rng.normal(0, 0.3),
                    )
                )
            out[members] = pyramid.views(windows, size)
        return out, chosen

    def batch(self, count: int, rng: np.random.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        """Images (count, 3, size, size) in -1...1, masks (count, 1, size, size) of 0 and 1, and animals (count,).

        Animals are numbers into ``ANIMALS``.

        A third are whole animals on another background, a third shapes of fur or feathers, and in training a third
        are the animals' photos as they are; the test has none of the last kind.
        """
        kind = rng.integers(2 if self.test else 3, size=count)
        animals, which = self._whole(count, size, rng)
        coats, whose = self._crops(self.coats, count, size, (0.5, 1.0), rng)
        ground, _ = self._crops(self.backgrounds, count, size, (0.4, 1.0), rng)
        animal_mask = (animals[:, 3:] > 0.5).float()
        strength = 0.3
        photo = recolour(animals[:, :3], rng, strength)
        coats = recolour(coats, rng, strength)
        ground = recolour(ground, rng, 1.0)
        is_blob = torch.from_numpy(kind == 1).view(-1, 1, 1, 1)
        is_photo = torch.from_numpy(kind == 2).view(-1, 1, 1, 1)
        mask = torch.where(is_blob, blob_masks(count, size, rng), animal_mask)
        front = torch.where(is_blob, coats, photo)
        soft = F.avg_pool2d(F.pad(mask, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        image = torch.where(is_photo, photo, soft * front + (1 - soft) * ground)
        return image * 2 - 1, mask, np.where(kind == 1, whose, which)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("-o", "--output", type=Path, default=Path("scenes.npz"))
    options = parser.parse_args()
    images, masks, animals = Scenes(test=True).batch(options.count, np.random.default_rng(options.seed), options.size)
    pictures = as_keras(images)
    np.savez(options.output, images=pictures, masks=masks.numpy()[:, 0] > 0.5, animals=animals)
    np.save(options.output.with_name("sample.npy"), pictures[:1])


if __name__ == "__main__":
    main()
