"""The input above maps on disk: the signal or the volume that maps of one or three spatial axes are of."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.inputs.samples import Feeds
from onnxviz.maps.tapped_run import TappedRun
from onnxviz.model.ports import Port

_SIGNALS_AND_VOLUMES = (1, 3)


class MapsInput:
    """What was fed, sample by sample.

    Args:
        run: what captures the maps.
    """

    def __init__(self, run: TappedRun) -> None:
        self._run = run

    def of(self, feeds: Feeds, row: int, spatial: int) -> NDArray[Any] | None:
        """(C, spatial…), where one input alone has as many spatial axes as the maps: one or three; else None.

        Args:
            feeds: the arrays of a sample.
            row: which row of them; an array of one row is the same for all.
            spatial: axes of the maps.
        """
        port = self._port
        if port is None or spatial not in _SIGNALS_AND_VOLUMES or len(port.layout) != spatial + 2:
            return None
        array = feeds.get(port.name)
        if array is None:
            return None
        fed: NDArray[Any] = np.moveaxis(array[row if len(array) > 1 else 0], port.layout.index("C") - 1, 0)
        return fed

    @cached_property
    def _port(self) -> Port | None:
        found = [port for port in self._run.needed if port.layout]
        plain = [port for port in found if set(port.layout) <= set("NCDHW")]
        return plain[0] if len(found) == len(plain) == 1 else None
