"""Devices, number formats and threads: what was asked for, checked; never a quiet fallback."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import threadpoolctl
import torch
from torch import nn

from labelaudit.errors import ConfigError, TrainingError

PRECISIONS = ("auto", "float32", "bfloat16", "float64")
_DTYPES = {"bfloat16": torch.bfloat16}
# Not all memory comes from torch's allocator: contexts and workspaces of a neighbour on the same GPU do not.
_FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_AS_IT_IS: contextlib.nullcontext[None] = contextlib.nullcontext()


def resolve_device(device: str) -> torch.device:
    """The device that `device` ("auto", "cpu", "cuda" or "cuda:<number>") names; "auto" takes CUDA if there.

    Raises `TrainingError` where a GPU is asked for that is not there, `ConfigError` for an unknown name.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    name, _, number = device.partition(":")
    if name != "cuda" or not (number.isdecimal() or device == "cuda"):
        raise ConfigError(f"device {device!r} is unknown: use auto, cpu, cuda or cuda:<number>.")
    index, count = int(number or 0), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise TrainingError(
            f"device {device!r} was asked for, but torch {torch.__version__} sees {count} CUDA devices here. "
            "Run where the GPU is (driver, CUDA_VISIBLE_DEVICES, a torch build with CUDA), "
            "or set training.device to cpu or auto."
        )
    return torch.device("cuda", index)


def resolve_precision(precision: str, device: torch.device, module: nn.Module) -> str:
    """ "float32", "bfloat16" (autocast) or "float64" for a module on a device.

    "auto" takes bfloat16 where the hardware computes it natively and it pays: on CUDA from capability 8.0
    on; on a CPU with avx512_bf16, amx_bf16 or Arm's bf16 for convolutions only, where it was measured faster
    and not worse (see recipes.py). Small dense layers lose more in casts than they gain.

    Raises `ConfigError` for an unknown name.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is unknown: use one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    convolutional = any(isinstance(layer, nn.Conv2d) for layer in module.modules())
    pays = convolutional or device.type == "cuda"
    return "bfloat16" if pays and computes_bfloat16(device) else "float32"


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16, and does not only convert from and to it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return _cpu_has_bfloat16()


@functools.cache
def _cpu_has_bfloat16() -> bool:
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux
        return False
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def input_dtype(precision: str) -> torch.dtype:
    """The type of inputs and parameters; bfloat16 comes in by autocast."""
    return torch.float64 if precision == "float64" else torch.float32


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Context in which a module computes in `precision`; its parameters keep their type."""
    if precision not in _DTYPES:
        return _AS_IT_IS  # entering torch.autocast takes as long as a small layer
    return torch.autocast(device.type, dtype=_DTYPES[precision])


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators of the CPU and of `device` start at `seed` inside, and are as before after.

    Needed because module initialisation and dropout take no generator of their own.
    """
    indices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=indices):
        # torch.manual_seed would also seed the devices that are not saved here.
        torch.default_generator.manual_seed(seed)
        for index in indices:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """cuDNN takes its deterministic algorithms inside; nothing changes on a CPU."""
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    # Not torch's own context, which also reads and writes whether TF32 is allowed, in a way that newer settings refuse.
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A few numbers of the CPU on `device`, without waiting for what a GPU still has to do."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def free_bytes(device: torch.device) -> int:
    """Bytes of a GPU that this process can still fill: what is free, and what torch holds in reserve for it."""
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + reserve


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turns the errors of a GPU that is full into a `TrainingError` with a remedy."""
    try:
        yield
    except RuntimeError as error:
        if not _is_full(error):
            raise
        cause = " ".join(str(error).split())[:300]
        raise TrainingError(
            f"The memory of the GPU is too small ({cause}). Lower "
            "training.batch_size, choose a smaller network or image_size, or raise workers.gpus_per_fold where folds "
            "share a GPU."
        ) from error


def _is_full(error: RuntimeError) -> bool:
    """Whether a GPU has no memory left: torch's own error, or one of CUDA, cuBLAS or cuDNN beside its allocator."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _FULL)


def release_device() -> None:
    """Give back to the GPU what freed tensors have left with torch, for the neighbours of this process."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


@contextlib.contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """At most `count` CPU threads inside, of torch and of the linear algebra below numpy; None leaves them."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def device_facts(device: torch.device) -> dict[str, str | int]:
    """What a report says about the machine: `device`, `name`, `threads`, `torch`; of a GPU `memory_bytes`."""
    facts: dict[str, str | int] = {
        "device": str(device),
        "name": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"name": properties.name, "memory_bytes": properties.total_memory}
    return facts
