"""Running a command as a person does: what it said, what it left on disk."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from deadlines import HANG_SECONDS
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from protos import classifier_proto

RNG = np.random.default_rng(23)
PHOTO = RNG.integers(0, 256, (16, 12, 3), np.uint8)


class Ran:
    """What one command did: exit code, stdout, stderr."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def document(self):
        """The one JSON document on stdout; strict, as scripts in other languages read it."""

        def refuse(constant):
            pytest.fail(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=refuse)

    @property
    def lines(self):
        return self.out.splitlines()


def files_in(folder):
    """All files below a folder, as sorted relative paths."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def error_of(ran):
    """The one line of an error with exit code 2."""
    assert ran.code == 2, ran
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert len(lines) == 1, ran
    assert lines[0].startswith("error: ")
    return lines[0]


def truth(array, tensors, proto=None):
    """The tensors of the classifier for an input, by onnx's reference."""
    proto = proto or classifier_proto()
    del proto.graph.output[:]
    for tensor in tensors:
        proto.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    return ReferenceEvaluator(proto).run(list(tensors), {"image": array.astype(np.float32)})


# ---------------------------------------------------------------- help and usage


def program(*arguments, cwd, **options):
    """The console script in a process of its own."""
    script = shutil.which("onnxviz", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return subprocess.run(
        [script, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=HANG_SECONDS,
        check=False,
        **options,
    )


# ---------------------------------------------------------------- layers


def holds(found, expected):
    """Whether `found` has at least the keys of `expected`, with these values."""
    if isinstance(expected, dict):
        assert set(expected) <= set(found)
        for key, value in expected.items():
            holds(found[key], value)
    else:
        assert found == expected


def noted(path, note, key="onnxviz.preprocessing"):
    proto = classifier_proto()
    proto.metadata_props.add(key=key, value=note)
    onnx.save(proto, path)
    return path


# ---------------------------------------------------------------- pictures


def mosaic_of(figure):
    """What is seen, without the words around it: float 0…1, -1 where nothing is."""
    return np.ma.filled(figure.axes[0].images[0].get_array(), -1)


def shows(mosaic, wanted):
    """Whether the picture `wanted` (h, w) lies in the mosaic to 1e-4; small ones are drawn larger, by whole pixels."""
    height, width = wanted.shape
    order = np.argsort(-np.abs(wanted - np.median(wanted)), axis=None)  # what differs most rules out most places
    for factor in range(1, min(mosaic.shape[0] // height, mosaic.shape[1] // width) + 1):
        free = mosaic[: mosaic.shape[0] - (height - 1) * factor, : mosaic.shape[1] - (width - 1) * factor]
        first = np.unravel_index(order[0], wanted.shape)
        there = mosaic[first[0] * factor :, first[1] * factor :][: len(free), : free.shape[1]]
        rows, columns = np.nonzero(np.abs(there - wanted[first]) < 1e-4)
        for place in order[1:]:
            y, x = np.unravel_index(place, wanted.shape)
            kept = np.abs(mosaic[rows + y * factor, columns + x * factor] - wanted[y, x]) < 1e-4
            rows, columns = rows[kept], columns[kept]
            if not len(rows):
                break
        if len(rows):
            return True
    return False


def words_of(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text")))


MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


def softmax(scores):
    powers = np.exp(scores.astype(np.float64) - scores.max())
    return powers / powers.sum()


def pages_in(data):
    """How many pages a PDF of matplotlib's has."""
    return data.count(b"/Type /Page\n") + data.count(b"/Type /Page ")


def unit(pixels):
    """The classifier's input by definition of `unit`."""
    return (pixels.astype(np.float64) / 255).transpose(2, 0, 1)[None].astype(np.float32)
