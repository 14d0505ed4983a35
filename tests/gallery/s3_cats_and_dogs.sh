#!/bin/sh
# S3: all filters, and the maps of convolutions and poolings, of a network that tells cats from dogs.
# Run in the repository's root: tests/gallery/s3_cats_and_dogs.sh OUT cats_and_dogs.keras
set -e
out=$1 source=$2
mkdir -p "$out"

onnxviz convert "$source" --preprocess unit -o "$out/cats_and_dogs.onnx"
onnxviz filters "$out/cats_and_dogs.onnx" --layers all --filters all --channels all --style rows --scale layer \
    --cmap viridis -o "$out/filters" --save "$out/filters.npz"
onnxviz maps "$out/cats_and_dogs.onnx" models/photos/dog.jpg models/photos/cat.jpg --ops Conv,MaxPool \
    --style strip --cmap viridis -o "$out/strips" --save "$out/strips.npz"
onnxviz predict "$out/cats_and_dogs.onnx" models/photos/dog.jpg models/photos/cat.jpg models/pets
