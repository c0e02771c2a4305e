"""Point 7: an audit with the packaged encoder and all three views, and what limits the encoding."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import torch

from gpu_kit.jobs import Job
from gpu_kit.timed_audit import record_found_errors, record_seconds, timed_audit
from labelaudit.data.images import decode_images
from labelaudit.model.encoders.choose import choose_encoder
from labelaudit.model.encoders.load import load_encoder
from labelaudit.model.encoders.packaged_encoders import LITE0, PACKAGED

TITLE = "An audit with an encoder and three views"
_CHUNK = 64
_SHARING = 4


def measure(job: Job) -> None:
    kwargs: dict[str, object] = {"input_size": job.sizes.encoded_side}
    weights = "of the package"
    if not PACKAGED[LITE0].is_available():
        kwargs["weights"], weights = _random_weights(job), "random, because their package is not installed"
    job.record.figure("encoder", LITE0)
    job.record.figure("its weights", weights)
    job.record.figure("images are enlarged to", f"{job.sizes.encoded_side}x{job.sizes.encoded_side} pixels")
    _record_audit(job, kwargs)
    if not job.is_rehearsal:  # on the CPU, shards do not share anything
        _record_sharing(job, kwargs)
    _record_bottleneck(job, kwargs)


def _random_weights(job: Job) -> str:
    """Write a state dict of the encoder: as fast as the published weights, with worse features."""
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    network = EfficientNet.from_name(LITE0)
    # Without statistics of its batches, the activations of a random network vanish from layer to layer.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.rand(64, 3, 64, 64) * 2 - 1)
    path = job.work / "random-weights.pt"
    torch.save(network.state_dict(), path)
    return str(path)


def _record_audit(job: Job, kwargs: dict[str, object]) -> None:
    audit = timed_audit(
        job,
        job.fewer_images,
        "gpu-kit-views",
        model={"encoder": LITE0, "encoder_kwargs": kwargs, "views": job.sizes.views},
        training={"device": job.device, "epochs": job.sizes.shared_epochs},
    )
    record, folds = job.record, audit.folds
    record.figure("images", job.sizes.fewer_images)
    record_seconds(job, audit)
    record.figure("images encoded per second", job.sizes.fewer_images / audit.step_seconds("encode"), "images/s")
    record.figure("GPU utilisation while images are encoded", audit.utilisation("encode"), "%")
    record.figure("GPU utilisation while folds train", audit.utilisation("train_folds"), "%")
    record.figure("GPU memory in use at most", audit.gpu.peak_mib(), "MiB")
    for view in job.sizes.views:
        rows = [row for row, name in enumerate(folds["view"]) if name == view]
        seconds = [folds["seconds"][row] for row in rows]
        precision = f"{folds['precision'][rows[0]]} on {folds['device'][rows[0]]}"
        record.figure(f"{view}: seconds of the fastest and slowest fold", f"{min(seconds)} and {max(seconds)}", "s")
        record.figure(f"{view}: precision", precision)
    record_found_errors(job, audit)


def _record_sharing(job: Job, kwargs: dict[str, object]) -> None:
    """Record an audit of which four shards and folds at a time share the GPU."""
    audit = timed_audit(
        job,
        job.fewer_images,
        "gpu-kit-shared",
        model={"encoder": LITE0, "encoder_kwargs": kwargs, "views": ["probe"]},
        training={"device": job.device},
        workers={"gpus_per_fold": 1 / _SHARING},
    )
    record, name = job.record, f"{_SHARING} jobs share the GPU"
    record.figure(
        f"{name}: images encoded per second", job.sizes.fewer_images / audit.step_seconds("encode"), "images/s"
    )
    record.figure(f"{name}: GPU utilisation while images are encoded", audit.utilisation("encode"), "%")
    record.figure(f"{name}: GPU memory in use at most", audit.gpu.peak_mib(), "MiB")


def _record_bottleneck(job: Job, kwargs: dict[str, object]) -> None:
    """Record decoding and the forward pass alone."""
    spec = choose_encoder(LITE0, kind="image", image_size=(32, 32), kwargs=kwargs, weights=None)
    assert spec is not None
    side, cores = spec.input_size, len(os.sched_getaffinity(0))
    table = pq.read_table(min(job.images.glob("*.parquet")), columns=["image"])
    files: list[bytes] = table["image"].to_pylist()
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]

    def decode(chunk: list[bytes]) -> np.ndarray:
        return decode_images(chunk, len(chunk), (side, side), 3)[0]

    with ThreadPoolExecutor(cores) as pool:
        started = time.perf_counter()
        pixels = np.concatenate(list(pool.map(decode, chunks)))
        decoding = len(files) / (time.perf_counter() - started)
    encoder = load_encoder(spec, device=job.device)
    encoder.encode(pixels)  # the first batch of each size takes seconds on a GPU
    forward = len(files) / _seconds(lambda: encoder.encode(pixels))
    record = job.record
    record.figure(f"decoding and enlarging alone, {cores} threads", decoding, "images/s")
    record.figure("forward pass alone", forward, "images/s")
    record.figure("precision of the encoder", encoder.precision)
    record.figure("bottleneck of the encoding", "decoding" if decoding < forward else "the forward pass")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
