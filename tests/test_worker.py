"""A command in a process that may die: codes pass through, crashes and interrupts end well, nothing half is left.

The work runs in a program of its own, so that what it does to its process does not reach the tests.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from deadlines import HANG_SECONDS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="supervises only where the system can fork")

# The supervisor says on stdout what it sends to its child. `{grace}` is how many seconds it waits in between.
START = """
import ctypes, os, signal, sys, time
from pathlib import Path
from onnxviz import worker
from onnxviz.files import replacing

def ready():
    print("ready", flush=True)

def told(child, number, kill=os.kill):
    print("sent", signal.Signals(number).name, flush=True)
    kill(child, number)

worker.GRACE_SECONDS = {grace}
"""
# Set last, so that work that ends itself by a signal does not go through it.
END = """
def supervised():
    home = os.getpid()
    kill = os.kill
    os.kill = lambda child, number: (told if os.getpid() == home else kill)(child, number)
    return worker.supervised(work)

sys.exit(supervised())
"""
# Longer than any machine needs: who does not end by itself within it is not counted as killed, but fails the test.
PATIENT = 2 * HANG_SECONDS


def start(work, folder, *, session=False, grace=3.0):
    """The program that supervises `work`, the source of a function."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", START.format(grace=grace) + work + END],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=folder,
        start_new_session=session,
    )


def finished(work, folder):
    """Exit code, stdout and stderr of the program."""
    with start(work, folder) as program:
        out, err = program.communicate(timeout=HANG_SECONDS)
    return program.returncode, out, err


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_exit_codes_and_output_pass_through(tmp_path, code):
    work = f"def work():\n    print('out', end='')\n    print('err', file=sys.stderr)\n    return {code}\n"
    assert finished(work, tmp_path) == (code, "out", "err\n")


def test_the_work_runs_once_and_in_a_process_of_its_own(tmp_path):
    work = """
parent = os.getpid()
def work():
    with open("runs", "a") as file:
        file.write("x")
    return 0 if os.getppid() == parent else 9
"""
    assert finished(work, tmp_path)[0] == 0
    assert (tmp_path / "runs").read_text() == "x"


def test_a_bug_keeps_its_traceback_and_is_no_success(tmp_path):
    code, _, err = finished("def work():\n    raise RuntimeError('a bug of ours')\n", tmp_path)
    assert code not in (0, 1, 2, 3, 130)
    assert "Traceback" in err
    assert "a bug of ours" in err


def test_sys_exit_in_the_work_keeps_its_code(tmp_path):
    assert finished("def work():\n    sys.exit(3)\n", tmp_path)[0] == 3


@pytest.mark.parametrize("death", ["os.abort()", "ctypes.string_at(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_crash_is_one_line_code_2_and_leaves_nothing_half(tmp_path, death):
    (tmp_path / "out.txt").write_text("old")
    work = f"""
def work():
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with replacing(Path("done.txt")) as whole:
        whole.write_text("whole")
    with replacing(Path("out.txt")) as temporary:
        temporary.write_text("half")
        {death}
"""
    code, _, err = finished(work, tmp_path)
    assert code == 2
    name = {"os": "SIGABRT", "ct": "SIGSEGV"}.get(death[:2]) if "KILL" not in death else "SIGKILL"
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert name in lines[0]
    assert ("out of memory" in lines[0]) == (name == "SIGKILL")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done.txt", "out.txt"]
    assert (tmp_path / "out.txt").read_text() == "old"
    assert (tmp_path / "done.txt").read_text() == "whole"


def interrupted(work, folder, number, *, group=False, again=0, grace=PATIENT):
    """Exit code, stderr, and the names of the signals that the work was sent; it would go on for a day."""
    with start(work, folder, session=True, grace=grace) as program:
        assert program.stdout.readline() == "ready\n", program.stderr.read()
        time.sleep(0.3)
        (os.killpg if group else os.kill)(program.pid, number)
        for _ in range(again):
            time.sleep(0.2)
            os.kill(program.pid, number)
        try:
            out, err = program.communicate(timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            pytest.fail(f"the work did not end itself: it was waited for {HANG_SECONDS} s")
    with pytest.raises(ProcessLookupError):  # no child is left behind
        os.killpg(program.pid, 0)
    return program.returncode, err, [line.removeprefix("sent ") for line in out.splitlines()]


# Holds the interpreter's lock, and the signal waits until it gives it back, as in native code that does not look.
STUCK = """
def work():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with replacing(Path("out.txt")) as temporary:
        temporary.write_text("half")
        ready()
        ctypes.PyDLL(None).sleep(86400)
    return 0
"""


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, {}), (signal.SIGINT, {"group": True, "again": 2}), (signal.SIGTERM, {})],
    ids=["to the parent", "Ctrl-C of a terminal, again and again", "kill"],
)
def test_an_interrupt_ends_native_code_that_does_not_listen(tmp_path, number, options):
    code, err, sent = interrupted(STUCK, tmp_path, number, **options, grace=3.0)
    assert code == 130
    assert sent == ["SIGINT", "SIGKILL"]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


LISTENING = """
def work():
    try:
        with replacing(Path("out.txt")) as temporary:
            temporary.write_text("half")
            ready()
            time.sleep(86400)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_that_listens_ends_itself(tmp_path, number):
    assert interrupted(LISTENING, tmp_path, number) == (130, "interrupted\n", ["SIGINT"])
    assert list(tmp_path.iterdir()) == []


LOOP = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

def model(path):
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Conv", ["image", "conv/kernel"], ["c"]),
         helper.make_node("Add", ["v", "c"], ["w"]), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []),
         value("v", TensorProto.FLOAT, [1, 1, 4, 4])],
        [value("on", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [1, 1, 4, 4])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "yes", "image"], ["looped"], body=body),
         helper.make_node("Conv", ["looped", "last/kernel"], ["y"])],
        "loop",
        [value("image", TensorProto.FLOAT, [1, 1, 4, 4])],
        [value("y", TensorProto.FLOAT, [1, 1, 4, 4])],
        [numpy_helper.from_array(np.array(2**63 - 1, np.int64), "turns"),
         numpy_helper.from_array(np.array(True), "yes"),
         numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "conv/kernel"),
         numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "last/kernel")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)

def work():
    from onnxviz.runtime import session
    from onnxviz.cli import run
    model("loop.onnx")
    np.save("x.npy", np.zeros((1, 1, 4, 4), np.float32))
    before = session.Session.run
    def announced(*arguments):
        ready()
        return before(*arguments)
    session.Session.run = announced
    return run(["maps", "loop.onnx", "x.npy", "--layers", "last", "-o", "maps", "-q"])
"""


def test_an_interrupt_ends_a_model_that_never_does(tmp_path):
    """By itself, within its grace: it is asked once and not killed."""
    assert interrupted(LOOP, tmp_path, signal.SIGINT) == (130, "interrupted\n", ["SIGINT"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop.onnx", "x.npy"]


TWO_AT_ONCE = """
import os, signal, subprocess, sys
from onnxviz import worker
both = {signal.SIGINT, signal.SIGTERM}
waitpid = os.waitpid
def wait(child, options):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)  # both come here, before a handler of either has run
    return waitpid(child, options)
child = subprocess.Popen(["sleep", "600"])
signal.pthread_sigmask(signal.SIG_BLOCK, both)
for one in both:
    os.kill(os.getpid(), one)
os.waitpid = wait
sys.exit(0 if worker._wait(child.pid) is None else 1)
"""


def test_signals_that_come_at_once_end_it_without_a_word():
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
