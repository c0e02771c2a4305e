"""Devices, precision and threads. A requested device or precision is checked, without a silent fallback."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path

import threadpoolctl
import torch
from torch import nn

from labelaudit.errors import ConfigError, TrainingError

PRECISIONS = ("auto", "float32", "bfloat16", "float64")
_DTYPES = {"bfloat16": torch.bfloat16}
# Messages about memory that torch's allocator does not manage, such as contexts and workspaces.
_OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
_NO_AUTOCAST: contextlib.nullcontext[None] = contextlib.nullcontext()


def resolve_device(device: str) -> torch.device:
    """Return the device named `device`: "auto" (CUDA if available), "cpu", "cuda" or "cuda:<number>".

    Raises:
        TrainingError: The GPU does not exist on this machine.
        ConfigError: The name is unknown.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    name, _, number = device.partition(":")
    if name != "cuda" or not (number.isdecimal() or device == "cuda"):
        raise ConfigError(f"Device {device!r} is unknown. Use auto, cpu, cuda or cuda:<number>.")
    index, count = int(number or 0), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise TrainingError(
            f"Device {device!r} was requested, but torch {torch.__version__} finds {count} CUDA devices here. Run on a "
            "machine with a GPU (check the driver, CUDA_VISIBLE_DEVICES and that torch is built with CUDA), or set "
            "training.device to cpu or auto."
        )
    return torch.device("cuda", index)


def resolve_precision(precision: str, device: torch.device, module: nn.Module) -> str:
    """Return the precision for a module on a device: "float32", "bfloat16" (autocast) or "float64".

    "auto" uses bfloat16 if the hardware supports it natively and if it is faster: on CUDA from capability 8.0; on CPUs
    with avx512_bf16, amx_bf16 or Arm's bf16 only for convolutions, whose results were not worse. Small dense layers
    lose more time in casts than they gain.

    Raises:
        ConfigError: The name is unknown.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"Precision {precision!r} is unknown. Use one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    convolutional = any(isinstance(layer, nn.Conv2d) for layer in module.modules())
    pays = convolutional or device.type == "cuda"
    return "bfloat16" if pays and computes_bfloat16(device) else "float32"


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware computes in bfloat16, instead of only converting from and to it."""
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
    """Return the dtype of inputs and parameters. They are float32 under bfloat16 autocast."""
    return torch.float64 if precision == "float64" else torch.float32


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return a context in which a module computes in `precision`. Its parameters keep their dtype."""
    if precision not in _DTYPES:
        return _NO_AUTOCAST  # entering torch.autocast takes as long as a small layer
    return torch.autocast(device.type, dtype=_DTYPES[precision])


@contextlib.contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Run a fit or a prediction independently of the state of the process, and restore that state afterwards.

    This includes torch's global generators (see `seeded`), the algorithms of cuDNN, the modes of automatic
    differentiation and autocast, and the default device.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(seeded(seed, device))
        stack.enter_context(repeatable(device))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.is_autocast_enabled(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        # torch.get_default_device() takes ten times as long.
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators of the CPU and of `device`, and restore their states afterwards.

    Needed because module initialisation and dropout take no generator. All threads of a process share these
    generators, so threads take turns: only one at a time is in this context. It may enter it again.
    """
    indices = [device.index or 0] if device.type == "cuda" else []
    with _turns.lock, torch.random.fork_rng(devices=indices):
        # torch.manual_seed would also seed the devices that are not saved here.
        torch.default_generator.manual_seed(seed)
        for index in indices:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield


class _Turns:
    """The lock of torch's global generators."""

    def __init__(self) -> None:
        self.renew()
        # A process that is forked while another thread has the lock would wait for it forever.
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.lock = threading.RLock()


_turns = _Turns()


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Make cuDNN use deterministic algorithms. Nothing changes on a CPU."""
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    # torch's own context also sets whether TF32 is allowed, with an API that conflicts with the newer settings.
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a few numbers from the CPU to `device`, without waiting for the pending work of a GPU."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def free_bytes(device: torch.device) -> int:
    """Return the bytes of a GPU that this process can still use: free memory, and what torch reserves for it."""
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + reserved


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turn out-of-memory errors of a GPU into a `TrainingError` with a remedy.

    Raises:
        TrainingError: The memory of the GPU is too small.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        cause = " ".join(str(error).split())[:300]
        raise TrainingError(
            f"The memory of the GPU is too small ({cause}). Lower training.batch_size, choose a smaller network or "
            "image_size, or raise workers.gpus_per_fold if folds share a GPU."
        ) from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that the memory of a GPU is too small."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def release_device() -> None:
    """Release the GPU memory that torch keeps after tensors are freed, for other processes."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


@contextlib.contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Limit the CPU threads of torch and of the linear algebra below NumPy to `count`. None changes nothing."""
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
    """Return facts about the machine: `device`, `name`, `threads`, `torch`, and for a GPU `memory_bytes`."""
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
