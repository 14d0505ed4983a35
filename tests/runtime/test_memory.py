"""Memory of a process that runs a model: the child is onnxviz, whatever lies in the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from protos import classifier_proto

from onnxviz.model.model import load
from onnxviz.runtime.memory import measure_memory
from onnxviz.runtime.session import RunOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells what a process holds")


def test_no_code_of_the_current_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python puts that folder before its own library where it is started with -m."""
    for name in ("bisect", "tempfile", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w').close()")
    model = load(classifier_proto())
    (port,) = model.inputs
    feeds = {port.name: np.zeros([size if isinstance(size, int) else 1 for size in port.shape or ()], np.float32)}
    monkeypatch.chdir(tmp_path)
    used = measure_memory(model, [feeds, feeds], RunOptions())
    assert not (tmp_path / "was_run").exists()
    assert 0 < used.opened <= used.runs[0] <= used.runs[1]
