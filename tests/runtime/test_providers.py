"""Execution providers by their short names: every one that onnxruntime knows, options, errors, assigned nodes."""

from __future__ import annotations

import onnxruntime
import pytest

from onnxviz.errors import ProviderError
from onnxviz.runtime.providers import NodeAssignment, Provider, listed, short_name
from onnxviz.runtime.session import available_providers, provider_name

ALL = onnxruntime.get_all_providers()
THERE = onnxruntime.get_available_providers()


@pytest.mark.parametrize("name", sorted({*ALL, *THERE}))
def test_every_provider_of_this_onnxruntime_has_a_short_name(name: str) -> None:
    short = short_name(name)
    assert name.lower() == f"{short}executionprovider"
    assert short_name(short) == short
    assert [other for other in ALL if short_name(other) == short] == [name]
    if name in THERE:
        assert provider_name(Provider.parse(short)) == name
    else:
        with pytest.raises(ProviderError, match=f"provider '{short}' was asked for, but this onnxruntime .* has cpu"):
            provider_name(Provider.parse(short))


@pytest.mark.parametrize(
    ("written", "short"),
    [
        ("CPUExecutionProvider", "cpu"),
        ("CUDA", "cuda"),
        ("DmlExecutionProvider", "dml"),
        ("DirectML", "dml"),
        ("oneDNN", "dnnl"),
        ("NvTensorRTRTXExecutionProvider", "nvtensorrtrtx"),
        ("WebGpuExecutionProvider", "webgpu"),
        (" OpenVINO ", "openvino"),
    ],
)
def test_short_names(written: str, short: str) -> None:
    assert short_name(written) == short


def test_what_there_is_begins_with_the_cpu() -> None:
    assert listed(["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]) == [
        "cpu",
        "tensorrt",
        "cuda",
    ]
    assert set(available_providers()) == {name.removesuffix("ExecutionProvider").lower() for name in THERE}


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("cpu", "cpu", {}),
        ("openvino:device_type=CPU,num_streams=1", "openvino", {"device_type": "CPU", "num_streams": "1"}),
        ("openvino:device_type=HETERO:GPU,CPU,cache_dir=C:\\a=b", "openvino",
         {"device_type": "HETERO:GPU,CPU", "cache_dir": "C:\\a=b"}),
        ("CUDA: device_id = 1", "cuda", {"device_id": "1"}),
    ],
)  # fmt: skip
def test_options(text: str, name: str, options: dict[str, str]) -> None:
    provider = Provider.parse(text)
    assert provider.name == name
    assert dict(provider.options) == options
    assert Provider.parse(str(provider)) == provider


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openvino:", "'' is no option of provider 'openvino'"),
        ("openvino:CPU", "'CPU' is no option of provider 'openvino'.*NAME=VALUE"),
        ("openvino:device_type=", "'device_type=' is no option"),
        ("openvino:=CPU", "'=CPU' is no option"),
        ("openvino:a=1,a=2", "'a=2' is no option of provider 'openvino'; write each once"),
        ("cpu:use_arena=0", "provider 'cpu' takes no options; 'use_arena=0' was given"),
        ("CPUExecutionProvider:x=\x1b[31m", "takes no options"),
        ("cuda:\x1b[31m\n=1", "is no option"),
    ],
)
def test_options_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(ProviderError, match=said) as caught:
        Provider.parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tpu", r"there is no provider 'tpu'; there are cpu, azure$"),
        ("", r"there is no provider ''; there are cpu, azure$"),
        ("\x1b[31m", "there is no provider '\N{REPLACEMENT CHARACTER}"),
        ("cuda", "provider 'cuda' was asked for, but this onnxruntime 9.9 has cpu, azure; install onnxruntime-gpu in"),
        ("tensorrt", "install onnxruntime-gpu in its place"),
        ("openvino:device_type=GPU", "install onnxruntime-openvino in its place"),
        ("directml", "provider 'dml' was asked for.*; install onnxruntime-directml in its place"),
        ("xnnpack", r"install a build that has it \(https://onnxruntime.ai/docs/execution-providers\)"),
    ],
)
def test_providers_that_are_not_there(text: str, said: str) -> None:
    there = ["AzureExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(ProviderError, match=said) as caught:
        Provider.parse(text).among(there, [*there, "XnnpackExecutionProvider"], "9.9")
    assert str(caught.value).isprintable()


def test_what_was_handed_to_another_provider_is_said() -> None:
    nodes = {"cuda": {"Conv": 5, "Relu": 4}, "cpu": {"Shape": 2, "com.example::Wonder": 1}}
    assignment = NodeAssignment("cuda:device_id=0", nodes)
    assert (assignment.own, assignment.total) == (9, 12)
    assert assignment.words() == ("9 of 12 nodes ran on cuda:device_id=0, 3 on cpu: Shape (2), com.example::Wonder (1)")


def test_nothing_is_said_where_nothing_was_handed() -> None:
    assert NodeAssignment("cuda", {"cuda": {"Conv": 5}}).words() == ""
    assert NodeAssignment("cuda", {}).words() == ""


def test_what_is_not_known_is_said_to_be_so() -> None:
    assignment = NodeAssignment("dml", None)
    assert (assignment.own, assignment.total) == (0, 0)
    assert "which nodes ran on 'dml', and which on the CPU, is not known" in assignment.words()
