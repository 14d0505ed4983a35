"""Forks: audits from a process that has sessions, figures and frameworks at work, whose threads no child has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import HANG_SECONDS
from samples import MODELS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="confines only where the system can fork")

# Each begins with what a process that asks may have done; `each` then audits two models side by side.
_AUDIT = """
from onnxviz.auditing.many import Confinement, audit_each
def each(paths, **options):
    found = audit_each(paths, Confinement(SECONDS, jobs=2), options)
    for one in found:
        print(one.passed, [(f.code, f.message) for f in one.findings], [(n.code, n.why) for n in one.not_run])
    return found
"""
_SESSIONS = """
import gc, numpy as np, onnxruntime, onnxviz
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
sessions = [onnxruntime.InferenceSession(CLASSIFIER, providers=["CPUExecutionProvider"]) for _ in range(3)]
image = sessions[0].get_inputs()[0]
x = np.zeros([size if isinstance(size, int) else 1 for size in image.shape], np.float32)
for one in sessions:
    one.run(None, {image.name: x})
lost = [sessions.pop()]
lost.append(lost)  # garbage that a collector has to find
del lost
plt.plot(np.random.rand(600, 600) @ np.random.rand(600, 600))
plt.gcf().canvas.draw()
shown = onnxviz.capture(CLASSIFIER, DOG)
sessions[0].run(None, {image.name: x})
for data in (None, DOG):
    found = each([CLASSIFIER, CLASSIFIER], data=data, ignore=("P",))
    assert all(one.passed and not any(f.code == "G00" for f in one.findings) for one in found)
"""
_SOURCE = """
import numpy as np, onnxviz
path = onnxviz.convert("made:factory", input_shape=SHAPE).save("m.onnx")
found = each([str(path)] * 2, select=("P01",), source="made:factory")
"""
_TORCH = """
import torch
torch.set_num_threads(2)
(torch.randn(4000, 4000) + 1).sum()  # begins OpenMP's threads
torch.nn.functional.conv2d(torch.randn(8, 16, 64, 64), torch.randn(16, 16, 3, 3))
"""
_TORCH_FACTORY = """
import torch
def factory():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3)).eval()
"""
_TENSORFLOW = """
import tensorflow as tf
tf.matmul(tf.ones((9, 9)), tf.ones((9, 9)))
each([CLASSIFIER] * 2, select=("P01",), source="made:factory")
"""


def ran(folder: Path, *parts: str, seconds: float = 120, **names: object) -> str:
    """What a program printed, in an interpreter of its own that ends well."""
    given = {"SECONDS": seconds, "CLASSIFIER": str(MODELS / "classifier.onnx"), "DOG": str(MODELS / "photos/dog.jpg")}
    head = "".join(f"{name} = {value!r}\n" for name, value in {**given, **names}.items())
    done = subprocess.run(
        [sys.executable, "-c", head + _AUDIT + "".join(parts)], capture_output=True, text=True, cwd=folder,
        timeout=HANG_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def test_sessions_figures_and_garbage_hold_up_no_audit(tmp_path: Path) -> None:
    ran(tmp_path, _SESSIONS)


def test_the_source_is_run_although_torch_has_run_before(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "made.py").write_text(_TORCH_FACTORY)
    said = ran(tmp_path, _TORCH, _SOURCE, SHAPE=(None, 3, 224, 224))
    assert said.splitlines() == ["('P01',) [] []"] * 2


def test_tensorflow_that_has_run_before_is_not_waited_for(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    first, second = ran(tmp_path, _TENSORFLOW).splitlines()
    assert first == second
    assert first.startswith("() [] [('P01', 'TensorFlow has run in the process that asks, and cannot run in one forked")
