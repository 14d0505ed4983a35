"""Verification of a conversion: filters bit for bit, feature maps and outputs compared with the source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxviz.conversion.converter import SourceInput, SourceLayer, SourceModel, Unverifiable
from onnxviz.conversion.sensitivity import Sensitivity, allowed
from onnxviz.errors import ConversionError, ModelError
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.messages import dims, option
from onnxviz.model.graph.scopes import all_graphs
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model
from onnxviz.model.naming import source_path
from onnxviz.passes.expose import Tap, expose
from onnxviz.runtime.difference import difference
from onnxviz.runtime.session import Session

# Largest difference allowed, as a share of the largest value of the tensor. Two frameworks that add the same float32
# products in another order differ by some 1e-6 in a layer, and by 1e-5 after a hundred.
TOLERANCE = 1e-4
# Where a model computes in a narrower type, each rounds on its own: some units in the last place after a few layers.
_UNITS = 8
_LAST_PLACE: dict[int, float] = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}
# Feature maps compared at one time, in bytes; the rest waits for the next run.
_GROUP_BYTES = 2**29
# Sizes tried, in this order, for what the model leaves open.
_OPEN_SIZES = (64, 96, 128, 224)
BATCHES = (1, 2)

# A source layer, and the layers of the ONNX model that have its weight: one for each time it is called.
Pair = tuple[SourceLayer, list[Layer]]


class DeviationError(ConversionError):
    """A conversion differs from its source by more than rounding explains; the message names what differs first."""


@dataclass(frozen=True)
class Verification:
    """How far a conversion is from its source.

    Attributes:
        inputs: what both were fed, in words.
        max_abs_diff: largest difference of an output.
        max_rel_diff: the same as a share of the output's largest value.
        filters_identical: whether every filter and bias is the source layer's, bit for bit.
        layers: number of source layers whose filters were compared.
        maps: number of feature maps compared, one a call of a layer.
        maps_max_rel_diff: largest difference of a feature map, as a share of its largest value.
        tolerance: the largest relative difference that was allowed: 1e-4, more where the model computes in float16 or
            the source itself is so sensitive.
        unused: source layers whose filters are not in the graph: no output needs them, or they are made from others.
        sensitivity: where more than 1e-4 was allowed for it, the largest difference, as a share of the largest value,
            that one unit in the last place of the input makes in the source's own outputs and maps; else 0.
    """

    inputs: str
    max_abs_diff: float
    max_rel_diff: float
    filters_identical: bool
    layers: int
    maps: int
    maps_max_rel_diff: float
    tolerance: float = TOLERANCE
    unused: tuple[str, ...] = ()
    sensitivity: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The verification as JSON types."""
        return {**self.__dict__, "unused": list(self.unused)}


def verify(source: SourceModel, model: Model, preprocessing: Preprocessing | None = None) -> Verification:
    """Compares a conversion with its source on seeded random inputs, at two batch sizes where the batch is open.

    Args:
        source: what was converted.
        model: what it became.
        preprocessing: how the model's images are prepared: noise is made in its range; None for normal noise.

    Raises:
        DeviationError: they differ; the message names the first layer that does, else the output.
        ConversionError: the source gives other outputs each time, or onnxruntime cannot run the model.
        Unverifiable: the source cannot be run on this machine.
    """
    compared, unused = _compare_filters(source, model)
    feeds, expected = _seeded_feeds(source, preprocessing)
    tolerance = _tolerance(model)
    maps, worst_map, sensitive, seen = _compare_maps(source, model, feeds[-1], compared, tolerance)
    expected[-1] = expected[-1] or seen
    session = _session(model)
    absolute = relative = 0.0
    for fed, known in zip(feeds, expected, strict=True):
        outputs = session.run([port.name for port in model.outputs], fed)
        moving: list[float] | None = None
        for place, (port, one, other) in enumerate(
            zip(model.outputs, outputs, known or source.run(fed).outputs, strict=True)
        ):
            a, r = _differences(one, np.asarray(other))
            if not r <= tolerance:
                _refuse_unsteady(source, fed, tolerance)
                moving = moving or Sensitivity(source, fed).of_outputs()
                if not r <= allowed(tolerance, moving[place]):
                    raise DeviationError(
                        f"the conversion differs from the {source.framework} model: output '{port.name}' "
                        f"{_by_how_much(one, np.asarray(other), r, tolerance, moving[place])}, though every "
                        "convolution agrees"
                    )
                sensitive = max(sensitive, moving[place])
            absolute, relative = max(absolute, a), max(relative, r)
    return Verification(
        inputs=_in_words(feeds, preprocessing),
        max_abs_diff=absolute,
        max_rel_diff=relative,
        filters_identical=True,
        layers=len(compared),
        maps=maps,
        maps_max_rel_diff=worst_map,
        tolerance=allowed(tolerance, sensitive),
        unused=unused,
        sensitivity=sensitive,
    )


def _compare_filters(source: SourceModel, model: Model) -> tuple[list[Pair], tuple[str, ...]]:
    """Each source layer with the ONNX layers that have its weight, and the source layers that have none."""
    by_weight: dict[str, list[Layer]] = {}
    for layer in model.layers:
        if layer.source is not None:
            by_weight.setdefault(layer.source.tensor, []).append(layer)
    compared = []
    unused = []
    sharing = Counter(one.weight for one in source.layers)
    for one in source.layers:
        layers = by_weight.get(one.weight)
        if layers is not None and sharing[one.weight] > 1:  # layers with one weight are told apart by their paths
            layers = [layer for layer in layers if source_path(layer.producer) == one.path] or None
        if layers is None:
            unused.append(one.path)
            continue
        kernel = one.kernel()
        own = [layer for layer in layers if _same_bits(layer.weight, kernel)]
        # A tied weight may serve a convolution of the other kind too, where it is seen in another order.
        strange = [layer for layer in layers if layer not in own and (not own or layer.op == own[0].op)]
        if strange:
            raise DeviationError(
                f"the conversion differs from the {source.framework} model: the filters of '{one.path}' "
                f"({dims(kernel.shape)}) are not the layer's own (stored: {dims(strange[0].weight.shape)})"
            )
        if one.bias is not None and one.offset is not None:
            stored = model.constants.value(model.scope, one.bias)
            if stored is None or not _same_bits(stored.reshape(-1), one.offset().reshape(-1)):
                raise DeviationError(
                    f"the conversion differs from the {source.framework} model: the bias of '{one.path}' is not the "
                    "layer's own"
                )
        compared.append((one, own))
    return compared, tuple(unused)


def _same_bits(stored: NDArray[Any], own: NDArray[Any]) -> bool:
    """Whether all elements are equal, bit for bit; axes of size 1 do not count (a 1-D kernel may be stored as 2-D)."""
    if [size for size in stored.shape if size != 1] != [size for size in own.shape if size != 1]:
        return False
    if stored.dtype != own.dtype:
        own = own.astype(stored.dtype)  # mixed precision: the graph computes with the narrower type
    ours, theirs = (np.ascontiguousarray(one).reshape(-1).view(np.uint8) for one in (stored, own))
    return np.array_equal(ours, theirs)


def _compare_maps(
    source: SourceModel,
    model: Model,
    feeds: Mapping[str, NDArray[Any]],
    compared: Sequence[Pair],
    tolerance: float,
) -> tuple[int, float, float, Sequence[NDArray[Any]] | None]:
    """Compares every observed convolution's output.

    Returns:
        How many were compared, the largest relative difference, the largest sensitivity for which more was allowed, and
        the source's outputs where it was run.
    """
    observed = [(one, layers) for one, layers in compared if one.observed]
    count, worst, sensitive = 0, 0.0, 0.0
    outputs_seen: Sequence[NDArray[Any]] | None = None
    for group in _groups(observed, feeds):
        taps = [Tap(layer.taps["conv"], layer.scope) for _, layers in group for layer in layers]
        exposed = expose(model, taps)
        session = _session(model, exposed.proto)
        values = iter(session.run(exposed.outputs, {name: feeds[name] for name in session.inputs}))
        run = source.run(feeds, [one.path for one, _ in group])
        seen, outputs_seen = run.maps, run.outputs
        for one, layers in group:
            outputs = [next(values) for _ in layers]
            if one.activation is not None:
                outputs = [one.activation(output) for output in outputs]
            calls = seen[one.path]
            if len(calls) != len(outputs):
                raise DeviationError(
                    f"the conversion differs from the {source.framework} model: '{one.path}' runs {len(calls)} times "
                    f"there and {len(outputs)} times in the graph"
                )
            relative = _best_match(outputs, calls)
            if not relative <= tolerance:
                _refuse_unsteady(source, feeds, tolerance)
                moving = Sensitivity(source, feeds).of_map(one.path)
                if not relative <= allowed(tolerance, moving):
                    raise DeviationError(
                        f"the conversion differs from the {source.framework} model, first at '{one.path}': its feature "
                        f"maps {_by_how_much(outputs[0], calls[0], relative, tolerance, moving)}"
                    )
                sensitive = max(sensitive, moving)
            count, worst = count + len(calls), max(worst, relative)
    return count, worst, sensitive, outputs_seen


def _best_match(outputs: Sequence[NDArray[Any]], calls: Sequence[NDArray[Any]]) -> float:
    """The largest relative difference; where a layer is called more than once, in the order that fits best."""
    orders = permutations(calls) if len(calls) <= 4 else iter([tuple(calls)])
    return min(max(_differences(one, other)[1] for one, other in zip(outputs, order, strict=True)) for order in orders)


def _differences(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """As `difference`; axes of size 1 do not count, nor does the element type of equal values."""
    if one.shape != other.shape and [s for s in one.shape if s != 1] == [s for s in other.shape if s != 1]:
        one = one.reshape(other.shape)
    absolute, relative = difference(one, other)
    if math.isinf(relative) and math.isfinite(absolute):  # the source gives nothing but zeros
        relative = absolute
    return absolute, relative


def _by_how_much(one: NDArray[Any], other: NDArray[Any], relative: float, tolerance: float, sensitivity: float) -> str:
    if math.isfinite(relative):
        limit = allowed(tolerance, sensitivity)
        why = f": the source itself moves by {sensitivity:.1g} with its input's last place" if limit > tolerance else ""
        return f"by {relative:.3g} of the largest value ({limit:.3g} is allowed{why})"
    wide = [size for size in one.shape if size != 1], [size for size in other.shape if size != 1]
    if wide[0] != wide[1]:
        return f"in shape: {dims(one.shape)} instead of {dims(other.shape)}"
    return "in values that are not finite (NaN or infinite in one of the two)"


def _session(model: Model, graph: onnx.ModelProto | None = None) -> Session:
    try:
        return Session.of(model, graph)
    except ModelError as error:
        raise ConversionError(
            f"onnxruntime cannot run the conversion, so that it cannot be verified: {error}; "
            f"{option('verify', python='False')} writes it all the same"
        ) from None


def _tolerance(model: Model) -> float:
    """The relative difference allowed: more where weights are narrower than float32."""
    types = {tensor.data_type for graph in all_graphs(model.proto.graph) for tensor in graph.initializer}
    return max([TOLERANCE, *(_UNITS * _LAST_PLACE.get(one, 0.0) for one in types)])


def _refuse_unsteady(source: SourceModel, feeds: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    """Says so if the source does not even agree with itself."""
    first, second = source.run(feeds).outputs, source.run(feeds).outputs
    if any(_differences(np.asarray(a), np.asarray(b))[1] > tolerance for a, b in zip(first, second, strict=True)):
        raise ConversionError(
            f"the {source.framework} model gives different outputs for the same input (random operations?), "
            f"so that a conversion cannot be verified: {option('verify', python='False')} converts it all the same"
        )


def _groups(layers: Sequence[Pair], feeds: Mapping[str, NDArray[Any]]) -> Iterator[list[Pair]]:
    """The layers in groups whose maps fit the budget together."""
    batch = max((array.shape[0] for array in feeds.values() if array.ndim), default=1)
    open_size = max((size for array in feeds.values() for size in array.shape[1:]), default=1)
    group: list[Pair] = []
    taken = 0
    for one, onnx_layers in layers:
        size = 0
        for layer in onnx_layers:
            shape = layer.output_shape or ()
            known = [size if isinstance(size, int) else open_size for size in shape[1:]]
            size += 4 * batch * math.prod(known)
        if group and taken + size > _GROUP_BYTES:
            yield group
            group, taken = [], 0
        group.append((one, onnx_layers))
        taken += size
    if group:
        yield group


def _seeded_feeds(
    source: SourceModel, preprocessing: Preprocessing | None
) -> tuple[list[dict[str, NDArray[Any]]], list[Sequence[NDArray[Any]] | None]]:
    """Inputs for the two batch sizes, and the source's outputs for them as far as they were computed.

    Where sizes are open, the first that the source accepts.
    """
    open_batch = all(one.shape[:1] == (None,) for one in source.inputs)
    batches = BATCHES if open_batch else (0,)
    is_open = any(size is None for one in source.inputs for size in one.shape[1:])
    failure: Exception | None = None
    # A volume is smaller: its elements are the cube.
    smaller = 4 if any(one.shape[1:].count(None) > 2 for one in source.inputs) else 1
    tried = [size // smaller for size in _OPEN_SIZES] if is_open else [0]
    for size in tried:
        rng = np.random.default_rng(0)
        # The second time an open size is another one, and height and width differ.
        other = (size + 32 // smaller, size + 64 // smaller)
        sizes = [(size, size)] if not open_batch else [(size, size), other]
        for pair in (sizes, [sizes[0]] * len(sizes)):
            feeds = [
                {one.name: _noise(one, batch, open_sizes, preprocessing, rng) for one in source.inputs}
                for batch, open_sizes in zip(batches, pair, strict=True)
            ]
            expected: list[Sequence[NDArray[Any]] | None] = [None] * len(feeds)
            try:
                for index, fed in enumerate(feeds[: 1 + is_open]):
                    expected[index] = source.run(fed).outputs
            except Unverifiable:
                raise
            except Exception as error:  # too small for the network's strides: whatever its framework raises then
                failure = error
            else:
                return feeds, expected
            if not is_open:
                break
    if is_open:
        raise ConversionError(
            f"the {source.framework} model runs at none of the sizes {', '.join(map(str, tried))} "
            f"(give one with {option('input_shape')}): {_first_line(failure)}"
        )
    raise ConversionError(f"the {source.framework} model itself fails on its declared input: {_first_line(failure)}")


def _first_line(error: Exception | None) -> str:
    return "".join(str(error).strip().splitlines()[:1])[:300]


def _noise(
    one: SourceInput,
    batch: int,
    open_sizes: tuple[int, int],
    preprocessing: Preprocessing | None,
    rng: np.random.Generator,
) -> NDArray[Any]:
    taken = iter([*open_sizes, *open_sizes, *open_sizes])
    shape = [batch or one.shape[0] or 1, *(s if s is not None else next(taken) for s in one.shape[1:])]
    dtype = np.dtype(one.dtype)
    if dtype.kind in "iu":
        # Four axes are an image; fewer may be indices into a table of unknown length.
        return rng.integers(0, 256 if len(shape) == 4 and dtype.itemsize == 1 else 2, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if preprocessing is None or len(shape) != 4:
        return rng.standard_normal(shape).astype(dtype)
    pixels = rng.integers(0, 256, shape).astype(np.float32)
    # The channels' order and own means do not matter for noise: one value stands for all.
    mean, std = float(np.mean(preprocessing.mean)), float(np.mean(preprocessing.std))
    return ((pixels * preprocessing.scale - mean) / std).astype(dtype)


def _in_words(feeds: Sequence[Mapping[str, NDArray[Any]]], preprocessing: Preprocessing | None) -> str:
    kind = "normal noise" if preprocessing is None else "noise images"
    shapes = " and ".join(", ".join(dims(array.shape) for array in fed.values()) for fed in feeds)
    return f"{kind}, seed 0: {shapes}"
