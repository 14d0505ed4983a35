"""Converts PyTorch models: modules, TorchScript and programs of torch.export.

The module is a converter (`onnxviz.conversion.converter.Converter`); torch is imported when a model is opened.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxviz.conversion.converter import InputShape, SourceModel
from onnxviz.errors import ConversionError
from onnxviz.messages import option
from onnxviz_converters import torch_files

if TYPE_CHECKING:
    from torch import nn

framework = "PyTorch"
packages = ("torch", "onnxscript")
install = "onnxviz[pytorch]"


def recognises(source: object) -> bool:
    """Whether `source` is a module, a program of torch.export, or the path of one of PyTorch's files."""
    if isinstance(source, Path):
        return source.suffix.lower() in torch_files.SUFFIXES or torch_files.is_torch_archive(source)
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return False
    known = (torch.nn.Module, getattr(torch.export, "ExportedProgram", torch.nn.Module))
    return isinstance(source, known)


def open(
    source: object,
    *,
    weights: Path | None = None,
    input_shapes: Mapping[str, InputShape] | None = None,
    allow_code_execution: bool = False,
) -> SourceModel:
    """The PyTorch model behind `source`.

    Args:
        source: a module, a program of torch.export, or the path of a `.pt2`, TorchScript or pickle file.
        weights: a state_dict file (`.pth`, `.pt`, `.safetensors`) to load into a module.
        input_shapes: shapes by parameter of `forward`; the key "" means the only input.
        allow_code_execution: whether files may be loaded that run code.

    Raises:
        ConversionError: it cannot be opened or run; the message says why.
        CodeExecution: loading the file would run code from it.
    """
    import torch

    from onnxviz_converters import torch_model
    from onnxviz_converters.torch_state import quiet

    allowed = allow_code_execution
    with quiet():
        if isinstance(source, Path):
            source = _load(source, weights, allowed)
        if isinstance(source, torch.export.ExportedProgram):
            _no_weights(weights, "a program of torch.export")
            return torch_model.of_program(source, input_shapes)
        if isinstance(source, torch.jit.ScriptModule):
            _no_weights(weights, "a TorchScript program")
            return torch_model.of_script(source, input_shapes)
        if not isinstance(source, torch.nn.Module):
            raise ConversionError(f"a {type(source).__name__} is no PyTorch model")
        module: nn.Module = source
        loaded = None
        if weights is not None:
            loaded = torch_files.load_weights(weights, allow_code_execution=allowed)
        return torch_model.of_module(module, input_shapes, loaded, str(weights))


def _load(path: Path, weights: Path | None, allowed: bool) -> object:
    """The model in a file."""
    import torch

    kind = torch_files.kind(path)
    if kind == "program":
        return torch_files.load_program(path, allow_code_execution=allowed)
    if kind == "torchscript":
        return torch_files.load_script(path, allow_code_execution=allowed)
    if kind == "compiled":
        raise ConversionError(f"{path} is compiled (AOTInductor): machine code that cannot be converted")
    if kind == "unknown":
        raise ConversionError(f"{path} is no file of PyTorch's")
    if kind == "safetensors":
        raise ConversionError(f"{path} holds {_no_architecture()}")
    loaded = torch_files.load_pickle(path, allow_code_execution=allowed)
    if isinstance(loaded, torch.nn.Module | torch.export.ExportedProgram):
        return loaded
    if isinstance(loaded, Mapping):
        inner = next((entry for entry in loaded.values() if isinstance(entry, torch.nn.Module)), None)
        if inner is not None:
            return inner
        raise ConversionError(f"{path} holds {_no_architecture()}")
    raise ConversionError(f"{path} holds a {type(loaded).__name__}, no model")


def _no_architecture() -> str:
    how = f"give what makes the model as module:factory, and this file with {option('weights')}"
    return f"weights and no architecture: {how}"


def _no_weights(weights: Path | None, what: str) -> None:
    if weights is not None:
        raise ConversionError(f"{what} has its weights; {weights} cannot be loaded into it")
