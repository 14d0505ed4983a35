"""An opened `.onnx`: read, never run, never changed."""
