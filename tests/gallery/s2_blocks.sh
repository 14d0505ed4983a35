#!/bin/sh
# S2: a sheet of 64 maps for the end of each block, in one run, and then which of a layer's 4,096 pictures to look at.
# Run in the repository's root: tests/gallery/s2_blocks.sh OUT [SOURCE]; SOURCE may be keras.applications:VGG16.
set -e
out=$1 source=${2:-models.trained_models:vgg16}
mkdir -p "$out"

onnxviz convert "$source" -o "$out/vgg16.onnx" --no-verify
onnxviz maps "$out/vgg16.onnx" models/photos/cat.jpg --layers block-ends --first 64 --scale map --cmap gray \
    -o "$out/sheets" --save "$out/sheets.npz"
onnxviz filters "$out/vgg16.onnx" block1_conv2 --sort cluster --filters all --channels all -o "$out/clustered.png"
onnxviz filters "$out/vgg16.onnx" block1_conv2 --feeds 19 -o "$out/feeds.png"
