"""Point 4: all folds in one process and one process per fold, with the workers of an audit."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gpu_kit.jobs import Job
from gpu_kit.utilisation import Utilisation
from labelaudit.audit import fold_references
from labelaudit.audits.audit_plan import output_store
from labelaudit.audits.jobs import FoldJob
from labelaudit.audits.references import PlanReference
from labelaudit.config import build_config
from labelaudit.local.workers import LocalWorkers, Slot, visible_gpus
from labelaudit.pipeline.plan import prepare
from labelaudit.storage.manifest import read_json

TITLE = "All folds in one process, or one process per fold"
ONE_PROCESS = "one process, one fold after the other"
AT_ONCE = "one process per fold, all at once"


def measure(job: Job) -> None:
    folds = job.sizes.shared_folds
    slot = _slot(job)
    job.record.figure("images", job.sizes.fewer_images)
    job.record.figure("folds", folds)
    job.record.figure("epochs", job.sizes.shared_epochs)
    digests: list[list[str]] = []
    for name, processes in ((ONE_PROCESS, 1), (AT_ONCE, folds)):
        reference = _prepared(job, len(digests))
        with Utilisation() as gpu:
            began, started = time.time(), time.perf_counter()
            records = _train(reference, [slot] * processes, range(folds))
            seconds, ended = time.perf_counter() - started, time.time()
        digests.append([record["sha256"] for record in records])
        job.record.figure(f"{name}: wall time", seconds, "s")
        job.record.figure(f"{name}: sum over folds, without starts", sum(one["seconds"] for one in records), "s")
        job.record.figure(f"{name}: GPU utilisation", gpu.mean_percent(began, ended), "%")
        job.record.figure(f"{name}: GPU memory in use at most", gpu.peak_mib(), "MiB")
    same = all(digest == digests[0] for digest in digests)
    job.record.figure(
        "probabilities, both ways", "same bytes" if same else "different bytes", target="same bytes", is_met=same
    )


def _slot(job: Job) -> Slot:
    """Return a slot on the first GPU, with the same number of CPU threads in every way."""
    gpu = None if job.is_rehearsal else visible_gpus()[0]
    return Slot(gpu, max(1, len(os.sched_getaffinity(0)) // job.sizes.shared_folds))


def _prepared(job: Job, number: int) -> PlanReference:
    """Return the dataset, prepared for its own output, because a committed fold is not trained again."""
    config = build_config(
        {
            "dataset": {"url": str(job.fewer_images), "label": "label", "id": "id", "name": "gpu-kit", "version": "1"},
            # Folds with an encoder would encode the images first.
            "model": {"encoder": "none"},
            "training": {"device": job.device, "epochs": job.sizes.shared_epochs},
            "cross_validation": {"folds": job.sizes.shared_folds},
            "output": {"url": str(job.work / f"shared-{number}")},
        }
    )
    return prepare(config)


def _train(reference: PlanReference, slots: list[Slot], folds: Sequence[int]) -> list[dict[str, Any]]:
    """Train the folds in one worker process per slot, and return their records."""
    with ThreadPoolExecutor(len(slots)) as pool, LocalWorkers(slots) as workers:
        list(pool.map(lambda fold: workers.work_on(FoldJob(reference, fold)), folds))
    store = output_store(reference)
    return [read_json(store, fold.keys[0]) for fold in fold_references(reference, folds)]
