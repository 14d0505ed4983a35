"""Sessions: providers that are not there, models that cannot run, no telemetry, runs that can be stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import zoo
from deadlines import HANG_SECONDS
from old_versions import FOLDING_IS_UNLIMITED
from onnx import TensorProto, helper

from onnxviz.errors import InputError, ModelError, ProviderError
from onnxviz.runtime.providers import NodeAssignment
from onnxviz.runtime.session import RunOptions, Session, available_providers


def session(proto: onnx.ModelProto, **options) -> Session:
    return Session(proto, Path.cwd(), "m.onnx", RunOptions(**options))


def test_providers() -> None:
    assert "cpu" in available_providers()
    with pytest.raises(ProviderError, match="there is no provider 'tpu'; there are cpu"):
        session(zoo.model("classifier"), provider="tpu")


@pytest.mark.skipif("cuda" in available_providers(), reason="this machine has CUDA")
def test_a_provider_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ProviderError, match=r"'cuda' was asked for.* has cpu\b.*; install onnxruntime-gpu"):
        session(zoo.model("classifier"), provider="cuda")


# Offered by onnxruntime's own wheels, and runs nothing but calls of remote services.
needs_azure = pytest.mark.skipif("azure" not in available_providers(), reason="this onnxruntime has no such provider")


@needs_azure
def test_a_provider_that_takes_no_node_is_an_error() -> None:
    proto = zoo.model("classifier")
    with pytest.raises(ProviderError, match=r"'azure' was asked for, but it takes none of the \d+ nodes of m\.onnx"):
        session(proto, provider="azure")


@needs_azure
def test_an_onnxruntime_that_does_not_tell_where_nodes_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds before 1.24.1 stand in for onnxruntime under other names."""
    monkeypatch.delattr("onnxruntime.capi.onnxruntime_inference_collection.Session.get_provider_graph_assignment_info")
    options = RunOptions("azure")
    opened = Session(zoo.model("classifier"), Path.cwd(), "m.onnx", options)
    assert opened.assignment is options.assignment
    assert opened.assignment is not None
    assert opened.assignment.nodes is None


def test_on_the_cpu_there_is_nothing_to_tell() -> None:
    options = RunOptions()
    assert Session(zoo.model("classifier"), Path.cwd(), "m.onnx", options).assignment is None
    assert options.assignment is None


def test_a_provider_that_fails_at_a_run_is_no_silent_fallback(capfd: pytest.CaptureFixture[str]) -> None:
    """onnxruntime's Python would print that, open a session on the CPU in its place, and go on."""
    proto = zoo.model("classifier")
    opened = session(proto)

    class Failing:
        own = opened._session._sess

        def __getattr__(self, name: str) -> object:
            return getattr(self.own, name)

        def run(self, *arguments: object) -> None:
            raise onnxruntime.capi.onnxruntime_pybind11_state.EPFail("the device is gone")

    opened._session._sess = Failing()
    with pytest.raises(InputError, match="the device is gone"):
        opened.run(["logits"], zoo.feeds(proto))
    assert capfd.readouterr() == ("", "")


def test_optimisations_can_be_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the graph that onnxruntime runs, as it writes it itself."""
    written, made = tmp_path / "run.onnx", onnxruntime.SessionOptions

    def writing() -> onnxruntime.SessionOptions:
        settings = made()
        settings.optimized_model_filepath = str(written)
        return settings

    monkeypatch.setattr("onnxruntime.SessionOptions", writing)
    proto = zoo.model("classifier")
    nodes = {}
    for optimize in (True, False):
        session(proto, optimize=optimize)
        nodes[optimize] = [node.op_type for node in onnx.load(written).graph.node]
    assert nodes[False] == [node.op_type for node in proto.graph.node]
    assert "BatchNormalization" in nodes[False]
    assert "BatchNormalization" not in nodes[True]


def test_what_a_session_takes_of_a_sample() -> None:
    proto = zoo.model("classifier")
    opened = session(proto)
    feeds = zoo.feeds(proto)
    assert set(opened.own({**feeds, "other": np.zeros(1)})) == set(feeds) == set(opened.inputs)
    for name, array in opened.own(feeds).items():
        assert array is feeds[name]
    with pytest.raises(InputError, match=rf"^m\.onnx also needs {opened.inputs[0]}: give each as NAME=PATH$"):
        opened.own({"other": np.zeros(1)})


def test_a_run_in_the_calling_thread_gives_the_same() -> None:
    proto = zoo.model("classifier")
    opened, feeds = session(proto), zoo.feeds(proto)
    np.testing.assert_array_equal(opened.run_here(["logits"], feeds)[0], opened.run(["logits"], feeds)[0])
    wrong = {name: array[..., :-1] for name, array in feeds.items()}
    messages = []
    for run in (opened.run, opened.run_here):
        with pytest.raises(InputError, match=r"m.onnx could not run on input") as refused:
            run(["logits"], wrong)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]


def test_no_telemetry(tmp_path: Path) -> None:
    """In a home of its own: no file appears, and no name is looked up."""
    model = tmp_path / "secret.onnx"
    onnx.save(zoo.model("classifier"), model)
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('looked up ' + str(a))\n"
        "socket.getaddrinfo = refuse\n"
        "import os, numpy, onnxviz\n"
        f"onnxviz.capture({str(model)!r}, numpy.zeros((1, 3, 32, 32), 'f4'))\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG", "ORT"))} | {"HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(home.rglob("*")) == []


def versioned(opset: int, ir: int = 8) -> onnx.ModelProto:
    proto = zoo.model("classifier")
    proto.opset_import[0].version = opset
    proto.ir_version = ir
    return proto


def test_opset_of_the_future() -> None:
    with pytest.raises(ModelError, match=r"m\.onnx is written for opset 999; onnxruntime .* knows opsets up to \d+"):
        session(versioned(999))


def test_ir_version_of_the_future() -> None:
    with pytest.raises(ModelError, match=r"m\.onnx has IR version 99"):
        session(versioned(17, 99))


def test_opset_of_the_past() -> None:
    """onnxruntime has no kernels for the Add of opset 6."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    with pytest.raises(ModelError, match=r"opset 6.*Add.*version_converter"):
        session(proto)


def test_unknown_contrib_operator_is_named() -> None:
    proto = zoo.model("classifier")
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "com.microsoft", "Wonder"
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ModelError, match=r"com\.microsoft::Wonder"):
        session(proto)


def filled(elements: int) -> onnx.ModelProto:
    """x plus a constant tensor of that many elements, from 200 bytes."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [elements])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["big"]), helper.make_node("Add", ["x", "big"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [shape])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_floods_are_refused() -> None:
    with pytest.raises(ModelError, match="makes 1,073,741,824 elements; the limit is 268,435,456"):
        session(filled(2**30))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(FOLDING_IS_UNLIMITED, reason="this onnxruntime does not know the limit")
def test_constants_are_not_folded_when_they_are_large() -> None:
    """512 MB from 200 bytes, which onnxruntime makes when a session opens, unless a limit is set."""
    before = resident()
    held = session(filled(2**27))
    assert resident() - before < 100
    assert held.inputs == ("x",)


def resident() -> float:
    """This process's memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


ENDLESS = """
import _thread, os, sys, time, numpy as np, onnx.parser
from pathlib import Path
from onnxviz.runtime import session as runtime
proto = onnx.parser.parse_model('''
<ir_version: 8, opset_import: ["" : 17]>
endless (float[1] x) => (float[1] y)
<int64 turns = {9223372036854775807}, bool go = {1}>
{ y = Loop (turns, go, x) < body = b (int64 i, bool c, float[1] s) => (bool d, float[1] t)
  { d = Identity (c) t = Sqrt (s) } > }''')
session = runtime.Session(proto, Path.cwd(), "m")
feeds = {"x": np.ones(1, np.float32)}
"""

AT_RANDOM = """
import random, signal, threading
# A program that is started in the background may have it ignored, and interrupt_main does nothing then.
signal.signal(signal.SIGINT, signal.default_int_handler)
ended = 0
for turn in range(int(sys.argv[1])):
    # Around a multiple of the time that a wait takes, the waiting thread is between two waits.
    threading.Timer(0.1 + random.uniform(-0.002, 0.002), _thread.interrupt_main).start()
    try:
        session.run(["y"], feeds)
    except KeyboardInterrupt:
        ended += 1
print(ended)
"""

# Interrupts the run before its nth instruction, for every n until one comes when it has been waiting for a while.
ANYWHERE = """
runtime._LOOK_SECONDS = 0.001
WAITED = 20

def interrupted(at):
    # The line that was interrupted, "" if the run was let alone until it had waited often.
    seen = {"instructions": 0, "waits": 0, "line": ""}

    def watch(frame, event, argument):
        if event == "opcode":
            seen["instructions"] += 1
            seen["waits"] += frame.f_lineno != seen.get("before") and "acquire" in source(frame)
            seen["before"] = frame.f_lineno
            over = seen["waits"] > WAITED
            if seen["instructions"] == at or over:
                seen["line"] = "" if over else source(frame)
                raise KeyboardInterrupt
        return watch

    def begin(frame, event, argument):
        if frame.f_code is not runtime.Session.run.__code__ and "threading" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        return watch

    sys.settrace(begin)
    try:
        session.run(["y"], feeds)
    except KeyboardInterrupt:
        return seen["line"]
    finally:
        sys.settrace(None)
    raise AssertionError("the run ended by itself")

def source(frame):
    import linecache
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()

at, lines = 1, []
while line := interrupted(at):
    lines.append(line)
    at += 1
print(len(lines))
print(*dict.fromkeys(lines), sep="\\n")
"""


def run_endless(rest: str, *arguments: object) -> str:
    """What the program prints; one that hangs is ended after minutes, which no slow machine needs."""
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS + rest, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_interrupt_ends_a_run() -> None:
    assert run_endless(AT_RANDOM, 10) == "10\n"


def test_an_interrupt_ends_a_run_wherever_it_comes() -> None:
    """Before each single instruction of `Session.run`, a thread's start and the first waits among them."""
    count, *lines = run_endless(ANYWHERE).splitlines()
    assert int(count) > 100
    assert any("start_new_thread" in line for line in lines)
    assert any("acquire" in line for line in lines)


def test_messages_are_one_printable_line() -> None:
    proto = zoo.model("classifier")
    proto.graph.node[-1].input[0] = "evil\x1b[31m\nname"
    with pytest.raises(ModelError) as caught:
        session(proto)
    assert str(caught.value).isprintable()
    assert "evil" in str(caught.value)


def test_options_keep_what_the_largest_graph_told() -> None:
    """A verb opens several graphs with the same options."""
    options = RunOptions("cuda")
    for count in (2, 5, 3):
        options.keep(NodeAssignment("cuda", {"cuda": {"Conv": count}}))
    assert options.assignment == NodeAssignment("cuda", {"cuda": {"Conv": 5}})
    assert options == RunOptions("cuda")
