"""The sample models and photos of models/."""

from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent / "models"
DOG, CAT = MODELS / "photos" / "dog.jpg", MODELS / "photos" / "cat.jpg"
CLASSIFIER, UNET = MODELS / "classifier.onnx", MODELS / "unet.onnx"
