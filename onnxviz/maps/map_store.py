"""A store of feature maps while they are captured: in memory, or in a file where they are many."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.messages import option
from onnxviz.model.axes.arrangement import Entries

# Maps of several batches are kept in memory up to this; beyond, a file costs little and memory stays flat.
KEPT_BYTES = 64 * 2**20


class MapStore:
    """Collects batches of maps; past a budget they go to files that vanish with the arrays.

    Args:
        memory: bytes that the whole run may take; a quarter of them, but no more than `KEPT_BYTES`, are kept.
        axes: which axis counts the samples, by layer.
    """

    def __init__(self, memory: int, axes: Mapping[str, int]) -> None:
        self.budget = min(memory // 4, KEPT_BYTES)
        self.axes = axes
        self.rows: dict[str, list[int]] = {}
        self.parts: dict[str, list[str]] = {}
        self._parts: dict[str, list[NDArray[Any]]] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._forms: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._lengths: dict[str, int] = {}
        self._held = 0

    def add(
        self,
        maps: Mapping[str, NDArray[Any]],
        first: int,
        samples: int,
        entries: Mapping[str, Entries] = MappingProxyType({}),
    ) -> None:
        """Appends a batch along the layers' sample axes.

        Args:
            maps: the batch's arrays.
            first: number of its first sample.
            samples: how many samples it has.
            entries: what the entries of some layers are, if not one for each sample.

        Raises:
            InputError: its maps have another size than those before.
        """
        if self._held > self.budget:  # before the next batch, so that a single one is never copied
            self._spill()
        for name, array in maps.items():
            array = np.atleast_1d(array)
            axis = self.axes[name] if array.ndim > self.axes[name] else 0
            array = np.moveaxis(array, axis, 0)
            mine = self.rows.setdefault(name, [])
            if array.size == 0 and name in self._forms:
                continue  # a branch that this sample did not take
            count = array.shape[0] if array.size else 0
            known = entries.get(name)
            if known is not None:
                mine.extend(first + sample for sample in known.samples)
                self.parts.setdefault(name, []).extend(known.labels)
            else:
                mine.extend(range(first, first + samples) if count == samples else [first] * count)
            form = (array.shape[1:], array.dtype)
            if self._lengths.get(name) == 0:
                self._forms[name] = form
                self._parts[name].clear()
            before = self._forms.setdefault(name, form)
            if before[0] != form[0]:
                sizes = " and ".join("x".join(map(str, shape)) for shape, _ in (before, form))
                raise InputError(
                    f"inputs of different sizes give '{name}' maps of {sizes}: give {option('size', 'HxW')}"
                )
            self._lengths[name] = self._lengths.get(name, 0) + array.shape[0]
            self._parts.setdefault(name, []).append(array)
            self._held += array.nbytes

    def _spill(self) -> None:
        for name, parts in self._parts.items():
            try:
                if not self._lengths[name]:
                    continue  # a branch that nothing took yet needs no file
                if parts and name not in self._files:
                    self._files[name] = tempfile.TemporaryFile(prefix="onnxviz-")  # noqa: SIM115 - closed when mapped
                for part in parts:
                    self._files[name].write(np.ascontiguousarray(part).data)
            except OSError as error:
                raise InputError(
                    f"the maps do not fit into memory, and cannot be kept in {tempfile.gettempdir()}: {error.strerror}"
                ) from None
            parts.clear()
        self._held = 0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was added, by layer: (N, C, spatial…)."""
        if self._files:
            self._spill()
        found: dict[str, NDArray[Any]] = {}
        for name, parts in self._parts.items():
            shape, dtype = self._forms[name]
            file = self._files.get(name)
            if not self._lengths[name]:
                found[name] = np.empty((0, *shape), dtype)
            elif file is None:
                found[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
            else:
                with file:  # the map keeps the nameless file alive
                    file.flush()
                    found[name] = np.memmap(file, dtype, "r", shape=(self._lengths[name], *shape))
            if found[name].ndim > self.axes[name]:
                found[name] = np.moveaxis(found[name], 0, self.axes[name])
        return found
