"""Commands that crash or are interrupted: one line, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deadlines import HANG_SECONDS
from hostile import aborting, endless_loop, small, write
from hostile_runs import W, accepted, assert_one_error, process, there

pytestmark = [pytest.mark.usefixtures("deadline", "room"), pytest.mark.inference_worker]


def test_native_crash_is_one_line(tmp_path: Path, small_photo: Path, room: Path) -> None:
    path = write(tmp_path, aborting())
    Path("maps.npz").write_bytes(b"old")
    code, out, err, _ = process("maps", path, small_photo, "--save", "maps.npz", "-o", "pictures")
    assert code == 2
    # onnxruntime 1.24 notices what later versions abort on.
    assert_one_error(err, "crashed on this model with SIGABRT|could not run on input x 1x3x8x8")
    assert out == ""
    assert there(room) == {ascii(str(room / "maps.npz")): b"old"}


def test_shape_inference_that_crashes_costs_only_the_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = aborting()
    for dim in made.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = -1
    out, _ = accepted(capsys, "layers", write(tmp_path, made), "--json")
    document = json.loads(out)
    assert [layer["weight"]["shape"] for layer in document["layers"]] == [W, [2, 2, 1, 1]]


def _wait_for_native_code(child: subprocess.Popen[bytes]) -> None:
    """Returns when the command's own process has had onnxruntime loaded for a third of a second of processor time."""
    loaded_at = None
    end = time.monotonic() + HANG_SECONDS
    while time.monotonic() < end:
        assert child.poll() is None
        time.sleep(0.02)
        try:
            (worker, *_) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
            maps, stat = (Path(f"/proc/{worker}/{name}").read_text() for name in ("maps", "stat"))
        except (OSError, ValueError):  # not there yet
            continue
        seconds = sum(map(int, stat.rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
        if loaded_at is None and "onnxruntime_pybind11_state" in maps:
            loaded_at = seconds
        if loaded_at is not None and seconds > loaded_at + 1 / 3:
            return
    pytest.fail(f"onnxruntime was not loaded within {HANG_SECONDS} s")


@pytest.mark.parametrize(
    ("signals", "group"),
    [
        ([signal.SIGINT], False),
        ([signal.SIGINT], True),
        ([signal.SIGTERM], False),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], False),
        ([signal.SIGINT, signal.SIGINT, signal.SIGTERM], True),
    ],
    ids=["int", "int to all", "term", "int thrice", "int twice and term to all"],
)
def test_interrupt(signals: list[signal.Signals], group: bool, tmp_path: Path, small_photo: Path, room: Path) -> None:
    path = write(tmp_path, endless_loop())
    Path("maps.npz").write_bytes(b"old")
    command = [sys.executable, "-c", "from onnxviz.cli import main; main()"]
    child = subprocess.Popen(
        [*command, "maps", path, small_photo, "-q", "--save", "maps.npz"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait_for_native_code(child)
        for number in signals:
            (os.killpg if group else os.kill)(child.pid, number)
            time.sleep(0.05)
        _, err = child.communicate(timeout=HANG_SECONDS)  # the loop has no end
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    assert child.returncode == 130, err
    assert b"Traceback" not in err
    assert err.count(b"\n") <= 1
    assert there(room) == {ascii(str(room / "maps.npz")): b"old"}
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)  # nothing of it goes on running


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    """What is nobody's input's fault must not vanish with the child process."""
    code = "import onnxviz.cli as c, onnxviz.model.model as m; m.load = None; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "layers", write(tmp_path, small())], capture_output=True, check=False, text=True
    )
    assert done.returncode not in (0, 2, 130)
    assert "TypeError: 'NoneType' object is not callable" in done.stderr
