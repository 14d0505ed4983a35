"""Layers of disguised networks, matched with the plain ones: labels that the disguise kept say which is which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import disguises
import onnx
import pytest
from disguises import anonymous, batch_norms_folded, half, inserted, labelled, labels, retrained, shuffled
from rewriting import array, graph_of, node

import onnxviz
from onnxviz.comparison.matching import Matching, match_layers

UNET = Path(__file__).resolve().parents[2] / "models" / "unet.onnx"
POSITION = "position in the graph"


def residual(seed: int = 0, widths: tuple[int, ...] = (8, 16, 32)) -> onnx.ModelProto:
    """Two blocks of two convolutions a width, around shortcuts, as in a ResNet (He et al. 2016)."""
    nodes, stored = [], {}

    def conv(name: str, source: str, before: int, after: int, kernel: int, stride: int) -> str:
        seeds = seed * 1000 + len(stored)
        stored[f"{name}.weight"] = array(after, before, kernel, kernel, seed=seeds)
        pads = [kernel // 2] * 4
        nodes.append(node("Conv", f"{source} {name}.weight", f"{name}/c", pads=pads, strides=[stride, stride]))
        return f"{name}/c"

    def relu(source: str) -> str:
        nodes.append(node("Relu", source, f"{source}/r"))
        return f"{source}/r"

    tensor, channels = relu(conv("stem", "image", 3, widths[0], 7, 2)), widths[0]
    for stage, width in enumerate(widths):
        for block in range(2):
            name, stride = f"stage{stage}.block{block}", 2 if stage and not block else 1
            main = conv(f"{name}.first", tensor, channels, width, 3, stride)
            main = conv(f"{name}.second", relu(main), width, width, 3, 1)
            way = tensor if channels == width else conv(f"{name}.shortcut", tensor, channels, width, 1, stride)
            nodes.append(node("Add", f"{main} {way}", f"{name}/sum"))
            tensor, channels = relu(f"{name}/sum"), width
    nodes += [node("GlobalAveragePool", tensor, "pooled"), node("Flatten", "pooled", "flat")]
    nodes.append(node("Gemm", "flat dense.weight", "logits", transB=1))
    stored["dense.weight"] = array(10, channels, seed=seed * 1000 + 999)
    return graph_of(nodes, {"image": [1, 3, 32, 32]}, "logits", stored=stored)


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {"unet": lambda: onnx.load(UNET), "residual": residual}


def compared(plain: onnx.ModelProto, disguised: onnx.ModelProto, *, named: bool = False) -> tuple[Matching, int, int]:
    """The matching of a labelled network with a disguised one, shuffled and (if not `named`) without any names.

    Returns:
        It; how many convolutions of the plain one are rightly matched; and how many there are in both.
    """
    mixed = shuffled(disguised)
    table = labels(mixed)
    if not named:
        mixed, table = anonymous(mixed)
    a, b = onnxviz.load(plain), onnxviz.load(mixed)
    matching = match_layers(a, b)
    return matching, *counted(matching, plain, table, [layer.taps["conv"] for layer in b.layers])


def counted(matching: Matching, plain: onnx.ModelProto, table: dict[str, str], there: list[str]) -> tuple[int, int]:
    """After none was found wrongly matched, as many as are, and as are in both."""
    truth = labels(plain)
    wrong = [
        (pair.a, pair.b, pair.by)
        for pair in matching.pairs
        if truth[pair.a.taps["conv"]] != table.get(pair.b.taps["conv"])
    ]
    assert not wrong
    both = {truth[layer.taps["conv"]] for layer in (*(pair.a for pair in matching.pairs), *matching.only_a)}
    return len(matching.pairs), len(both & {table.get(tensor) for tensor in there})


def quantised(**options: bool) -> Callable[[onnx.ModelProto, Path], onnx.ModelProto]:
    return lambda proto, folder: disguises.quantised(folder, **options)(proto)


DISGUISES: dict[str, Callable[[onnx.ModelProto, Path], onnx.ModelProto]] = {
    "nothing": lambda proto, folder: proto,
    "half precision": lambda proto, folder: half(proto),
    "batch norms added": lambda proto, folder: disguises.with_batch_norms(proto),
    "batch norms folded": lambda proto, folder: batch_norms_folded(disguises.with_batch_norms(proto)),
    "its own batch norms folded": lambda proto, folder: batch_norms_folded(proto),
    "a layer inserted": lambda proto, folder: inserted(proto, 3),
    "three inserted, half precision": lambda proto, folder: half(inserted(inserted(inserted(proto, 1), 5), 9)),
    "QDQ per tensor": quantised(per_channel=False, operators=False),
    "QDQ per channel": quantised(per_channel=True, operators=False),
    "QOperator per tensor": quantised(per_channel=False, operators=True),
    "QOperator per channel": quantised(per_channel=True, operators=True),
    "ConvInteger": lambda proto, folder: disguises.dynamically_quantised(folder)(proto),
    "FusedConv": lambda proto, folder: disguises.fused(folder)(proto),
    "batch norms folded, QOperator per tensor": lambda proto, folder: quantised(per_channel=False, operators=True)(
        batch_norms_folded(disguises.with_batch_norms(proto)), folder
    ),
    "inserted, QDQ per channel": lambda proto, folder: quantised(per_channel=True, operators=False)(
        inserted(proto, 4), folder
    ),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_disguised_network(network: str, disguise: str, tmp_path: Path) -> None:
    plain = labelled(NETWORKS[network]())
    matching, right, both = compared(plain, DISGUISES[disguise](plain, tmp_path))
    assert right == both
    assert right >= 14
    assert Counter(pair.by for pair in matching.pairs)["weights"] >= right - 1  # 16 weights say too little: the head


@pytest.mark.parametrize("network", NETWORKS)
def test_a_retrained_network_is_matched_by_position(network: str, tmp_path: Path) -> None:
    plain = labelled(NETWORKS[network]())
    for disguised in (retrained(plain), quantised(per_channel=True, operators=False)(retrained(plain), tmp_path)):
        matching, right, both = compared(plain, disguised)
        assert right == both == len(onnxviz.load(plain).layers)
        assert {pair.by for pair in matching.pairs} == {POSITION}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("places", [(2,), (4,), (3, 9)])
def test_a_retrained_network_with_layers_inserted(network: str, places: tuple[int, ...]) -> None:
    """Of equal layers in a row, of which one is new, no one can tell which: they stay alone."""
    plain = labelled(NETWORKS[network]())
    disguised = retrained(plain)
    for place in places:
        disguised = inserted(disguised, place)
    _, right, both = compared(plain, disguised)
    assert both == len(onnxviz.load(plain).layers)
    assert both * 0.6 <= right
    _, named, _ = compared(plain, disguised, named=True)
    assert named == both  # the names tell it


def test_a_pruned_network_is_matched_by_position_as_its_structure_proves_it() -> None:
    plain = labelled(residual())
    _, right, both = compared(plain, labelled(residual(seed=4, widths=(6, 13, 20))))
    assert right == both == 15
    wider_and_narrower, *_ = compared(plain, labelled(residual(seed=4, widths=(12, 16, 20))))
    assert wider_and_narrower.pairs == ()  # no pruning gives that


def test_one_structure_in_part() -> None:
    """A third stage more: what comes before it is where it was, what comes after it is another thing."""
    one, other = onnxviz.load(residual(widths=(8, 16))), onnxviz.load(residual(seed=4, widths=(8, 16, 32)))
    matching = match_layers(one, other)
    assert {pair.a.name: pair.b.name for pair in matching.pairs} == {layer.name: layer.name for layer in one.layers}
    assert [layer.name for layer in matching.only_b] == [
        layer.name for layer in other.layers if layer.name.startswith("stage2")
    ]


# ---------------------------------------------------------------- layers without filters


@pytest.mark.parametrize(
    ("disguise", "gone"),
    [
        ("nothing", set()),
        ("half precision", set()),
        ("ConvInteger", set()),
        ("QDQ per channel", {"Relu"}),
        ("QOperator per channel", {"Relu"}),
        ("QOperator per tensor", {"Relu"}),
    ],
)
def test_layers_without_weights(disguise: str, gone: set[str], tmp_path: Path) -> None:
    """A Relu that the quantiser took into what comes before it is alone, and leaves the others where they are."""
    plain = labelled(residual())
    mixed, table = anonymous(shuffled(DISGUISES[disguise](plain, tmp_path)))
    ops = ["Relu", "Add", "GlobalAveragePool", "Gemm"]
    a, b = onnxviz.load(plain), onnxviz.load(mixed)
    matching = match_layers(a, b, ops)
    truth = labels(plain)
    wrong = [pair for pair in matching.pairs if table.get(pair.b.taps["conv"], "dense") != truth[pair.a.taps["conv"]]]
    assert [pair.a.op for pair in wrong] in ([], ["Gemm"])  # MatMulInteger has another name: the only dense layer
    assert {layer.op for layer in matching.only_a} == gone
    assert len(matching.pairs) == sum(layer.op not in gone for layer in a.layers_of(ops))
