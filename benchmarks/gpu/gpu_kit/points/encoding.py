"""Point 5: photographs through a pretrained kind of network: decoding, the forward pass, and both at once."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

from gpu_kit.decoding import decode_into, map_pixels
from gpu_kit.jobs import Job
from gpu_kit.utilisation import Utilisation
from labelaudit import TorchFeatures
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.networks import IMAGENET_MEAN, IMAGENET_STD, Pixels

TITLE = "Encoding photographs"
# One core needs milliseconds for each.
_SINGLE_CORE_PHOTOS = 300
_CHUNK = 64


def measure(job: Job) -> None:
    files = sorted(job.photos.glob("*.jpg"))
    side, cores = job.sizes.photo_side, len(os.sched_getaffinity(0))
    pixels = job.work / "pixels.bin"
    map_pixels(pixels, len(files), side, "w+").flush()
    job.record.figure("photographs", len(files))
    job.record.figure("mean size of a JPEG file", sum(file.stat().st_size for file in files) / len(files) / 1024, "KiB")
    job.record.figure("decoded to", f"{side}x{side} pixels")
    few = files[:_SINGLE_CORE_PHOTOS]
    seconds = _seconds(lambda: decode_into(pixels, len(files), side, 0, few))
    one_core = len(few) / seconds
    job.record.figure("decoding, one core", one_core, "images/s")
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        _each_worker_is_ready(pool, cores, pixels, files, side)
        seconds = _seconds(lambda: [future.result() for _, future in _decoded(pool, pixels, files, side)])
        all_cores = len(files) / seconds
        job.record.figure(f"decoding, {cores} cores", all_cores, "images/s")
        forward = _forward(job, pixels, len(files))
        both = _overlapped(job, pool, pixels, files)
    bottleneck = "decoding" if all_cores < forward else "the forward pass"
    job.record.figure("bottleneck", bottleneck)
    job.record.figure("cores whose decoding keeps the device busy", forward / one_core, "cores")
    job.record.figure("overlapped, as a share of the slower of the two", both / min(all_cores, forward))


def _forward(job: Job, path: Path, count: int) -> float:
    """Return images per second of the network alone, with all pixels on the device."""
    sizes, device = job.sizes, torch.device(job.device)
    pixels = torch.from_numpy(np.array(map_pixels(path, count, sizes.photo_side, "r"))).to(device)
    network = _network(job)
    run = _batch_runner(network, job)

    def all_batches() -> None:
        for batch in pixels.split(sizes.forward_batch):
            run(batch)
        _wait(device)

    run(pixels[: sizes.forward_batch])
    rate = count / _seconds(all_batches)
    job.record.figure("network", f"torchvision {sizes.encoder}, random weights, {_precision(job)}")
    job.record.figure("batch", sizes.forward_batch, "images")
    job.record.figure("forward pass alone", rate, "images/s")
    inputs = ImageInputs(map_pixels(path, count, sizes.photo_side, "r"), np.arange(count))
    rows = np.arange(count)
    features = TorchFeatures(
        network, batch_size=sizes.forward_batch, device=job.device, precision=_precision(job), dataset=inputs
    ).fit(rows[:1])
    features.transform(rows[: sizes.forward_batch])
    job.record.figure(
        "TorchFeatures, from a memory map", count / _seconds(lambda: features.transform(rows)), "images/s"
    )
    return rate


def _overlapped(job: Job, pool: Executor, path: Path, files: list[Path]) -> float:
    """Return images per second if chunks are decoded and sent through the network at the same time."""
    sizes, device = job.sizes, torch.device(job.device)
    run = _batch_runner(_network(job), job)
    pixels = map_pixels(path, len(files), sizes.photo_side, "r")
    run(torch.from_numpy(np.array(pixels[: sizes.forward_batch])).to(device))

    def everything() -> None:
        waiting: list[np.ndarray] = []
        for start, future in _decoded(pool, path, files, sizes.photo_side):
            waiting.append(pixels[start : start + future.result()])
            if sum(map(len, waiting)) >= sizes.forward_batch:
                run(_sent(waiting, device))
                waiting.clear()
        if waiting:
            run(_sent(waiting, device))
        _wait(device)

    with Utilisation() as gpu:
        rate = len(files) / _seconds(everything)
    job.record.figure("decoding and forward pass overlapped", rate, "images/s")
    job.record.figure("GPU utilisation while both run", gpu.mean_percent(), "%")
    return rate


def _network(job: Job) -> nn.Module:
    torch.manual_seed(0)
    encoder = torchvision.models.get_model(job.sizes.encoder, weights=None)
    encoder.fc = nn.Identity()
    network = nn.Sequential(Pixels(IMAGENET_MEAN, IMAGENET_STD, channels=3), encoder)
    return network.to(torch.device(job.device)).to(memory_format=torch.channels_last).eval()


def _batch_runner(network: nn.Module, job: Job) -> Callable[[torch.Tensor], torch.Tensor]:
    device = torch.device(job.device)

    @torch.inference_mode()
    def run(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=_precision(job) == "bfloat16"):
            features: torch.Tensor = network(batch.permute(0, 3, 1, 2))
        return features

    return run


def _precision(job: Job) -> str:
    return "float32" if job.is_rehearsal else "bfloat16"


def _decoded(pool: Executor, path: Path, files: list[Path], side: int) -> Iterator[tuple[int, Future[int]]]:
    """(first row, future of the number of rows) of each chunk; all chunks are started before the first is yielded."""
    futures = [
        (start, pool.submit(decode_into, path, len(files), side, start, files[start : start + _CHUNK]))
        for start in range(0, len(files), _CHUNK)
    ]
    yield from futures


def _each_worker_is_ready(pool: Executor, workers: int, path: Path, files: list[Path], side: int) -> None:
    """Start the processes of the pool, so that their imports are not timed."""
    futures = [pool.submit(decode_into, path, len(files), side, 0, files[:8]) for _ in range(4 * workers)]
    for future in futures:
        future.result()


def _sent(parts: list[np.ndarray], device: torch.device) -> torch.Tensor:
    batch = torch.from_numpy(np.concatenate(parts))
    return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
