"""Leftovers of Keras 2 in configurations: options that Keras 3 has no more, left out where they change nothing.

Keras 2 wrote options that a class inherited and never read; Keras 3 refuses a file that has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any


def _whatever(value: Any) -> bool:
    return True


# By option, the values with which it changes nothing of what a layer computes that does not know the option.
_HARMLESS: dict[str, Callable[[Any], bool]] = {
    # Of Convolution, for its transposed, depthwise and separable kinds, which have no groups and no such kernel.
    "groups": lambda value: value == 1 and value is not True,
    "kernel_initializer": _whatever,
    "kernel_regularizer": _whatever,
    "kernel_constraint": _whatever,
    "time_major": lambda value: value is False,  # of recurrent layers
    "noise_shape": lambda value: value is None,  # of SpatialDropout
    "trainable": _whatever,  # of layers without weights
    "query_shape": _whatever,  # of attention: the shapes that it was built with, and will be again
    "key_shape": _whatever,
    "value_shape": _whatever,
}


@contextmanager
def left_out(configurations: Iterator[tuple[str, Any]]) -> Iterator[list[str]]:
    """Has the layers of these configurations do without such options while the block runs, if they refuse them.

    Args:
        configurations: as `keras_archive.configurations` gives them.

    Returns:
        What was left out, filled while the block runs: "groups of DepthwiseConv2D (13 layers)".
    """
    import keras

    named = {name for _, config in configurations for name in _classes_with_leftovers(config)}
    dropped: Counter[str] = Counter()
    notes: list[str] = []
    with ExitStack() as patches:
        for name in sorted(named):
            kind = getattr(keras.layers, name, None)
            if isinstance(kind, type) and issubclass(kind, keras.layers.Layer):
                patches.enter_context(_forgiving(kind, dropped))
        yield notes
    notes += [f"{what} ({count} layer{'s' * (count > 1)})" for what, count in dropped.items()]


def _classes_with_leftovers(config: Any) -> Iterator[str]:
    """The class of every layer whose configuration has an option that may be a leftover."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name, inner = value.get("class_name"), value.get("config")
            if isinstance(name, str) and isinstance(inner, dict) and _leftovers(inner):
                yield name
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _leftovers(config: Mapping[str, Any]) -> list[str]:
    return [name for name, harmless in _HARMLESS.items() if name in config and harmless(config[name])]


@contextmanager
def _forgiving(kind: Any, dropped: Counter[str]) -> Iterator[None]:
    """Has a class make a layer without leftovers where it refuses the configuration with them.

    The one way for both kinds of files, and for layers inside of layers; the class is as before afterwards.
    """
    own = kind.__dict__.get("from_config")
    plain = kind.from_config

    def from_config(cls: Any, config: Mapping[str, Any]) -> Any:
        def make(given: Mapping[str, Any]) -> Any:
            copy = dict(given)  # some classes take from it
            return plain(copy) if cls is kind else super(kind, cls).from_config(copy)

        try:
            return make(config)
        except Exception:
            found = _leftovers(config)
            bare = {name: value for name, value in config.items() if name not in found}
            refused = [name for name in found if not _works(make, {**bare, name: config[name]})]
            if not refused or not _works(make, bare):
                raise
        dropped[f"{', '.join(refused)} of {kind.__name__}"] += 1
        return make({name: value for name, value in config.items() if name not in refused})

    kind.from_config = classmethod(from_config)
    try:
        yield
    finally:
        if own is None:
            del kind.from_config
        else:
            kind.from_config = own


def _works(make: Callable[[Mapping[str, Any]], Any], config: Mapping[str, Any]) -> bool:
    try:
        make(config)
    except Exception:
        return False
    return True
