"""The walk through a Keras configuration that looks for code, before Keras sees it.

Keras' own safe mode refuses Python lambdas only: a configuration may still name any public symbol of Keras, among them
some that load programs, fetch files or call what they are given. Here everything is code that is not known to be data.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from onnxviz.errors import ConversionError
from onnxviz.messages import printable
from onnxviz_converters.keras_allowed import CLASSES, FUNCTIONS, UNNAMED_MODULE, VALUES

# A layer inside 20 models inside each other is some 100 deep. Python's parser and Keras' own walks are recursive.
MOST_DEEP = 256
MOST_BYTES = 256 * 2**20
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def parsed(text: str | bytes, document: str) -> Any:
    """The values of a JSON text.

    Args:
        text: UTF-8 where it is bytes.
        document: what messages call it.

    Raises:
        ConversionError: it is no JSON, too long, or nested too deeply to be read.
    """
    if len(text) > MOST_BYTES:
        raise ConversionError(f"{document} has {len(text):,} bytes; the limit is {MOST_BYTES:,}")
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        raise ConversionError(f"{document} is no UTF-8 text") from None
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > MOST_DEEP:
            raise ConversionError(f"{document} is nested more than {MOST_DEEP} deep; no model's configuration is")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConversionError(f"{document} is no JSON: {printable(str(error))}") from None


def code_in(config: Any, document: str) -> str:
    """The first place of a configuration that names code, "" if there is none.

    How the model itself was compiled is not read when it is loaded to be converted: a loss of the author's own does not
    matter there, but a symbol of Keras that is no loss does, since no honest file has one.

    Args:
        config: what `parsed` gives.
        document: where it lies: "config.json", or "training_config" of a legacy file.

    Returns:
        The place and what is there, for a message: "layer 'lam' of config.json: Lambda with keras.layers.TFSMLayer".
    """
    read, unread = config, None
    if document == "training_config":
        read, unread = None, config
    elif isinstance(config, dict) and "compile_config" in config:
        read = {key: value for key, value in config.items() if key != "compile_config"}
        unread = config["compile_config"]
    for part, is_read in ((read, True), (unread, False)):
        for entry, layer, key in _named(part):
            if _is_data(entry) or _is_registered(entry) or not (is_read or _is_of_keras(entry)):
                continue
            what = _described(entry)
            where = f"layer '{printable(layer)}' of {document}" if layer else document
            return f"{where}: {what}" if key in ("", "layers") else f"{where}: {printable(key)} is {what}"
    return ""


def _is_of_keras(entry: Mapping[str, Any]) -> bool:
    """Whether it names something that Keras itself brings, rather than the author of the model."""
    module = entry.get("module")
    return module is not None and (not isinstance(module, str) or module.partition(".")[0].startswith("keras"))


def _named(config: Any) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Every entry that names a class or function, with the layer that it belongs to and the key it stands under.

    In the order of the text; without recursion.
    """
    waiting: list[tuple[Any, str, str]] = [(config, "", "")]
    while waiting:
        value, layer, key = waiting.pop()
        if isinstance(value, dict):
            inner = value.get("config")
            if "class_name" in value and key in ("", "layers", "layer", "cell", "cells"):
                own = value.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
                layer = str(own) if isinstance(own, str) and key else layer
            if "class_name" in value or "spec_name" in value:
                yield value, layer, key
            # "config" and positions in lists say nothing of where something stands.
            below = [(part, layer, key if name == "config" else str(name)) for name, part in value.items()]
            waiting.extend(reversed(below))
        elif isinstance(value, list):
            waiting.extend((part, layer, key) for part in reversed(value))


def _is_data(entry: Mapping[str, Any]) -> bool:
    name, module, inner = entry.get("class_name"), entry.get("module"), entry.get("config")
    if not isinstance(name, str) or not (module is None or isinstance(module, str)):
        return False
    if name in VALUES:
        return True
    if name == "function":
        # Where it is looked up by the registered name, that has to be data too.
        names = [inner] if entry.get("registered_name") is None else [inner, entry["registered_name"]]
        allowed = frozenset().union(*FUNCTIONS.values()) if module in (None, "builtins") else FUNCTIONS.get(module, ())
        return all(isinstance(one, str) and one in allowed for one in names)
    return name in (UNNAMED_MODULE if module is None else CLASSES.get(module, ()))


def _is_registered(entry: Mapping[str, Any]) -> bool:
    """Whether Keras takes an object instead that the running program itself has registered: its code is the user's."""
    keras = sys.modules.get("keras")
    if keras is None:
        return False
    name = entry.get("class_name")
    name = entry.get("config") if name == "function" else entry.get("registered_name", name)
    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None


def _described(entry: Mapping[str, Any]) -> str:
    """`Lambda with keras.layers.TFSMLayer`."""
    text = _full_name(entry).removeprefix("keras.layers.")
    inner = entry.get("config")
    function = inner.get("function") if isinstance(inner, dict) else None
    if isinstance(function, dict):
        text += f" with {_full_name(function)}"
    elif text == "Lambda":
        text += " with a Python lambda"
    return text


def _full_name(entry: Mapping[str, Any]) -> str:
    name, module = entry.get("class_name", entry.get("spec_name")), entry.get("module")
    if name == "__lambda__":
        return "a Python lambda"
    if name == "function":
        name = entry.get("config")
    parts = [printable(str(part), 60) for part in (module, name) if part is not None]
    return ".".join(parts)
