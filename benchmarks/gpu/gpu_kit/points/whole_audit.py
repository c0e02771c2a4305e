"""Point 2: a whole audit, `labelaudit run` without a Prefect server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gpu_kit.datasets import PLANTED
from gpu_kit.jobs import Job
from gpu_kit.utilisation import Utilisation

TITLE = "A whole audit (`labelaudit run`)"
_STEPS = {
    "prepare": "reading and decoding the dataset",
    "train_folds": "training and predicting all folds",
    "gather": "checking the probabilities",
    "detect": "finding label issues",
    "publish": "writing and publishing the report",
}


def measure(job: Job) -> None:
    sizes, steps_file, config_file = job.sizes, job.work / "steps.json", job.work / "audit.yaml"
    config = {
        "dataset": {"url": str(job.images), "label": "label", "id": "id", "name": "gpu-kit", "version": "1"},
        # The machine has no encoder, and the figures are about training the network.
        "model": {"encoder": "none"},
        "training": {"device": job.device, "epochs": sizes.epochs},
        "cross_validation": {"folds": sizes.folds},
        "workers": {"max_parallel": 1 if job.is_rehearsal else "auto"},
        "output": {"url": str(job.work / "audits")},
    }
    config_file.write_text(json.dumps(config))  # JSON is YAML
    command = [sys.executable, "-m", "gpu_kit.timed_command", str(steps_file), "run", str(config_file), "--json"]
    started = time.perf_counter()
    with Utilisation() as gpu:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"labelaudit run ended with exit code {done.returncode}; its messages are in the log.")
    steps = json.loads(steps_file.read_text())
    folds, found = _published(job, json.loads(done.stdout))
    _record_seconds(job, seconds, steps, folds)
    began, took = steps["train_folds"]
    job.record.figure("GPU utilisation while folds train", gpu.mean_percent(began, began + took), "%")
    job.record.figure("GPU utilisation over the whole command", gpu.mean_percent(), "%")
    job.record.figure("GPU memory in use at most", gpu.peak_mib(), "MiB")
    for name, value in found.items():
        job.record.figure(name, value)


def _record_seconds(job: Job, seconds: float, steps: dict[str, Any], folds: dict[str, list[Any]]) -> None:
    record, images = job.record, job.sizes.images
    record.figure("images", images)
    record.figure("folds", job.sizes.folds)
    record.figure("epochs of each fold", folds["epochs"][0])
    record.figure("precision", f"{folds['precision'][0]} on {folds['device'][0]}")
    record.figure("the whole command", seconds, "s")
    record.figure("start of Python and imports", seconds - sum(took for _, took in steps.values()), "s")
    for name, title in _STEPS.items():
        record.figure(title, steps[name][1], "s")
    others = sum(took for name, (_, took) in steps.items() if name not in _STEPS)
    record.figure("other steps", others, "s")
    record.figure("images per second, whole command", images / seconds, "images/s")
    record.figure("images per second, reading and decoding", images / steps["prepare"][1], "images/s")
    trained = sum(rows * epochs for rows, epochs in zip(folds["training_examples"], folds["epochs"], strict=True))
    record.figure("images trained on per second, all folds", trained / steps["train_folds"][1], "images/s")
    record.figure(
        "seconds of the fastest and slowest fold", f"{min(folds['seconds'])} and {max(folds['seconds'])}", "s"
    )


def _published(job: Job, audit: dict[str, Any]) -> tuple[dict[str, list[Any]], dict[str, float | int]]:
    """Return `folds.parquet` by column, and the number of planted errors that were found."""
    folder = Path(audit["audit_url"].removeprefix("file://"))
    examples = pq.read_table(folder / "examples.parquet", columns=["example_id", "is_label_issue"]).to_pydict()
    flagged = {name for name, flag in zip(examples["example_id"], examples["is_label_issue"], strict=True) if flag}
    planted = set(json.loads((job.work / PLANTED).read_text()))
    found = {
        "planted label errors": len(planted),
        "flagged rows": len(flagged),
        "share of flagged rows that are planted errors": len(flagged & planted) / max(1, len(flagged)),
        "share of planted errors that are flagged": len(flagged & planted) / max(1, len(planted)),
    }
    return pq.read_table(folder / "folds.parquet").to_pydict(), found
