"""Performance: shares of multiply-accumulates by hand, casts, memory that grows; no verdict hangs on seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from protos import normal, parsed
from quantised import folded, halve, quantise
from samples import CLASSIFIER, MODELS, UNET, photo_crops

from onnxviz.auditing.audit import audit
from onnxviz.model.model import load
from onnxviz.runtime.profile import profile
from onnxviz.runtime.session import RunOptions

PHOTOS = str(MODELS / "photos")
# Of the classifier: outputs × inputs × kernel, by hand.
PRODUCTS = {
    "conv1": 48 * 48 * 32 * 3 * 49,
    "conv2": 24 * 24 * 64 * 32 * 9,
    "conv3": 12 * 12 * 96 * 64 * 9,
    "conv4": 12 * 12 * 112 * 96 * 9,
    "conv5": 12 * 12 * 128 * 112 * 9,
    "dense": 128 * 11,
}


def found(model, data, **options):
    """(code, severity) of each finding."""
    return [(one.code, one.severity.value) for one in audit(model, data, **options).findings]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return folded(CLASSIFIER, tmp_path_factory.mktemp("plain") / "plain.onnx")


@pytest.fixture(scope="module")
def lowered(plain) -> Path:
    return partly(plain)


def crops() -> list[np.ndarray]:
    return [one[None] for one in (photo_crops(6, 96, 3).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)]


def partly(plain: Path, *in_float: str) -> Path:
    """The classifier quantised but for some nodes."""
    return quantise(plain, plain.with_name(f"int8{'-'.join(in_float)}.onnx"), crops(), exclude=in_float)


# ---------------------------------------------------------------- the profile


def test_products_are_counted_as_by_hand(plain: Path) -> None:
    (run,) = profile(load(plain), {"image": crops()[0]}, RunOptions(prepack=False), 1).runs
    assert [one.multiplications for one in run if one.multiplications] == list(PRODUCTS.values())


@pytest.mark.parametrize(
    ("line", "output", "weight", "expected"),
    [
        ("y = Conv <group = 4> (x, w)", "1,8,6,6", (8, 1, 3, 3), 8 * 6 * 6 * 9),
        ("y = ConvTranspose <group = 2> (x, w)", "1,6,9,9", (4, 3, 2, 2), 4 * 8 * 8 * 3 * 4),
        ("y = MatMul (x, w)", "1,4,8,5", (8, 5), 4 * 8 * 5 * 8),
        ("f = Flatten (x) y = Gemm <transB = 1> (f, w)", "1,5", (5, 256), 5 * 256),
        ("f = Flatten (x) t = Transpose (f) y = Gemm <transA = 1> (t, w)", "1,5", (256, 5), 5 * 256),
        ("y = Mul (x, w)", "1,4,8,8", (1, 4, 8, 8), 0),
    ],
)
def test_products_by_operator(line: str, output: str, weight: tuple[int, ...], expected: int) -> None:
    proto = parsed(f"one (float[1,4,8,8] x) => (float[{output}] y) {{ {line} }}", w=normal(*weight))
    (run,) = profile(load(proto), {"x": normal(1, 4, 8, 8)}, RunOptions(prepack=False), 1).runs
    assert sum(one.multiplications for one in run) == expected


def test_runs_and_layers_of_a_profile(plain: Path) -> None:
    measured = profile(load(CLASSIFIER), {"image": crops()[0]}, RunOptions(), 4)
    assert len(measured.runs) == len(measured.milliseconds) == 4
    assert len({tuple(one.tensor for one in run) for run in measured.runs}) == 1
    for run, whole in zip(measured.runs, measured.milliseconds, strict=True):
        assert 0 < sum(one.milliseconds for one in run) <= whole
    by_op = measured.medians(lambda one: one.op)
    assert list(by_op.values()) == sorted(by_op.values(), reverse=True)
    times = [sum(one.milliseconds for one in run if one.op == "Conv") for run in measured.runs]
    assert by_op["Conv"] == pytest.approx(np.median(times))


# ---------------------------------------------------------------- P07


@pytest.mark.parametrize("model", [CLASSIFIER, UNET], ids=lambda path: path.stem)
def test_latency_is_a_note_that_names_layers(model: Path) -> None:
    size = {"size": (64, 64)} if model == UNET else {}
    (one,) = audit(model, PHOTOS, select=["P07"], **size).findings
    assert (one.code, one.severity.value, one.threshold) == ("P07", "note", None)
    names = [layer.name for layer in load(model).layers]
    assert sum(f"{name} " in one.message for name in names) >= 3


@pytest.mark.parametrize(("budget", "severity"), [(1e-4, "error"), (1e-2, "error"), (1e7, "note")])
def test_a_budget_of_latency(budget: float, severity: str, tmp_path: Path) -> None:
    """Microseconds are too few for any machine, hours enough."""
    config = tmp_path / "onnxviz.toml"
    config.write_text(f"[audit.budgets]\nlatency-ms = {budget}\n")
    result = audit(CLASSIFIER, PHOTOS, select=["P"], config=config)
    (one,) = (one for one in result.findings if one.code == "P07")
    assert (one.severity.value, one.threshold) == (severity, budget)


def test_latency_is_only_measured_where_it_is_asked_for() -> None:
    result = audit(CLASSIFIER, PHOTOS, select=["P"])
    assert "P07" not in {*result.passed, *(one.code for one in (*result.findings, *result.not_run))}


# ---------------------------------------------------------------- P08


@pytest.mark.parametrize("names", [("conv2", "conv3"), ("conv3", "conv4"), ("conv3", "conv4", "conv5")])
def test_a_quantised_model_that_computes_in_float(plain: Path, names: tuple[str, ...]) -> None:
    """Two convolutions in a row: one alone between quantised tensors onnxruntime quantises by itself."""
    (one,) = audit(partly(plain, *_nodes(plain, names)), PHOTOS, select=["P08"]).findings
    assert (one.code, one.severity.value) == ("P08", "warning")
    assert one.value == pytest.approx(sum(PRODUCTS[name] for name in names) / sum(PRODUCTS.values()))


def test_a_little_in_float_is_silent(plain: Path, tmp_path: Path) -> None:
    assert found(partly(plain, *_nodes(plain, ("dense",))), PHOTOS, select=["P08"]) == []
    share = (PRODUCTS["conv2"] + PRODUCTS["conv3"]) / sum(PRODUCTS.values())
    model = partly(plain, *_nodes(plain, ("conv2", "conv3")))
    for limit, expected in ((share * 1.001, []), (share * 0.999, [("P08", "warning")])):
        config = tmp_path / "onnxviz.toml"
        config.write_text(f"[audit.thresholds.P08]\nshare = {limit}\n")
        assert found(model, PHOTOS, select=["P08"], config=config) == expected


def test_what_onnxruntime_quantises_by_itself_is_no_float(plain: Path) -> None:
    assert found(partly(plain, *_nodes(plain, ("conv3",))), PHOTOS, select=["P08"]) == []


def _nodes(plain: Path, names: tuple[str, ...]) -> list[str]:
    """Names of the nodes; in the folded model a convolution's is that of its weight's user, in the same order."""
    nodes = [node.name for node in onnx.load(plain).graph.node if node.op_type in ("Conv", "Gemm")]
    return [name for known, name in zip(PRODUCTS, nodes, strict=True) if known in names]


@pytest.mark.parametrize(("filters", "slower"), [(1, True), (512, False)])
def test_a_quantised_model_beside_the_float_one(lowered: Path, tmp_path: Path, filters: int, slower: bool) -> None:
    """One that takes a hundredth of the products, and one that takes a hundred times as many."""
    stride = 32 if slower else 1
    proto = parsed(
        "other (float[n,3,96,96] image) => (float[n,11] y) { "
        f"c = Conv <strides = [{stride}, {stride}], pads = [4, 4, 4, 4]> (image, w) "
        "p = GlobalAveragePool (c) f = Flatten (p) y = MatMul (f, d) }",
        w=normal(filters, 3, 9, 9), d=normal(filters, 11),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "other.onnx")
    codes = found(lowered, PHOTOS, select=["P08"], against=str(tmp_path / "other.onnx"))
    assert codes == ([("P08", "warning")] if slower else [])


def test_a_float_model_is_not_asked_for_integers() -> None:
    result = audit(CLASSIFIER, PHOTOS, select=["P08", "P09"])
    assert result.passed == ("P08", "P09")


# ---------------------------------------------------------------- P09


def casting(count: int) -> onnx.ModelProto:
    """A float16 convolution of one channel, then as many casts there and back as asked for."""
    lines, last = [], "c"
    for place in range(count):
        lines.append(
            f"a{place} = Cast <to = 1> ({last}) b{place} = Sqrt (a{place}) d{place} = Cast <to = 10> (b{place})"
        )
        last = f"d{place}"
    return parsed(
        f"casting (float16[1,8,256,256] x) => (float16[1,8,1,1] y) {{ c = Conv (x, w) {' '.join(lines)} "
        f"y = GlobalMaxPool ({last}) }}",
        w=np.ones((8, 8, 1, 1), np.float16),
    )


@pytest.mark.parametrize("count", [2, 6, 16])
def test_casts_that_take_the_time(count: int) -> None:
    x = np.ones((1, 8, 256, 256), np.float16)
    (one,) = audit(casting(count), x, select=["P09"]).findings
    assert (one.code, one.severity.value) == ("P09", "warning")
    assert one.value == pytest.approx(0.55, abs=0.45)


def test_half_precision_whose_casts_take_little() -> None:
    """A convolution of 64 channels between two casts of its sides."""
    proto = parsed(
        "g (float16[1,64,64,64] x) => (float16[1,64,1,1] y) { c = Conv <pads = [4, 4, 4, 4]> (x, w) "
        "y = GlobalMaxPool (c) }",
        w=np.ones((64, 64, 9, 9), np.float16),
    )
    assert found(proto, np.ones((1, 64, 64, 64), np.float16), select=["P09"]) == []


# ---------------------------------------------------------------- P11


def hungry(share: float) -> onnx.ModelProto:
    """It fills 16 MB at 128 rows, and `share` more at 64."""
    return parsed(
        "hungry (float[1,3,rows,columns] x) => (float[1,1] y) { s = Shape <start = 2, end = 3> (x) "
        "r = Cast <to = 1> (s) k = Sub (most, r) m = Mul (k, factor) p = Add (m, base) i = Cast <to = 7> (p) "
        "z = ConstantOfShape (i) t = ReduceSum <keepdims = 0> (z, axes) v = GlobalAveragePool (x) "
        "u = ReduceSum <keepdims = 0> (v, all) a = Add (t, u) y = Reshape (a, one) }",
        most=np.array([128], np.float32), factor=np.array([share * 4e6 / 64], np.float32),
        base=np.array([4e6], np.float32), axes=np.array([0]), all=np.array([0, 1, 2, 3]), one=np.array([1, 1]),
    )  # fmt: skip


ROWS = np.ones((1, 3, 128, 128), np.float32)


@pytest.mark.parametrize("share", [0.2, 2, 6])
def test_memory_that_grows(share: float, tmp_path: Path) -> None:
    """onnxruntime keeps the first 16 MB and takes a larger piece besides."""
    (one,) = audit(hungry(share), ROWS, select=["P11"]).findings
    assert (one.code, one.severity.value, one.threshold) == ("P11", "note", 0.5)
    pieces = 1 + share
    assert one.value is not None
    assert 0.5 < one.value < 2.2 * pieces
    config = tmp_path / "onnxviz.toml"
    config.write_text(f"[audit.thresholds.P11]\ngrowth = {one.value * 1.2}\n")
    assert found(hungry(share), ROWS, select=["P11"], config=config) == []


def test_memory_that_stays() -> None:
    assert found(hungry(0.0), ROWS, select=["P11"]) == []
    assert found(hungry(-0.5), ROWS, select=["P11"]) == []


@pytest.mark.parametrize(("budget", "expected"), [(0.5, [("P11", "error")]), (8, [("P11", "error")]), (2000, [])])
def test_a_budget_of_memory(budget: float, expected: list, tmp_path: Path) -> None:
    """16 MB of zeros are more than 8, and less than 2,000."""
    config = tmp_path / "onnxviz.toml"
    config.write_text(f"[audit.budgets]\nmemory-mb = {budget}\n")
    assert found(hungry(0.0), ROWS, select=["P11"], config=config) == expected


# ---------------------------------------------------------------- good models


def test_the_sample_models_and_their_lower_precisions_are_clean(lowered: Path, tmp_path: Path) -> None:
    half = halve(CLASSIFIER, tmp_path / "half.onnx")
    for model, size in ((CLASSIFIER, None), (UNET, (64, 64)), (lowered, None), (half, None)):
        assert found(model, PHOTOS, select=["P08", "P09", "P11"], size=size) == [], model
