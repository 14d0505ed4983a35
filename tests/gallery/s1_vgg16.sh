#!/bin/sh
# S1: the filters and first-layer maps of VGG16. Run in the repository's root: tests/gallery/s1_vgg16.sh OUT [SOURCE]
# With a network, SOURCE may be keras.applications:VGG16, with ImageNet's weights.
set -e
out=$1 source=${2:-models.trained_models:vgg16}
mkdir -p "$out"

onnxviz convert "$source" -o "$out/vgg16.onnx"
onnxviz layers "$out/vgg16.onnx" --layout keras
onnxviz filters "$out/vgg16.onnx" block1_conv1 --first 6 --style rows --scale layer --cmap gray --layout keras \
    -o "$out/filters.png" --save "$out/filters.npz"
onnxviz extract "$out/vgg16.onnx" block1_conv1 -o "$out/block1_conv1.onnx"
onnxviz maps "$out/block1_conv1.onnx" models/photos/cat.jpg --first 64 --scale map --cmap gray \
    -o "$out/maps" --save "$out/maps.npz"
