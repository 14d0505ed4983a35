#!/bin/sh
# S2: a sheet of 64 maps for the end of each block, in one run.
# Run in the repository's root: tests/gallery/s2_blocks.sh OUT [SOURCE]; SOURCE may be keras.applications:VGG16.
set -e
out=$1 source=${2:-models.trained_models:vgg16}
mkdir -p "$out"

onnxviz convert "$source" -o "$out/vgg16.onnx" --no-verify
onnxviz maps "$out/vgg16.onnx" models/photos/cat.jpg --layers block-ends --first 64 --scale map --cmap gray \
    -o "$out/sheets" --save "$out/sheets.npz"
