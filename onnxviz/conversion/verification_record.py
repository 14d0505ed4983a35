"""The record of a verification, kept in a model's metadata with a hash of its weights: a changed model is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from onnxviz.conversion.verify import Verification
from onnxviz.errors import ModelError
from onnxviz.messages import printable
from onnxviz.model.graph.scopes import all_graphs
from onnxviz.model.model import Model
from onnxviz.model.skeleton import MAX_MESSAGE_BYTES

VERIFICATION_KEY = "onnxviz.verification"
"""Of the metadata: the record, as JSON."""
FORMAT_VERSION = 1


@dataclass(frozen=True)
class VerificationRecord:
    """What a conversion was found to differ by from its source, and of which weights that holds.

    Attributes:
        framework: of the source.
        versions: of what converted and compared it, by package name.
        verification: as `Verification.as_dict`.
        weights: SHA-256 of all weights, in hex; see `weights_hash`.
    """

    framework: str
    versions: Mapping[str, str]
    verification: Mapping[str, Any]
    weights: str

    def to_json(self) -> str:
        """As it is kept."""
        return json.dumps({"version": FORMAT_VERSION, **self.__dict__}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def of(cls, model: Model) -> VerificationRecord | None:
        """The record in a model's metadata; None where there is none.

        Raises:
            ModelError: it cannot be read, or is of a later version.
        """
        text = model.metadata.get(VERIFICATION_KEY)
        if text is None:
            return None
        try:
            told = json.loads(text)
            if told["version"] != FORMAT_VERSION:
                raise ModelError(
                    f"{model.label} has a record of its verification of version {printable(str(told['version']), 20)}; "
                    f"this onnxviz reads {FORMAT_VERSION}"
                )
            numbers = dict(told["verification"])
            for name in ("max_rel_diff", "maps_max_rel_diff", "tolerance"):
                numbers[name] = float(numbers[name])
            return cls(str(told["framework"]), dict(told["versions"]), numbers, str(told["weights"]))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            said = printable(str(error), 100)
            raise ModelError(f"{model.label} has a record of its verification that cannot be read: {said}") from None


def keep_record(
    path: Path, model: Model, framework: str, versions: Mapping[str, str], verification: Verification
) -> bool:
    """Adds the record to a model file that was just written, at its end.

    A protobuf message goes on where another is put behind it, and repeated fields add up
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so that the weights are not written again.

    Args:
        path: the file.
        model: what is in it.
        framework: as in `VerificationRecord`.
        versions: likewise.
        verification: what was found.

    Returns:
        Whether it fits: a message ends at 2 GiB.
    """
    record = VerificationRecord(framework, versions, verification.as_dict(), weights_hash(model))
    note = onnx.ModelProto()
    note.metadata_props.add(key=VERIFICATION_KEY, value=record.to_json())
    data = note.SerializeToString()
    if path.stat().st_size + len(data) > MAX_MESSAGE_BYTES:
        return False
    with path.open("ab") as file:
        file.write(data)
    return True


def weights_hash(model: Model) -> str:
    """SHA-256 of the names, types, shapes and values of all stored tensors of a model, in hex; reads all weights once.

    Each tensor is hashed by itself, on several threads, and then the sorted list of those hashes.
    """
    tensors = [one for graph in all_graphs(model.proto.graph) for one in graph.initializer]
    with ThreadPoolExecutor() as pool:
        hashes = sorted(pool.map(lambda one: _tensor_hash(model, one), tensors))
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _tensor_hash(model: Model, tensor: TensorProto) -> str:
    head = json.dumps([tensor.name, tensor.data_type, list(tensor.dims)])
    found = hashlib.sha256(head.encode())
    if tensor.data_location == TensorProto.EXTERNAL:
        found.update(model.constants.file.bytes_of(tensor))
    elif tensor.HasField("raw_data"):
        found.update(tensor.raw_data)
    else:
        plain = TensorProto()
        plain.CopyFrom(tensor)
        for field in ("name", "doc_string", "metadata_props"):
            plain.ClearField(field)
        found.update(plain.SerializeToString(deterministic=True))
    return f"{head} {found.hexdigest()}"
