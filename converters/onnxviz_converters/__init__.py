"""Converters of onnxviz, the only importers of the frameworks; found through the entry points `onnxviz.converters`."""
