"""Devices, precisions and seeds: the requested one or an error, without side effects."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from labelaudit.errors import ConfigError, TrainingError
from labelaudit.model.device import (
    autocast,
    device_facts,
    enough_memory,
    input_dtype,
    release_device,
    repeatable,
    resolve_device,
    resolve_precision,
    seeded,
)

CPU = torch.device("cpu")
CONVOLUTION, DENSE = nn.Conv2d(1, 1, 3), nn.Linear(2, 2)


def test_auto_uses_cuda_if_it_is_available() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:999", "cuda:12345"])
def test_a_missing_gpu_is_never_replaced(name: str) -> None:
    with pytest.raises(TrainingError, match=rf"Device '{name}' was requested, .* training.device to cpu or auto"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "tpu:0", "", "cuda1", "cpu:0"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is unknown\. Use auto, cpu, cuda or cuda:<number>"):
        resolve_device(name)


def test_precision_that_is_given_is_taken() -> None:
    for precision in ("float32", "bfloat16", "float64"):
        assert resolve_precision(precision, CPU, DENSE) == precision
    with pytest.raises(ConfigError, match=r"Precision 'float16' is unknown\. Use one of auto, float32, bfloat16"):
        resolve_precision("float16", CPU, DENSE)


def test_auto_precision_keeps_dense_networks_in_float32() -> None:
    assert resolve_precision("auto", CPU, DENSE) == "float32"
    assert resolve_precision("auto", CPU, CONVOLUTION) in ("float32", "bfloat16")


def test_autocast_computes_in_the_precision() -> None:
    x = torch.ones(1, 2)
    with autocast(CPU, "bfloat16"):
        assert DENSE(x).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert DENSE(x).dtype == torch.float32


def test_only_float64_changes_the_type_of_inputs_and_parameters() -> None:
    assert input_dtype("float64") == torch.float64
    assert {input_dtype(precision) for precision in ("auto", "float32", "bfloat16")} == {torch.float32}
    with autocast(CPU, "float64"):
        assert DENSE(torch.ones(1, 2)).dtype == torch.float32


def test_seeded_repeats_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    with seeded(7, CPU):
        first = torch.rand(3)
    with seeded(7, CPU):
        again = torch.rand(3)
    with seeded(8, CPU):
        other = torch.rand(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_take_turns() -> None:
    inside = threading.Event()
    drawn: list[float] = []

    def draw() -> None:
        with seeded(7, CPU):
            inside.set()
            drawn.append(float(torch.rand(1)))

    other = threading.Thread(target=draw)
    before = torch.get_rng_state()
    with seeded(7, CPU), seeded(7, CPU):  # a thread may enter it again
        other.start()
        assert not inside.wait(0.05)
        first = float(torch.rand(1))
    other.join()
    assert drawn == [first]
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_restores_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(7, CPU):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_repeatable_changes_nothing_on_a_cpu() -> None:
    before = torch.backends.cudnn.deterministic
    with repeatable(CPU):
        assert torch.backends.cudnn.deterministic == before


def test_repeatable_on_a_gpu_with_newer_settings_of_precision() -> None:
    """These make torch raise an error if asked whether TF32 is allowed. They are process-wide and need no GPU."""
    cudnn = torch.backends.cudnn
    precision, before = cudnn.conv.fp32_precision, (cudnn.benchmark, cudnn.deterministic)
    cudnn.conv.fp32_precision = "ieee"
    try:
        with repeatable(torch.device("cuda")), repeatable(torch.device("cuda")):
            assert (cudnn.benchmark, cudnn.deterministic) == (False, True)
        assert (cudnn.benchmark, cudnn.deterministic) == before
        assert cudnn.conv.fp32_precision == "ieee"
    finally:
        cudnn.conv.fp32_precision = precision


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_full_gpu_is_reported_with_a_remedy(error: RuntimeError) -> None:
    """Memory that is not torch's own, such as workspaces, ends with other errors than torch's."""
    with pytest.raises(TrainingError, match=r"GPU is too small .* Lower training\.batch_size"), enough_memory():
        raise error


def test_other_errors_of_a_gpu_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="device-side assert") as caught, enough_memory():
        raise RuntimeError("CUDA error: device-side assert triggered")
    assert not isinstance(caught.value, TrainingError)


def test_there_is_nothing_to_release_before_a_gpu_is_used() -> None:
    release_device()
    assert torch.cuda.is_available() or not torch.cuda.is_initialized()


def test_device_facts_are_plain_values() -> None:
    facts = device_facts(CPU)
    assert facts["device"] == "cpu"
    assert facts["threads"] == torch.get_num_threads()
    assert all(isinstance(value, str | int) for value in facts.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_seeded_repeats_on_a_gpu_and_leaves_it_alone() -> None:
    device = resolve_device("cuda")
    before = torch.cuda.get_rng_state(device)
    with seeded(7, device):
        first = torch.rand(3, device=device)
    with seeded(7, device):
        assert torch.equal(torch.rand(3, device=device), first)
    assert torch.equal(torch.cuda.get_rng_state(device), before)
