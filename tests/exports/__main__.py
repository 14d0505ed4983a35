"""Makes the exports in tests/zoo/exports anew: `python tests/exports`, or those whose names hold a word given."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from exports.rows import FOLDER, keep, names, table, taps

# The file, the framework and how it exports.
EXPORTS = {
    "torchscript-11": ("pytorch", "torchscript", "11"),
    "torchscript-17": ("pytorch", "torchscript", "17"),
    "torchscript-open": ("pytorch", "torchscript", "open"),
    "dynamo": ("pytorch", "dynamo", ""),
    "dynamo-open": ("pytorch", "dynamo", "open"),
    "dynamo-raw": ("pytorch", "dynamo", "raw"),
    "pytorch-convert": ("pytorch", "convert", ""),
    "keras-convert": ("keras", "convert", "conv"),
    "tf2onnx": ("keras", "tf2onnx", "conv"),
    "tf2onnx-pool": ("keras", "tf2onnx", "pool"),
}


def main(words: list[str]) -> None:
    """Exports, one after the other, and writes each when it is done."""
    warnings.simplefilter("ignore")
    for name, (framework, exporter, options) in EXPORTS.items():
        if words and not any(word in name for word in words):
            continue
        if framework == "pytorch":
            from exports.from_pytorch import exported
        else:
            from exports.from_keras import exported
        keep(name, exported(exporter, options))
        print(name, flush=True)
    (FOLDER / "taps.txt").write_text(table({name: taps(name) for name in names()}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
