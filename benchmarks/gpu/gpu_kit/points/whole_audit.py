"""Point 2: a whole audit, `labelaudit run` without a Prefect server."""

from __future__ import annotations

from gpu_kit.jobs import Job
from gpu_kit.timed_audit import TimedAudit, record_found_errors, record_seconds, timed_audit

TITLE = "A whole audit (`labelaudit run`)"


def measure(job: Job) -> None:
    audit = timed_audit(
        job,
        job.images,
        "gpu-kit",
        # The figures are about training the network; the last point measures the other views.
        model={"encoder": "none"},
        training={"device": job.device, "epochs": job.sizes.epochs},
    )
    folds, record = audit.folds, job.record
    record.figure("images", job.sizes.images)
    record.figure("folds", job.sizes.folds)
    record.figure("epochs of each fold", folds["epochs"][0])
    record.figure("precision", f"{folds['precision'][0]} on {folds['device'][0]}")
    record_seconds(job, audit)
    _record_rates(job, audit)
    record.figure("GPU utilisation while folds train", audit.utilisation("train_folds"), "%")
    record.figure("GPU utilisation over the whole command", audit.gpu.mean_percent(), "%")
    record.figure("GPU memory in use at most", audit.gpu.peak_mib(), "MiB")
    record_found_errors(job, audit)


def _record_rates(job: Job, audit: TimedAudit) -> None:
    folds, record, images = audit.folds, job.record, job.sizes.images
    record.figure("images per second, whole command", images / audit.seconds, "images/s")
    record.figure("images per second, reading and decoding", images / audit.step_seconds("prepare"), "images/s")
    trained = sum(rows * epochs for rows, epochs in zip(folds["training_examples"], folds["epochs"], strict=True))
    record.figure("images trained on per second, all folds", trained / audit.step_seconds("train_folds"), "images/s")
    record.figure(
        "seconds of the fastest and slowest fold", f"{min(folds['seconds'])} and {max(folds['seconds'])}", "s"
    )
