"""Gradients of any `.onnx` with onnxruntime alone: the way back is built as ordinary ONNX nodes."""

from onnxviz.gradients import rules

__all__ = ["rules"]
