"""Trains ``keras_models.sd_unet`` to find mammals and birds, and writes it as a ``.keras`` file of 1 MB.

Command: ``python models/train_sd_unet.py -o sd_unet.keras``. Some 6 minutes of processor time (500 steps of 8 scenes).
Needs: keras and tensorflow-cpu; torch==2.13.0 and scikit-image==0.26.0 for the scenes.

Scenes are those of ``scenes.py``, as ``unet.onnx`` learns from; a pixel is background, mammal (the cat, the dog and
their fur) or bird (the macaw and its feathers). Held-out scenes take backgrounds, fur and feathers from parts of the
photos that training cut none from; the three whole animals are the same.

Seen: mean IoU of the three classes 0.74 on 100 held-out scenes.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from patches import as_keras
from scenes import ANIMALS, Scenes

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_models

SIZE = 128
CLASSES = ("background", "mammal", "bird")
OF_ANIMAL = np.array([CLASSES.index("bird" if "macaw" in photo else "mammal") for photo in ANIMALS])


def batch(scenes: Scenes, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, size, size, 3), pixels in 0...1, and each pixel's class (count, size, size)."""
    images, masks, animals = scenes.batch(count, rng, SIZE)
    classes = masks.numpy()[:, 0].astype(np.int64) * OF_ANIMAL[animals][:, None, None]
    return as_keras(images), classes


def mean_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union, over all pixels of all images; the mean of the three classes."""
    found = [(predicted == index, true == index) for index in range(len(CLASSES))]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in found]))


def train(steps: int, size: int, rate: float, seed: int) -> keras.Model:
    """The trained network."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    scenes = Scenes(test=False)
    network = keras_models.sd_unet(seed=seed, classes=len(CLASSES))
    network.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate / 10, steps, warmup_target=rate,
                                                                     warmup_steps=steps // 10)),
        keras.losses.SparseCategoricalCrossentropy(),
        jit_compile=False,  # XLA took minutes to compile it
    )  # fmt: skip
    start = time.monotonic()
    for step in range(steps):
        loss = network.train_on_batch(*batch(scenes, size, rng))
        if step % 25 == 24:
            print(f"step {step + 1}/{steps}  loss {float(loss):.3f}  {time.monotonic() - start:.0f} s", flush=True)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("sd_unet.keras"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = train(options.steps, options.batch, options.rate, options.seed)
    images, classes = batch(Scenes(test=True), 100, np.random.default_rng(1))
    predicted = network.predict(images, batch_size=4, verbose=0).argmax(-1)
    print(f"held-out mean IoU {mean_iou(predicted, classes):.3f} ({len(images)} scenes)")
    kept = keras_models.sd_unet(classes=len(CLASSES))  # without what the optimiser keeps of every weight
    kept.set_weights(network.get_weights())
    kept.save(options.output)


if __name__ == "__main__":
    main()
