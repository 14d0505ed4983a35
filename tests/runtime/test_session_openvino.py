"""OpenVINO: what it hands to the CPU is told, its options reach it, and one that cannot start is an error.

`onnxruntime-openvino` stands in for onnxruntime: `make test-openvino` runs this in an environment of its own.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxviz.errors import ProviderError
from onnxviz.runtime.session import RunOptions, Session, available_providers

ROOT = Path(__file__).resolve().parents[2]
OTHER = ROOT / ".venv" / "openvino" / "bin" / "python"
# OpenVINO's provider has no Hardmax.
HANDED = """<ir_version: 8, opset_import: ["" : 17]>
partly (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
<float[4, 3, 1, 1] weight = {1., 0., -1., 2., 1., 0., 0., 3., 1., -2., 1., 1.}>
{ a = Conv (x, weight) b = Relu (a) y = Hardmax <axis = 1> (b) }"""


def handed() -> onnx.ModelProto:
    return onnx.parser.parse_model(HANDED)


def opened(proto: onnx.ModelProto, provider: str) -> Session:
    return Session(proto, Path.cwd(), "m.onnx", RunOptions(provider))


@pytest.mark.openvino
def test_what_it_hands_to_the_cpu_is_known() -> None:
    session, alone = opened(handed(), "openvino"), opened(handed(), "cpu")
    assert session.assignment is not None
    assert session.assignment.nodes == {"openvino": {"Conv": 1, "Relu": 1}, "cpu": {"Hardmax": 1}}
    assert session.assignment.words() == "2 of 3 nodes ran on openvino, 1 on cpu: Hardmax (1)"
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(session.run(["y"], {"x": x})[0], alone.run(["y"], {"x": x})[0])


@pytest.mark.openvino
@pytest.mark.parametrize("command", ["predict", "stats", "maps", "explain"])
def test_what_it_hands_to_the_cpu_is_said(command: str, tmp_path: Path, run_command) -> None:
    onnx.save(handed(), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32))
    # The convolution's maps alone do not need what is handed.
    more = (
        ["--method", "occlusion"] if command == "explain" else ["--ops", "Conv,Hardmax"] if command != "predict" else []
    )
    ran = run_command(command, "m.onnx", "x.npy", "--provider", "openvino", "--json", *more)
    handed_over = ran.document["node_assignment"]["cpu"]
    assert handed_over["Hardmax"] == 1
    assert f"{sum(handed_over.values())} on cpu: " in ran.err
    assert "Hardmax (1)" in ran.err
    quiet = run_command(command, "m.onnx", "x.npy", "--provider", "openvino", "--json", "-q", *more)
    assert quiet.err == ""


@pytest.mark.openvino
def test_one_that_takes_no_node_is_an_error() -> None:
    proto = handed()
    del proto.graph.node[:2]
    proto.graph.node[0].input[0] = "x"
    with pytest.raises(ProviderError, match=r"'openvino' was asked for, but it takes none of the 1 nodes of m\.onnx"):
        opened(proto, "openvino")


@pytest.mark.openvino
@pytest.mark.parametrize("options", ["device_type=CPU", "device_type=CPU,num_streams=1", "num_of_threads=1"])
def test_its_options(options: str) -> None:
    session = opened(handed(), f"openvino:{options}")
    assert session.provider == f"openvino:{options}"


@pytest.mark.openvino
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("device_type=NOSUCH", "it takes none of the 3 nodes"),
        ("device_type=NPU", "onnxruntime could not start it and chose cpu: check its options"),
        ("num_streams=many", "onnxruntime could not start it and chose cpu: check its options"),
        ("nosuch=1", "onnxruntime cannot start it: Invalid OpenVINO EP option: nosuch"),
    ],
)
def test_options_that_it_does_not_take_are_one_line(
    options: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of all that is written, OpenVINO's own words and onnxruntime's log among it."""
    from onnxviz.cli import run

    onnx.save(handed(), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), np.float32))
    code = run(["predict", str(tmp_path / "m.onnx"), str(tmp_path / "x.npy"), "--provider", f"openvino:{options}"])
    out, err = capfd.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: provider 'openvino:{options}' was asked for, but ")
    assert said in err


@pytest.mark.skipif("openvino" in available_providers(), reason="the tests above run here")
@pytest.mark.skipif(not OTHER.exists(), reason="`make test-openvino` makes the environment that this needs")
def test_all_this_in_the_other_environment() -> None:
    names = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))}
    folders = [ROOT / "tests" / name for name in ("runtime", "auditing")]
    command = [OTHER, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "openvino", *folders]
    done = subprocess.run(command, cwd=ROOT, env=names, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
