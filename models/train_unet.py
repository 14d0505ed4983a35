"""Trains and writes ``unet.onnx``, a small U-Net that finds the animal in a photo.

Command: ``python models/train_unet.py``. About 5.5 minutes on one thread (800 steps of 16 scenes).
Needs: torch==2.13.0 numpy onnx onnxruntime scikit-image==0.26.0 pillow.

Three poolings, 15 convolutions, 3 transposed ones, batch normalisation, 0.5 MB; any height and width that are multiples
of 8. Output: the probability of foreground (after the sigmoid). Training scenes are 96x96, so shrink a photo to about
160 pixels first.

Seen: mean IoU 0.74 on 200 held-out scenes (see Scenes: the backgrounds from scikit-image are new to the network, the
animals are not). On the three photos themselves, the dog and the macaw at 160x120 and the cat at 112x72, the
foreground's IoU with the hand-drawn outline is 0.87 (cat), 0.90 (dog), 0.87 (macaw); training saw these photos.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx_writer import OnnxWriter, save_verified
from scenes import Scenes
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
SIZE = 96
WIDTHS = (16, 24, 32, 48)  # channels at full, 1/2, 1/4 and 1/8 size


class Block(nn.Module):
    """Two convolutions 3x3, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class Up(nn.Module):
    """Transposed convolution to twice the size, the skip joined on, then a block of two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv1 = nn.Conv2d(2 * outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.deconv(x), skip], 1)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class UNet(nn.Module):
    """A U-Net (Ronneberger, Fischer and Brox 2015) with three poolings; height and width must be multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        one, two, four, eight = WIDTHS
        self.down1 = Block(3, one)
        self.down2 = Block(one, two)
        self.down3 = Block(two, four)
        self.bottom = Block(four, eight)
        self.up3 = Up(eight, four)
        self.up2 = Up(four, two)
        self.up1 = Up(two, one)
        self.head = nn.Conv2d(one, 1, 1)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Before the sigmoid, (batch, 1, height, width)."""
        skip1 = self.down1(x)
        skip2 = self.down2(F.max_pool2d(skip1, 2))
        skip3 = self.down3(F.max_pool2d(skip2, 2))
        x = self.bottom(F.max_pool2d(skip3, 2))
        x = self.up3(x, skip3)
        x = self.up2(x, skip2)
        return self.head(self.up1(x, skip1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The probability of foreground, (batch, 1, height, width)."""
        return torch.sigmoid(self.logits(x))


def mean_iou(predicted: torch.Tensor, mask: torch.Tensor) -> float:
    """Intersection over union, the mean of foreground and background, over all pixels of all images."""
    scores = []
    for side in (0, 1):
        a, b = predicted == side, mask == side
        scores.append(float((a & b).sum() / (a | b).sum()))
    return sum(scores) / 2


def train(steps: int, batch: int, rate: float, seed: int) -> UNet:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    scenes = Scenes(test=False)
    network = UNet()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    start = time.monotonic()
    network.train()
    for step in range(steps):
        images, masks, _ = scenes.batch(batch, rng, SIZE)
        loss = F.binary_cross_entropy_with_logits(network.logits(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1}/{steps}  loss {loss:.3f}  {time.monotonic() - start:.0f} s", flush=True)
    network.eval()
    return network


def to_onnx(network: UNet) -> onnx.ModelProto:
    writer = OnnxWriter(network)

    def pair(name: str, x: str) -> str:
        for part in (1, 2):
            x = writer.conv(f"{name}.conv{part}", x)
            x = writer.batch_norm(f"{name}.bn{part}", x)
            x = writer.node("Relu", f"{name}.relu{part}", [x])
        return x

    x = "image"
    skips = []
    for level in (1, 2, 3):
        skips.append(pair(f"down{level}", x))
        x = writer.max_pool(f"down{level}.pool", skips[-1])
    x = pair("bottom", x)
    for level in (3, 2, 1):
        x = writer.conv(f"up{level}.deconv", x)
        x = writer.node("Concat", f"up{level}.concat", [x, skips[level - 1]], axis=1)
        x = pair(f"up{level}", x)
    x = writer.conv("head", x)
    writer.node("Sigmoid", "sigmoid", [x], "mask")
    return writer.model(
        "unet",
        "Where the animal is: probability of foreground; height and width must be multiples of 8. "
        "Trained by models/train_unet.py on CC0 and public-domain photos.",
        {"image": ["batch", 3, "height", "width"]},
        {"mask": ["batch", 1, "height", "width"]},
        {},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "unet.onnx")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    start = time.monotonic()
    network = train(options.steps, options.batch, options.rate, options.seed)
    images, masks, _ = Scenes(test=True).batch(200, np.random.default_rng(1), SIZE)
    with torch.no_grad():
        predicted = (network.logits(images) > 0).float()
    print(f"held-out mean IoU {mean_iou(predicted, masks):.3f} ({len(images)} scenes)")
    wide = F.interpolate(images[:1], (64, 136))
    worst = save_verified(to_onnx(network), network, [images[:1], images[:5], wide], options.output)
    print(
        f"{options.output}: {options.output.stat().st_size} bytes, torch and onnxruntime differ by at most {worst:.1g}"
    )
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
