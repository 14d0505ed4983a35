"""Conformance to the ONNX specification: onnx's checker and strict shape inference, in a process of their own.

Both are native code that some models abort or hang, as `onnxviz.model.graph.shapes` tells.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import onnx

from onnxviz.model.graph.shapes import TIMEOUT_SECONDS

# As in `shapes`, onnx's native module alone is loaded where that works. External data are looked for in the current
# folder, since the checker is given a model without a path.
_WORKER = """
import os, sys
from importlib.util import module_from_spec, spec_from_file_location
try:
    found = spec_from_file_location("onnx_cpp2py_export", {native!r})
    native = module_from_spec(found)
    found.loader.exec_module(native)
    check, infer = native.checker.check_model, native.shape_inference.infer_shapes
except Exception:
    sys.path[:] = {path!r}
    import onnx
    check = onnx.onnx_cpp2py_export.checker.check_model
    infer = onnx.onnx_cpp2py_export.shape_inference.infer_shapes
os.chdir({folder!r})
data = sys.stdin.buffer.read()
for step, work, told in (("check", check, (False, False, False)), ("infer", infer, (True, True, True))):
    try:
        work(data, *told)
    except Exception as error:
        sys.stdout.buffer.write(f"{{step}}\\n{{error}}".encode("utf-8", "replace"))
        break
else:
    sys.stdout.buffer.write(b"fine")
"""


def violation(model: onnx.ModelProto, folder: Path) -> tuple[str, str]:
    """The first thing in which a model violates the specification, as onnx puts it.

    Args:
        model: as it is stored; its external data lie in `folder`.
        folder: the model file's.

    Returns:
        Who says it, and what: ("", "") where nothing is wrong, else "checker" or "shape inference", or "" and why
        neither could tell.
    """
    code = _WORKER.format(native=onnx.onnx_cpp2py_export.__file__, path=sys.path, folder=str(folder.resolve()))
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code],
            input=model.SerializeToString(), capture_output=True, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "", f"onnx's checker and shape inference took more than {TIMEOUT_SECONDS:.0f} s"
    except OSError as error:
        return "", f"onnx's checker could not be started: {error}"
    step, _, text = done.stdout.decode("utf-8", "replace").partition("\n")
    names = {"check": "checker", "infer": "shape inference"}
    if step == "fine":
        return "", ""
    if step not in names:
        return "", f"onnx's checker or shape inference died over the model (exit {done.returncode})"
    return names[step], re.sub(r"\s+", " ", text).strip()
