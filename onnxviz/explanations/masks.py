"""Masks: positions that are marked, by booleans, by 0 and 1, or by one label of several."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.messages import dims, for_reader, printable

_MOST_LISTED = 5


def checked_mask(values: NDArray[Any], what: str = "the mask") -> NDArray[np.bool_]:
    """The positions that a mask marks.

    Args:
        values: booleans, or numbers that are 0 or 1; of any shape.
        what: the mask, in messages.

    Raises:
        InputError: there is anything else in it, and so no telling what is marked.
    """
    _check_numbers(values, what)
    other = _others(values)
    if not len(other):
        return values.astype(bool)
    labels = values.dtype.kind in "iu" and values.min() >= 0
    remedy = (
        f"say which, {for_reader(f'FILE.npy={other[0]}', f'labels == {other[0]}')}" if labels else "make it booleans"
    )
    raise InputError(f"{what} has values other than 0 and 1 ({_listed(other)}): {remedy}")


def read_mask(path: str, label: int | None = None) -> NDArray[np.bool_]:
    """The mask in a `.npy`, or the positions of one label in an array of labels.

    Args:
        path: the file.
        label: a whole number; None for a mask of booleans, or of 0 and 1.

    Raises:
        InputError: the file cannot be read, is no mask, or has no such label.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a mask: {printable(str(error))}") from None
    if not isinstance(values, np.ndarray):
        values.close()
        raise InputError(f"{path} is an archive, not a .npy array: it cannot be read as a mask")
    if label is None:
        return checked_mask(values, f"the mask {path}")
    _check_numbers(values, f"the mask {path}")
    if values.dtype.kind not in "iub":
        raise InputError(f"the mask {path} holds {values.dtype}, and labels are whole numbers")
    marked: NDArray[np.bool_] = np.asarray(values == label)
    if not marked.any():
        raise InputError(f"the mask {path} has no label {label}; it has {_listed(np.unique(values))}")
    return marked


def _check_numbers(values: NDArray[Any], what: str) -> None:
    if values.dtype.kind not in "biuf":
        raise InputError(f"{what} holds {_kind(values.dtype)}, not booleans or 0 and 1")
    if not values.size:
        raise InputError(f"{what} is empty: {dims(values.shape)}")


def _kind(dtype: np.dtype[Any]) -> str:
    return {"U": "text", "S": "text", "O": "objects", "c": "complex numbers"}.get(dtype.kind, str(dtype))


def _others(values: NDArray[Any]) -> NDArray[Any]:
    """The values that are neither 0 nor 1, NaN among them, each once."""
    return np.unique(values[(values != 0) & (values != 1)])


def _listed(values: NDArray[Any]) -> str:
    shown = ", ".join(f"{value:g}" if values.dtype.kind == "f" else str(value) for value in values[:_MOST_LISTED])
    return shown + (f" and {len(values) - _MOST_LISTED} more" if len(values) > _MOST_LISTED else "")
