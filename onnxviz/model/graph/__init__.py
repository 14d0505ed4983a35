"""ONNX graphs as data: scopes, tensors, constants, shapes, operators, windows, names."""
