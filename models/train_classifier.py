"""Trains and writes ``classifier.onnx``, a small CNN that names what a photo shows.

Command: ``python models/train_classifier.py``. About 5.5 minutes on one thread (2400 steps of 32 views).
Needs: torch==2.13.0 numpy onnx onnxruntime scikit-image==0.26.0 pillow.

Five convolutions on 96x96 RGB, 11 classes, one photo each (two for grass), 1.2 MB. The first layer is trained so that
its 32 filters, 7x7, become oriented edges and bars, colour edges and colour blobs.

Seen: 0.91 of 440 held-out crops right (the regions they come from were painted grey in training; astronaut 0.60,
macaw 0.45, all others 1.00), 11 of 11 whole photos right.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx_writer import OnnxWriter, save_verified
from patches import LABELS, SOURCES, Views
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

HERE = Path(__file__).resolve().parent
SIZE = 96
FLOOR = 2.0  # of the mean eigenvalue: finer detail than this counts as noise


class Classifier(nn.Module):
    """Five convolutions, two poolings, global average pooling, one dense layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 96, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(96)
        self.conv4 = nn.Conv2d(96, 112, 3, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(112)
        self.conv5 = nn.Conv2d(112, 128, 3, padding=1, bias=False)
        self.bn5 = nn.BatchNorm2d(128)
        self.dense = nn.Linear(128, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        # So small that what the filters look like after training is what they have learnt, not the initial noise.
        nn.init.normal_(self.conv1.weight, std=1e-3)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The pooled features (batch, 128) of images (batch, 3, 96, 96)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(x)))
        x = F.relu(self.bn5(self.conv5(x)))
        return x.mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, class)."""
        return self.dense(self.features(x))


class Whitened(nn.Module):
    """The first layer's weights as seen by the optimiser: filters for whitened image patches.

    Neighbouring pixels of photos are so alike that plain gradient descent finds brightness and colour long before
    edges. Training v in w = v (C + floor I)^-1/2, where C is the second moment of the patches (LeCun et al. 1998,
    Efficient BackProp, section 4.3), lets every spatial frequency learn at about the same rate. Only w is exported.
    """

    def __init__(self, images: torch.Tensor, size: int, floor: float) -> None:
        super().__init__()
        patches = F.unfold(images, size, stride=size).transpose(1, 2).reshape(-1, images.shape[1] * size * size)
        values, vectors = torch.linalg.eigh(patches.double().T @ patches.double() / len(patches))
        values = values / values.mean()
        self.register_buffer("matrix", (vectors * (values + floor).rsqrt() @ vectors.T).float())

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        return (v.flatten(1) @ self.matrix).view_as(v)


def train(steps: int, batch: int, rate: float, decay: float, seed: int) -> tuple[Classifier, Views]:
    """The trained network, in evaluation mode, and the views it was trained on.

    Two tasks at once: which photo, and which quarter turn (Gidaris et al. 2018, RotNet); the second makes edges
    worth learning. Weight decay lets what the first layer does not use die away.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    views = Views(SOURCES, SIZE)
    network = Classifier(len(LABELS))
    sample = views.batch(200, rng)[0]
    parametrize.register_parametrization(network.conv1, "weight", Whitened(sample, 7, FLOOR))
    turn = nn.Linear(128, 4)  # the second task, dropped after training
    parameters = [*network.parameters(), *turn.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=decay, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    start = time.monotonic()
    network.train()
    for step in range(steps):
        images, labels, quarter = views.batch(batch, rng)
        features = network.features(images)
        loss_class = F.cross_entropy(network.dense(features), labels, label_smoothing=0.05)
        loss_turn = F.cross_entropy(turn(features), quarter)
        optimizer.zero_grad()
        (loss_class + loss_turn).backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(
                f"step {step + 1}/{steps}  class {loss_class:.3f}  turn {loss_turn:.3f}  "
                f"{time.monotonic() - start:.0f} s",
                flush=True,
            )
    network.eval()
    parametrize.remove_parametrizations(network.conv1, "weight", leave_parametrized=True)
    return network, views


def to_onnx(network: Classifier) -> onnx.ModelProto:
    writer = OnnxWriter(network)
    x = "image"
    for block in range(1, 6):
        x = writer.conv(f"conv{block}", x)
        x = writer.batch_norm(f"bn{block}", x)
        x = writer.node("Relu", f"relu{block}", [x])
        if block <= 2:
            x = writer.max_pool(f"pool{block}", x)
    x = writer.node("GlobalAveragePool", "average", [x])
    x = writer.node("Flatten", "flatten", [x], axis=1)
    writer.dense("dense", x, "logits")
    return writer.model(
        "classifier",
        "Names what the photo shows; trained by models/train_classifier.py on CC0 and public-domain photos.",
        {"image": ["batch", 3, SIZE, SIZE]},
        {"logits": ["batch", len(LABELS)]},
        {"classes": json.dumps(LABELS)},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--decay", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "classifier.onnx")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    start = time.monotonic()
    network, views = train(options.steps, options.batch, options.rate, options.decay, options.seed)
    images, labels = views.held_out(40, np.random.default_rng(1))
    whole, whole_labels = views.whole()
    with torch.no_grad():
        hit = network(images).argmax(1) == labels
        whole_hit = network(whole).argmax(1) == whole_labels
    for index, label in enumerate(LABELS):
        print(f"  {label:14s} {hit[labels == index].float().mean():.2f}")
    print(f"held-out crops right: {hit.float().mean():.3f} of {len(hit)}")
    print(f"whole photos right: {int(whole_hit.sum())} of {len(whole)}")
    worst = save_verified(to_onnx(network), network, [images[:1], images[:7]], options.output)
    print(
        f"{options.output}: {options.output.stat().st_size} bytes, torch and onnxruntime differ by at most {worst:.1g}"
    )
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
