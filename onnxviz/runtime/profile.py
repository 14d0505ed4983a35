"""Profiles: how long each node of the optimised graph takes, and on arrays of which shapes, by onnxruntime's own clock.

The format is onnxruntime's: https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.model.graph.operators import OPERATORS, Family, names_anywhere
from onnxviz.model.model import Model
from onnxviz.runtime.session import RunOptions, Session

WARM_UP = 2
"""Runs that are not counted: the first ones allocate."""
# What onnxruntime's passes put before and behind the name of the node or tensor that a node stands for.
_BEFORE = re.compile(r"^(?:InsertedPrecisionFreeCast_)+")
_BEHIND = re.compile(r"(?:_token_\d+|_nchwc|_quant)+$")
_EVENT = "_kernel_time"
_INTEGER = names_anywhere(Family.INTEGER)
_WINDOWS = names_anywhere(Family.CONVOLUTION)
_PRODUCTS = names_anywhere(Family.CONVOLUTION | Family.MATRIX)


@dataclass(frozen=True)
class NodeRun:
    """One run of one node.

    Attributes:
        tensor: what the node of the model that it stands for makes; "" where it stands for none, as a copy in another
            order does.
        op: the operator, as it runs.
        milliseconds: how long it took.
        inputs, outputs: shapes.
    """

    tensor: str
    op: str
    milliseconds: float
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]

    @property
    def integer(self) -> bool:
        """Whether it computes with quantised integers."""
        return self.op in _INTEGER

    @property
    def multiplications(self) -> int:
        """Multiply-accumulates: of a convolution outputs × (inputs of a group × kernel), of a product M × N × K.

        Of others 0, and where the profile lacks the weight's shape.
        """
        if self.op not in _PRODUCTS or not self.outputs:
            return 0
        made = math.prod(self.outputs[0])
        if self.op in _WINDOWS:
            x, *others = (shape for shape in self.inputs if len(shape) > 2)
            if not others:
                return 0
            return (math.prod(x) if "Transpose" in self.op else made) * math.prod(others[0][1:])
        x = self.inputs[0]
        if len(x) == 2 == len(self.outputs[0]):  # of which either axis may be summed over
            return made * (math.prod(x) // max(self.outputs[0][0], 1))
        return made * x[-1] if x else 0


@dataclass(frozen=True)
class Profile:
    """Runs of a model.

    Attributes:
        runs: of each run its nodes, in the order in which they ran.
        milliseconds: of each run as a whole.
    """

    runs: tuple[tuple[NodeRun, ...], ...]
    milliseconds: tuple[float, ...]

    @property
    def latency(self) -> float:
        """The median of a run, in milliseconds."""
        return median(self.milliseconds)

    def medians(self, key: Callable[[NodeRun], Hashable]) -> dict[Any, float]:
        """The median of the milliseconds that nodes of one key take in a run, the longest first."""
        found: dict[Hashable, list[float]] = {}
        for place, run in enumerate(self.runs):
            for one in run:
                times = found.setdefault(key(one), [0.0] * len(self.runs))
                times[place] += one.milliseconds
        return dict(sorted(((name, median(times)) for name, times in found.items()), key=lambda pair: -pair[1]))


def profile(model: Model, feeds: Mapping[str, NDArray[Any]], options: RunOptions, repeats: int = 10) -> Profile:
    """Runs a model some times and tells how long each node took.

    Args:
        model: the model; weights stay in its file.
        feeds: arrays by input name, as the session takes them.
        options: where it runs.
        repeats: how many runs are counted, 1 or more.

    Raises:
        ProviderError, ModelError, InputError: as for `Session`.
    """
    if repeats < 1:
        raise InputError(f"a profile takes one run or more, not {repeats}")
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:  # nodes may lack names, tensors do not
        node.name = next((name for name in node.output if name), node.name)
    with tempfile.TemporaryDirectory(prefix="onnxviz-") as folder:
        running = replace(options, profile=str(Path(folder) / "profile"))
        session = Session.of(model, proto, running)
        outputs = [port.name for port in model.outputs]
        for _ in range(WARM_UP + repeats):
            session.run(outputs, session.own(feeds))
        events = json.loads(session.end_profiling().read_text(encoding="utf-8"))
    return _read(events, {name for node in proto.graph.node for name in node.output}, repeats)


def _read(events: Sequence[Mapping[str, Any]], tensors: set[str], repeats: int) -> Profile:
    """The last `repeats` runs of a profile's events; nodes of subgraphs belong to the run in which they lie."""
    whole = sorted(
        (one for one in events if one.get("cat") == "Session" and one["name"] == "model_run"), key=lambda one: one["ts"]
    )[-repeats:]
    starts = [one["ts"] for one in whole]
    runs: list[list[NodeRun]] = [[] for _ in whole]
    nodes = (one for one in events if one.get("cat") == "Node" and one["name"].endswith(_EVENT))
    for one in sorted(nodes, key=lambda one: one["ts"]):
        place = bisect_right(starts, one["ts"]) - 1
        if place < 0:
            continue
        told = one["args"]
        if told["op_name"] in _CARRIERS:  # its nodes are told one by one
            continue
        name = _BEHIND.sub("", _BEFORE.sub("", one["name"][: -len(_EVENT)]))
        inputs, outputs = (
            tuple(tuple(shape) for entry in told[kind] for shape in entry.values())
            for kind in ("input_type_shape", "output_type_shape")
        )
        run = NodeRun(name if name in tensors else "", told["op_name"], one["dur"] / 1e3, inputs, outputs)
        runs[place].append(run)
    return Profile(tuple(map(tuple, runs)), tuple(one["dur"] / 1e3 for one in whole))


_CARRIERS = {name for (_, name), families in OPERATORS.items() if families & Family.CONTROL_FLOW}
