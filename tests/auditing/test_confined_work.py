"""Parts of the work in processes of their own: what they give comes back, or why they ended; limits hold."""

import ctypes
import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from deadlines import HANG_SECONDS, gone

from onnxviz.auditing.confined_work import Limits, Outcome, confined, limit_memory

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="confines only where the system can fork")

PATIENT = Limits(HANG_SECONDS)


def in_a_fresh_process(test):
    """The test in an interpreter of its own: what this one has loaded has threads, and memory to spare."""

    @functools.wraps(test)
    def run():
        if os.environ.get("ONNXVIZ_FRESH"):
            test()
            return
        names = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(
            [*command, f"{__file__}::{test.__name__}"], env={**names, "ONNXVIZ_FRESH": "1"}, capture_output=True,
            text=True, check=False, timeout=HANG_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        assert "1 passed" in done.stdout

    return run


def ending(work, limits=PATIENT):
    ((number, found),) = confined([work], limits)
    assert number == 0
    return found


def test_a_child_does_not_collect_its_parents_garbage(tmp_path):
    """A session's end waits for threads that the child does not have: it would hang."""
    ended = tmp_path / "ended"

    class Session:
        def __del__(self):
            if os.getpid() != parent:
                ended.touch()

    parent, one = os.getpid(), Session()
    one.itself = one
    del one
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            assert ending(lambda tell: f"{gc.isenabled()} {gc.collect() >= 0}".encode()).result == b"True True"
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
    assert not ended.exists()


def test_a_child_collects_its_own_garbage():
    def work(tell):
        one = []
        one.append(one)
        del one
        return str(gc.collect()).encode()

    assert int(ending(work).result) >= 1


def test_results_come_back_whole_whatever_their_size():
    for size in (0, 1, 100_000, 20_000_000):
        assert ending(lambda tell, size=size: b"\x00R" * size) == Outcome(b"\x00R" * size)


def test_each_work_has_a_process_of_its_own_and_its_number():
    works = [lambda tell, n=n: f"{n} {os.getpid()} {os.getppid()}".encode() for n in range(6)]
    found = {number: one.result.decode().split() for number, one in confined(works, PATIENT, 3)}
    assert [found[number][0] for number in range(6)] == list("012345")
    assert len({process for _, process, _ in found.values()}) == 6
    assert {parent for *_, parent in found.values()} == {str(os.getpid())}


def test_jobs_run_side_by_side_and_no_more_than_are_asked_for(tmp_path):
    """The first of them wait for each other, however long that takes."""
    started, running = tmp_path / "started", tmp_path / "running"

    def most(jobs):
        def work(tell):
            name, until = str(os.getpid()), time.monotonic() + HANG_SECONDS / 2
            (running / name).touch()
            (started / name).touch()
            while len(list(started.iterdir())) < jobs and time.monotonic() < until:
                time.sleep(0.01)
            count = len(list(running.iterdir())) if time.monotonic() < until else 0
            (running / name).unlink()
            return bytes([count])

        for folder in (started, running):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        counts = [one.result[0] for _, one in confined([work] * 6, PATIENT, jobs)]
        assert len(counts) == 6
        assert min(counts) >= 1
        return max(counts)

    assert most(1) == 1
    assert most(3) <= 3


def test_works_are_taken_up_when_they_can_begin(tmp_path):
    """Memory does not grow with their number: the list is never made."""
    taken = []

    def works():
        for number in range(5):
            taken.append(number)
            yield lambda tell: b""

    found = confined(works(), PATIENT)
    next(found)
    assert len(taken) <= 2
    assert len(list(found)) == 4


@pytest.mark.parametrize(
    ("death", "why"),
    [
        (os.abort, "crashed onnx or onnxruntime with SIGABRT"),
        (lambda: ctypes.string_at(0), "crashed onnx or onnxruntime with SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed (out of memory?)"),
        (lambda: os._exit(7), "ended its process with exit code 7"),
        (lambda: os._exit(0), "ended its process with exit code 0"),
        (lambda: sys.exit(3), "met a bug of onnxviz, SystemExit: 3 (test_confined_work.py"),
        (lambda: {}["key"], "met a bug of onnxviz, KeyError: 'key' (test_confined_work.py, line "),
    ],
    ids=["abort", "segfault", "kill", "exit", "exit in peace", "sys.exit", "bug"],
)
def test_a_death_is_told_with_what_was_at_work(death, why, capfd):
    def work(tell):
        tell("W01")
        tell("W02")
        death()
        return b"never"

    found = ending(work)
    assert found.result is None
    assert found.why.startswith(why)
    assert found.stage == "W02"
    assert capfd.readouterr() == ("", "")


def test_a_death_is_told_where_the_system_has_no_waitid(monkeypatch):
    """As on macOS below Python 3.13."""
    monkeypatch.delattr(os, "waitid", raising=False)
    assert ending(lambda tell: os._exit(7)).why == "ended its process with exit code 7"


def test_what_a_child_prints_is_not_mixed_with_the_report(capfd):
    def work(tell):
        print("out")
        print("err", file=sys.stderr)
        os.write(1, b"native out")
        os.write(2, b"native err")
        return b"done"

    assert ending(work).result == b"done"
    assert capfd.readouterr() == ("", "")


def test_a_child_process_that_hangs_ends_with_its_own_children_within_two_seconds(tmp_path):
    note = tmp_path / "grandchild"

    def work(tell):
        tell("P03")
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(86400)"])
        note.write_text(str(inner.pid))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        ctypes.PyDLL(None).sleep(86400)  # holds the interpreter's lock
        return b""

    begin = time.monotonic()
    found = ending(work, Limits(1.5))
    assert 1.5 <= time.monotonic() - begin < 3.5
    assert (found.result, found.why, found.stage) == (None, "took more than 1.5 s", "P03")
    assert gone(int(note.read_text()))


def test_one_that_hangs_does_not_hold_up_the_others():
    works = [lambda tell: time.sleep(86400) or b"", lambda tell: b"1", lambda tell: b"2"]
    found = dict(confined(works, Limits(2.0), 2))
    assert [found[number].result for number in range(3)] == [None, b"1", b"2"]
    assert found[0].why == "took more than 2 s"


@pytest.mark.parametrize("seconds", [1e300, float("inf")])
def test_a_limit_may_be_longer_than_systems_wait(seconds):
    assert ending(lambda tell: b"1", Limits(seconds)).result == b"1"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold to RLIMIT_DATA")
@in_a_fresh_process
def test_memory_is_limited_beyond_what_the_process_begins_with():
    def work(size):
        return lambda tell: str(len(bytearray(size))).encode()

    limits = Limits(HANG_SECONDS, 200 << 20)
    ballast = bytearray(300 << 20)  # the parent's, which a child begins with
    assert ending(work(100 << 20), limits).result == str(100 << 20).encode()
    assert ending(work(220 << 20), limits).why == "needed more memory than its limit of 0.2 GiB"
    assert ending(work(220 << 20)).result == str(220 << 20).encode()
    assert len(ballast) == 300 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold to RLIMIT_DATA")
@in_a_fresh_process
def test_a_thread_without_memory_for_its_stack_is_no_bug():
    def work(tell):
        threads = [threading.Thread(target=time.sleep, args=(86400,), daemon=True) for _ in range(100)]
        for thread in threads:
            thread.start()
        return b"all run"

    assert ending(work, Limits(HANG_SECONDS, 100 << 20)).why == "needed more memory than its limit of 0.1 GiB"
    assert ending(work).result == b"all run"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold to RLIMIT_DATA")
@in_a_fresh_process
def test_the_work_may_move_its_limit():
    def work(tell):
        limit_memory(10 << 20)
        try:
            bytearray(50 << 20)
        except MemoryError:
            limit_memory(100 << 20)
            return str(len(bytearray(50 << 20))).encode()
        return b"not held"

    assert ending(work).result == str(50 << 20).encode()


def test_temporary_files_go_with_the_child(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work(tell):
        name = tempfile.mkdtemp()
        (Path(name) / "weights").write_bytes(b"x" * 1000)
        subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkdtemp()"], check=True)
        os.abort()

    assert ending(work).result is None
    assert list(tmp_path.iterdir()) == []


def test_whoever_stops_asking_leaves_no_process_behind(tmp_path):
    def work(tell):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(86400)
        return b""

    found = confined([lambda tell: b"", work, work], PATIENT, 3)
    next(found)
    end = time.monotonic() + 10
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    processes = [int(path.name) for path in tmp_path.iterdir()]
    assert len(processes) == 2
    found.close()
    assert all(gone(process) for process in processes)


def test_what_is_told_reaches_the_caller_as_it_is_said():
    said = []
    works = [lambda tell: (tell("one"), tell("two"), b"")[-1], lambda tell: (tell("three"), b"")[-1]]
    list(confined(works, PATIENT, 1, lambda number, stage: said.append((number, stage))))
    assert said[-1] == (1, "three")
    assert (0, "two") in said
