"""The files that maximal inputs are written to."""

from protos import classifier_proto

import onnxviz
from onnxviz.maximization.maximize import maximize
from onnxviz.maximization.objectives import Filter, Neuron
from onnxviz.output.synthetic import file_names


def test_files_have_names_of_their_own():
    model = onnxviz.load(classifier_proto())
    found = maximize(model, [Filter(0, 1), Neuron(0, 1), Neuron(0, 1)], steps=1)
    names = file_names(found)
    assert len({name.lower() for name in names}) == 3
    assert names[0] == "block1_conv1_1.png"
    varied = maximize(model, 0, filters=1, variants=2, steps=1)
    assert file_names(varied) == ["block1_conv1_1_1.png", "block1_conv1_1_2.png"]
