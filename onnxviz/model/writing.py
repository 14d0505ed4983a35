"""Models written with their weights, as one file or with external data; whole or not at all.

A protobuf message ends at 2 GiB (https://protobuf.dev/programming-guides/proto-limits/); weights past that lie in
`NAME.data` beside the model, as external data (https://onnx.ai/onnx/repo-docs/ExternalData.html).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto

from onnxviz.errors import ModelError, OnnxvizError
from onnxviz.files import assembling, destination
from onnxviz.model.skeleton import embed_weights

BytesOf = Callable[[TensorProto], memoryview]
"""Gives the bytes of an external tensor: `TensorFile.bytes_of`, `Folded.bytes_of`."""


def write_model(proto: onnx.ModelProto, bytes_of: BytesOf, path: Path, *, one_file: bool = False) -> None:
    """Writes the model, and `NAME.data` if it must be: all of it or nothing. A symbolic link stays one.

    Args:
        proto: weights are references. Not changed.
        bytes_of: reads them.
        path: the file that is written or replaced.
        one_file: whether a model that needs a second file is refused.

    Raises:
        ModelError: a file cannot be written, or one file cannot hold the model and `one_file` is asked for.
    """
    try:
        path = destination(path)
        with assembling(path) as folder:
            if len(write_files(proto, bytes_of, folder / path.name)) > 1 and one_file:
                raise ModelError(f"{path} would be larger than 2 GiB, which one .onnx file cannot be")
    except ModelError:
        raise
    except OnnxvizError as error:
        raise ModelError(str(error)) from None


def write_files(proto: onnx.ModelProto, bytes_of: BytesOf, path: Path) -> list[Path]:
    """Writes into a folder that `onnxviz.files.assembling` gave, or that is deleted if this fails.

    Returns:
        What was written: the model, and the file with its weights where it needs one.
    """
    data_path = path.with_name(path.name + ".data")
    chunks, moved = embed_weights(proto, bytes_of, data_path.name)
    for target, parts in ((path, chunks), (data_path, moved)):
        if parts:
            with target.open("wb") as file:
                file.writelines(parts)
    return [path, data_path] if moved else [path]


def whole_model(proto: onnx.ModelProto, bytes_of: BytesOf, label: str, purpose: str) -> onnx.ModelProto:
    """A copy of the model that holds its weights.

    Args:
        proto: weights are references. Not changed.
        bytes_of: reads them.
        label: how messages call the model.
        purpose: what it is too large for, as in "too many to randomise".

    Raises:
        ModelError: it has 2 GiB or more.
    """
    chunks, moved = embed_weights(proto, bytes_of, "weights.data")
    if moved:
        raise ModelError(f"{label} has more than 2 GiB of weights, too many to {purpose}")
    return onnx.ModelProto.FromString(b"".join(chunks))
