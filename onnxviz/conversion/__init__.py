"""Conversion of other frameworks' models to ONNX, and its verification."""
