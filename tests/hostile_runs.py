"""Commands on what strangers made: each works, or is refused in one line and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from deadlines import HANG_SECONDS, allowed
from hostile import UNSAFE, info, model, node, weight

from onnxviz.cli import run

LONGEST_LINE = 1200


def there(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    return {ascii(str(p)): p.read_bytes() if stat.S_ISREG(p.lstat().st_mode) else b"" for p in found}


def assert_one_error(text: str, match: str) -> None:
    assert text.startswith("error: "), ascii(text)
    assert text.endswith("\n")
    assert text.count("\n") == 1, ascii(text)
    assert not UNSAFE.search(text), ascii(text)
    assert len(text) <= LONGEST_LINE, f"{len(text)} characters"
    assert re.search(match, text), ascii(text)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, match: str) -> str:
    """Exit code 2, one line that says `match`, and the current folder as it was."""
    before = there(Path.cwd())
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 2, (code, ascii(err))
    assert_one_error(err, match)
    assert out == ""
    assert there(Path.cwd()) == before
    return err


def accepted(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 0, ascii(err)
    assert not UNSAFE.search(out + err), ascii(out + err)
    return out, err


def works_or_refused(capsys: pytest.CaptureFixture[str], *arguments: object, match: str = "") -> bool:
    before = there(Path.cwd())
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code in (0, 2), (code, ascii(err))
    if code == 2:
        assert_one_error(err, match)
        assert there(Path.cwd()) == before
    assert not UNSAFE.search(out + err), ascii(out + err)
    return code == 0


# The peak that the system keeps of a process begins with that of the one that started it, and a worker of the tests has
# gigabytes behind it. So a small process starts the command, and writes down the command's own peak, in KiB.
_LAUNCHER = """
import os, resource, signal, sys
report, *command = sys.argv[1:]
child = os.fork()
if child == 0:
    os.execv(command[0], command)
status = os.waitpid(child, 0)[1]
with open(report, "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
if os.WIFSIGNALED(status):
    if os.WTERMSIG(status) != signal.SIGKILL:
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.WEXITSTATUS(status))
"""


def process(
    *arguments: object, seconds: float = 30, setup: Callable[[], None] | None = None, **options: Any
) -> tuple[int, str, str, int]:
    """Exit code, stdout, stderr and the largest resident memory in bytes of the command in a process of its own.

    `seconds` of processor time, all its threads and processes together, are what it may take.
    """
    files = [open(name, "w+b") for name in ("../stdout", "../stderr")]  # noqa: SIM115, PTH123

    def prepare() -> None:
        os.setsid()
        if setup is not None:
            setup()

    report = Path("../peak").resolve()
    command = [sys.executable, "-c", "from onnxviz.cli import main; main()", *map(str, arguments)]
    command = [sys.executable, "-S", "-c", _LAUNCHER, str(report), *command]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=prepare, **{"stdout": files[0], "stderr": files[1], **options}
    )
    end = time.monotonic() + HANG_SECONDS
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.killpg(child.pid, signal.SIGKILL)
            os.wait4(child.pid, 0)
            child.returncode = -9
            for file in files:
                file.close()
            pytest.fail(f"took more than {HANG_SECONDS} s")
        time.sleep(0.01)
    taken = usage.ru_utime + usage.ru_stime
    assert taken < allowed(seconds), f"took {taken:.1f} s of processor time"
    child.returncode = os.waitstatus_to_exitcode(status)
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode(errors="replace"))
        file.close()
    return child.returncode, texts[0], texts[1], int(report.read_text()) * 1024


W = [2, 3, 3, 3]


def texts() -> onnx.ModelProto:
    made = model(
        [node("Conv", ["inputname", "weightname"], ["outputname"], name="nodename", auto_pad="SAME_UPPER")],
        [weight("weightname")],
        [info("inputname", ["batchname", 3, 8, 8])],
        [info("outputname", None)],
        metadata=[("metakey", "metavalue")],
        producer_name="producername",
        producer_version="producerversion",
        domain="modeldomain",
        doc_string="modeldoc",
    )
    made.graph.name = "graphname"
    made.opset_import.add(domain="opsetdomain", version=1)
    made.graph.node[0].doc_string = "nodedoc"
    for key, value in (("onnxviz.scope", "scopevalue"), ("onnxviz.layer", "layervalue"), ("otherkey", "v")):
        made.graph.node[0].metadata_props.add(key=key, value=value)
    made.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="torchscopes")
    made.graph.node[0].metadata_props.add(key="pkg.onnxscript.rewriter.rule_name", value="rulename")
    made.graph.node[0].attribute.add(name="other", ref_attr_name="refattr", type=onnx.AttributeProto.INT)
    return made
