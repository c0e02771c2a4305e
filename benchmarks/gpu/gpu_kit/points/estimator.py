"""Point 3: `TorchClassifier` against a hand-written loop with the same module, steps, optimizer and data."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gpu_kit.datasets import CLASSES, draw_images
from gpu_kit.jobs import Job
from labelaudit import TorchClassifier
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.networks import MLP, SmallResNet

TITLE = "The estimator against a bare loop"
LIMIT = 1.05
_RATE = 3e-3


@dataclass(frozen=True)
class Case:
    """`data` (N, ...) float32, or (N, H, W, C) uint8 for images; `labels` (N,) int64."""

    title: str
    module: Callable[[], nn.Module]
    data: np.ndarray
    labels: np.ndarray
    batch_size: int
    epochs: int
    precision: str

    @property
    def is_image(self) -> bool:
        return self.data.ndim == 4


def measure(job: Job) -> None:
    for case in _cases(job):
        few = _part(case, 2 * case.batch_size)
        for contender in (_ours, _bare):
            contender(few, job.device)  # warm-up, not timed
        ours, bare = [], []
        for _ in range(job.sizes.rounds):  # in turn, so that a slow machine slows both
            ours.append(_ours(case, job.device))
            bare.append(_bare(case, job.device))
        _record(job, case, ours, bare)
    job.record.note(
        "Both move the data to the device, build the module and train it; ours also checks the labels and keeps to "
        "kernels of cuDNN that repeat themselves, which the bare loop need not. Ratios are medians over rounds."
    )


def _record(job: Job, case: Case, ours: list[dict[str, Any]], bare: list[dict[str, Any]]) -> None:
    fit, loop = (statistics.median(run["fit"] for run in runs) for runs in (ours, bare))
    ratio = statistics.median(one["fit"] / other["fit"] for one, other in zip(ours, bare, strict=True))
    predict = statistics.median(run["predict"] for run in ours) / statistics.median(run["predict"] for run in bare)
    record, title = job.record, case.title
    record.figure(f"{title}: fit", fit, "s")
    record.figure(f"{title}: bare loop", loop, "s")
    record.figure(f"{title}: ratio", ratio, "x", target=f"at most {LIMIT}", is_met=job.judged(ratio <= LIMIT))
    record.figure(f"{title}: steps per second", case.epochs * -(-len(case.labels) // case.batch_size) / fit, "steps/s")
    record.figure(f"{title}: prediction, ratio", predict, "x")
    record.figure(f"{title}: GPU memory of the fit", ours[-1]["mib"], "MiB")
    record.figure(f"{title}: GPU memory of the bare loop", bare[-1]["mib"], "MiB")
    record.figure(f"{title}: accuracy, ours and bare", f"{ours[-1]['accuracy']:.3f} and {bare[-1]['accuracy']:.3f}")


def _cases(job: Job) -> list[Case]:
    sizes = job.sizes
    generator = np.random.default_rng(0)
    X = generator.standard_normal((sizes.table_rows, 32), np.float32)
    y = (X @ generator.standard_normal((32, 5), np.float32)).argmax(1)
    pixels, classes = draw_images(0, sizes.estimator_images)
    reduced = "float32" if job.is_rehearsal else "bfloat16"
    return [
        Case("table, MLP, float32", _mlp, X, y, 1024, sizes.estimator_epochs, "float32"),
        Case("images, small CNN, float32", _cnn, pixels, classes, 256, sizes.estimator_epochs, "float32"),
        Case(f"images, small CNN, {reduced}", _cnn, pixels, classes, 256, sizes.estimator_epochs, reduced),
    ]


def _mlp() -> nn.Module:
    return MLP(5, (32,), hidden=(64,))


def _cnn() -> nn.Module:
    return SmallResNet(len(CLASSES), (3, 32, 32))


def _part(case: Case, rows: int) -> Case:
    return Case(case.title, case.module, case.data[:rows], case.labels[:rows], case.batch_size, 1, case.precision)


def _ours(case: Case, device: str) -> dict[str, Any]:
    dataset = ImageInputs(case.data, np.arange(len(case.data))) if case.is_image else None
    X = np.arange(len(case.data)) if case.is_image else case.data
    classifier = TorchClassifier(
        case.module,
        epochs=case.epochs,
        batch_size=case.batch_size,
        learning_rate=_RATE,
        schedule="constant",
        optimizer__weight_decay=0.0,
        precision=case.precision,
        device=device,
        dataset=dataset,
    )
    return _timed(lambda: classifier.fit(X, case.labels), lambda: classifier.predict_proba(X), case, device)


def _bare(case: Case, device: str) -> dict[str, Any]:
    place = torch.device(device)
    trained: list[nn.Module] = []

    def forward(module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(place.type, torch.bfloat16, enabled=case.precision == "bfloat16"):
            scores: torch.Tensor = module(batch.permute(0, 3, 1, 2) if case.is_image else batch)
        return scores.float()

    def fit() -> None:
        torch.manual_seed(0)
        data, labels = torch.from_numpy(case.data).to(place), torch.from_numpy(case.labels).to(place)
        module = case.module().to(place)
        module = module.to(memory_format=torch.channels_last) if case.is_image else module
        optimizer = torch.optim.AdamW(module.parameters(), lr=_RATE, weight_decay=0.0, fused=True)
        module.train()
        for _ in range(case.epochs):
            for batch in torch.randperm(len(data), device=place).split(case.batch_size):
                optimizer.zero_grad()
                functional.cross_entropy(forward(module, data[batch]), labels[batch]).backward()
                optimizer.step()
        trained.append(module)

    @torch.inference_mode()
    def predict() -> np.ndarray:
        module = trained[0].eval()
        parts = torch.from_numpy(case.data).to(place).split(1024)
        probabilities: np.ndarray = torch.cat([forward(module, part).softmax(1) for part in parts]).cpu().numpy()
        return probabilities

    return _timed(fit, predict, case, device)


def _timed(fit: Callable[[], Any], predict: Callable[[], np.ndarray], case: Case, device: str) -> dict[str, Any]:
    """Seconds of a fit and of a prediction of all rows, accuracy, and peak GPU memory of the fit in MiB."""
    on_gpu = device != "cpu"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    fit()
    if on_gpu:
        torch.cuda.synchronize()
    fitted = time.perf_counter()
    mib = (torch.cuda.max_memory_allocated() - before) / 2**20 if on_gpu else None
    begun = time.perf_counter()
    probabilities = predict()
    ended = time.perf_counter()
    accuracy = float((probabilities.argmax(1) == case.labels).mean())
    return {"fit": fitted - started, "predict": ended - begun, "mib": mib, "accuracy": accuracy}
