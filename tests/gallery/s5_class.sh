#!/bin/sh
# S5: the perfect input for a class of EfficientNet-Lite0, and where it looks in a photo.
# Run in the repository's root: tests/gallery/s5_class.sh OUT [STEPS]
set -e
out=$1 steps=${2:-256}
mkdir -p "$out"

onnxviz convert models.trained_models:efficientnet_lite0 --input-shape '?x3x224x224' \
    --preprocess scale=1,mean=127,std=128 -o "$out/lite0.onnx"
onnxviz maximize "$out/lite0.onnx" --class 235 --steps "$steps" -o "$out/perfect" --save "$out/perfect.npz"
onnxviz explain "$out/lite0.onnx" models/photos/dog.jpg --method saliency -o "$out/saliency.png" \
    --save "$out/saliency.npz"
onnxviz explain "$out/lite0.onnx" models/photos/dog.jpg --method grad-cam -o "$out/grad-cam.png" \
    --save "$out/grad-cam.npz"
