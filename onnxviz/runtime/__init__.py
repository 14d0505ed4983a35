"""Running a model: sessions of onnxruntime, batches, differences of results."""
