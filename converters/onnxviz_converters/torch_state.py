"""A module while it is looked at: in evaluation mode, its weights as plain tensors; untouched when that is over."""

from __future__ import annotations

import gc
import logging
import random
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from onnxviz.errors import ConversionError
from onnxviz.messages import printable

# Hooks that compute a weight anew before each call, as `torch.nn.utils` of old and `torch.nn.utils.prune` leave them.
_OLD_HOOKS = {
    "torch.nn.utils.weight_norm.WeightNorm": "name",
    "torch.nn.utils.spectral_norm.SpectralNorm": "name",
    "torch.nn.utils.prune.": "_tensor_name",
}
# What checkpoints wrap a state_dict in, the likeliest first.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "state_dict_ema")
# What wrappers put before every name: DataParallel, torch.compile, Lightning and many a training script.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")

State = Mapping[str, torch.Tensor]


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no log, nothing on standard output: what a model prints goes to standard error."""
    level = logging.root.manager.disable
    # torch's structured trace ignores levels: where anything listens, it describes every tensor and stack at length.
    trace = logging.getLogger("torch.__trace")
    handlers = list(trace.handlers)
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        logging.disable(max(level, logging.CRITICAL))
        for handler in handlers:
            trace.removeHandler(handler)
        try:
            yield
        finally:
            logging.disable(level)
            for handler in handlers:
                trace.addHandler(handler)


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: the exporter makes so many objects that looking through them takes a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def at_rest(module: nn.Module, state: State | None = None) -> Iterator[None]:
    """`module` in evaluation mode, without gradients, its weights plain tensors; afterwards all is as it was.

    Attributes, hooks, buffers and random numbers are put back, whatever the module's own code did to them.

    Args:
        module: the module; changed while this lasts.
        state: a state_dict that it has meanwhile.
    """
    restore = _snapshot(module)
    devices = {p.device for p in module.parameters() if p.device.type == "cuda"}
    dice = random.getstate()
    try:
        with torch.random.fork_rng(devices=sorted(d.index or 0 for d in devices)), torch.no_grad(), quiet():
            for part in module.modules():
                # Not eval(): models override train(), and some then rewrite their weights.
                part.__dict__["training"] = False
            if state is not None:
                _assign(module, state)
            for part in list(module.modules()):
                _settle(part)
            yield
    finally:
        restore()
        random.setstate(dice)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that data parallelism or `torch.compile` wraps."""
    while True:
        kind = type(module)
        name = f"{kind.__module__}.{kind.__name__}"
        if isinstance(module, nn.DataParallel) or name.endswith(".DistributedDataParallel"):
            inner: Any = module.module
        elif name == "torch._dynamo.eval_frame.OptimizedModule":
            inner = module._orig_mod
        else:
            return module
        module = inner


def plain_state(loaded: object, where: str) -> tuple[State, list[str]]:
    """The state_dict inside what a file held, and what was unwrapped.

    Args:
        loaded: what the file held.
        where: what messages call the file.

    Raises:
        ConversionError: there is none.
    """
    notes = []
    if isinstance(loaded, nn.Module):  # only ever unpickled with permission
        loaded = loaded.state_dict()
    for _ in range(2):
        if not isinstance(loaded, Mapping) or _is_state(loaded):
            break
        found = [key for key in _WRAPPERS if isinstance(loaded.get(key), Mapping | nn.Module)]
        if not found:
            break
        notes.append(f"the weights are the entry '{found[0]}' of {where}")
        loaded = _as_state(loaded[found[0]])
    if not isinstance(loaded, Mapping) or not _is_state(loaded):
        raise ConversionError(f"{where} holds {_described(loaded)}, no state_dict (tensors by name)")
    return {key: value for key, value in loaded.items() if isinstance(value, torch.Tensor)}, notes


def fitted(module: nn.Module, state: State, where: str) -> tuple[State, list[str]]:
    """`state` under the names, and with the element types, of `module`, and what was changed for it.

    Raises:
        ConversionError: names or shapes do not fit; the message lists them.
    """
    notes = []
    own = module.state_dict()
    stripped, prefix = state, ""
    while start := next((p for p in _PREFIXES if stripped and all(key.startswith(p) for key in stripped)), None):
        stripped = {key.removeprefix(start): value for key, value in stripped.items()}
        prefix += start
        if _shared(stripped, own) > _shared(state, own):
            notes.append(f"the prefix '{prefix}' of the names in {where} is left out")
            state = stripped
            break
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} ({_size(state[key])}, the model has {_size(value)})"
        for key, value in own.items()
        if key in state and isinstance(value, torch.Tensor) and value.shape != state[key].shape
    ]
    wrong = [
        f"{what} {_first(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    # Parametrisations and older versions of layers rename what they load: only torch knows whether that fits.
    if shapes or (wrong and not _loads(module, state)):
        raise ConversionError(f"{where} does not fit {type(module).__name__}: {'; '.join(wrong)}")
    types = {
        f"{str(value.dtype).removeprefix('torch.')}, the model's are {str(own[key].dtype).removeprefix('torch.')}"
        for key, value in state.items()
        if key in own and value.dtype != own[key].dtype and value.is_floating_point()
    }
    if types:
        notes.append(f"the weights in {where} are {', '.join(sorted(types))}, to which they are converted")
    return {k: v.to(own[k].device, own[k].dtype) if k in own else v for k, v in state.items()}, notes


def _loads(module: nn.Module, state: State) -> bool:
    try:
        with at_rest(module):
            _assign(module, state)
    except Exception:
        return False
    return True


def _assign(module: nn.Module, state: State) -> None:
    """Puts `state` in place of the module's tensors, which are not written to; what was shared stays shared."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    incomplete = module.load_state_dict(dict(state), strict=False, assign=True)
    lacking = [key for key in incomplete.missing_keys if not key.endswith("num_batches_tracked")]
    left = [key for key in incomplete.unexpected_keys if not key.endswith("num_batches_tracked")]
    if lacking or left:
        raise ConversionError(f"the weights do not fit: {_first([*lacking, *left])}")
    for first, *others in names.values():
        for other in others:
            path, _, last = other.rpartition(".")
            setattr(module.get_submodule(path), last, module.get_parameter(first))


def _settle(part: nn.Module) -> None:
    """Replaces what is computed from other tensors at each call by its value."""
    if parametrize.is_parametrized(part):
        values = {name: getattr(part, name) for name in part.parametrizations}  # type: ignore[union-attr]
        part.__class__ = type(part).__bases__[0]
        del part._modules["parametrizations"]
        for name, value in values.items():
            part._parameters[name] = nn.Parameter(value.detach(), requires_grad=False)
    for key, hook in list(part._forward_pre_hooks.items()):
        kind = f"{type(hook).__module__}.{type(hook).__name__}"
        known = [attribute for start, attribute in _OLD_HOOKS.items() if kind.startswith(start)]
        if known:
            name = getattr(hook, known[0])
            hook(part, ())
            value = getattr(part, name)
            part.__dict__.pop(name, None)
            part._parameters[name] = nn.Parameter(value.detach(), requires_grad=False)
            del part._forward_pre_hooks[key]


def _snapshot(module: nn.Module) -> Callable[[], None]:
    """A function that puts every submodule back to what it is now."""
    undo: list[Callable[[], None]] = []
    tensors: dict[int, torch.Tensor] = {}
    for part in module.modules():
        undo.append(_undo_attributes(part))
        for value in (*part._buffers.values(), *part.__dict__.values()):
            if isinstance(value, torch.Tensor):
                tensors[id(value)] = value
    undo.extend(_undo_values(tensor) for tensor in tensors.values())
    undo.extend(_undo_flag(parameter) for parameter in module.parameters())

    def restore() -> None:
        for step in undo:
            step()

    return restore


def _undo_attributes(part: nn.Module) -> Callable[[], None]:
    kind, attributes = part.__class__, dict(part.__dict__)
    containers = [
        (value, value.copy()) for value in attributes.values() if isinstance(value, dict | list | set | deque)
    ]

    def undo() -> None:
        if part.__class__ is not kind:
            part.__class__ = kind
        part.__dict__.clear()
        part.__dict__.update(attributes)
        for container, content in containers:
            container.clear()
            if isinstance(container, list | deque):
                container.extend(content)
            else:
                container.update(content)

    return undo


def _undo_values(tensor: torch.Tensor) -> Callable[[], None]:
    if tensor.is_meta or tensor.is_inference():
        return lambda: None
    version, values = tensor._version, tensor.detach().clone()

    def undo() -> None:
        if tensor._version != version:  # written to: a needless copy would break a pending backward pass
            with torch.no_grad():
                tensor.copy_(values)

    return undo


def _undo_flag(parameter: nn.Parameter) -> Callable[[], None]:
    wanted = parameter.requires_grad

    def undo() -> None:
        if parameter.requires_grad != wanted:
            parameter.requires_grad_(wanted)

    return undo


def _as_state(value: object) -> object:
    return value.state_dict() if isinstance(value, nn.Module) else value


def _is_state(value: object) -> bool:
    """Whether it is tensors by name; Lightning and others add numbers and texts."""
    if not isinstance(value, Mapping) or not value:
        return False
    tensors = sum(isinstance(entry, torch.Tensor) for entry in value.values())
    return tensors * 2 > len(value) and all(isinstance(key, str) for key in value)


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a mapping of {_first([printable(str(key), 40) for key in value])}" if value else "an empty mapping"
    return f"a {type(value).__name__}"


def _shared(state: State, own: Mapping[str, Any]) -> int:
    return len(state.keys() & own.keys())


def _size(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _first(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(printable(name) for name in names[:limit]) + more
