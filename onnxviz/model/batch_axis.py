"""The batch axis: of which inputs the first axis counts samples."""

from __future__ import annotations

from collections.abc import Iterable

from onnxviz.model.ports import Port

# Names of a first axis that does not count samples.
_NOT_A_BATCH = frozenset("h w c d height width channels depth time seq seq_len sequence length frames".split())


def batch_inputs(ports: Iterable[Port]) -> frozenset[str]:
    """The names of the inputs that have a batch axis in front.

    Pictures and volumes decide where there are any, since a table of two scales also has a first axis: where their
    batch is open, an input with a first axis of a fixed size is fed whole, and where it is fixed, so is one of another
    size. `height x width x 3` and `length x 576` are single samples.

    Args:
        ports: all inputs of one model.

    Returns:
        The names; those of disagreeing pictures too, where every one insists on another batch.
    """
    first = {port: port.shape[0] for port in ports if port.shape and not _is_named_otherwise(port.shape[0])}
    pictures = [port for port in first if len(port.layout) > 3]
    leading = {first[port] for port in pictures or first}
    fixed = {size for size in leading if isinstance(size, int)}
    if fixed != leading:
        return frozenset(port.name for port, size in first.items() if not isinstance(size, int))
    batch = fixed & {1} or fixed
    return frozenset(port.name for port, size in first.items() if size in batch or not isinstance(size, int))


def _is_named_otherwise(size: int | str | None) -> bool:
    return isinstance(size, str) and size.lower().removesuffix("_length") in _NOT_A_BATCH
