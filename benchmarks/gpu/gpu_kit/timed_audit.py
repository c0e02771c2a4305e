"""`labelaudit run` in a process of its own, with the seconds of each step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gpu_kit.datasets import PLANTED
from gpu_kit.jobs import Job
from gpu_kit.utilisation import Utilisation

_TITLES = {
    "prepare": "reading and decoding the dataset",
    "encode": "encoding all images",
    "train_folds": "training and predicting all folds",
    "gather": "checking the probabilities",
    "detect": "finding label issues",
    "publish": "writing and publishing the report",
}


@dataclass(frozen=True)
class TimedAudit:
    """A finished audit.

    `steps`: by name, the start in seconds since the epoch and the duration in seconds. `folds`: `folds.parquet` by
    column. `audited` and `flagged` are ids.
    """

    seconds: float
    steps: dict[str, tuple[float, float]]
    folds: dict[str, list[Any]]
    audited: set[str]
    flagged: set[str]
    gpu: Utilisation

    def step_seconds(self, name: str) -> float:
        return self.steps[name][1] if name in self.steps else 0.0

    def utilisation(self, step: str) -> float | None:
        """Return how busy the GPU was during a step, in percent."""
        began, took = self.steps[step]
        return self.gpu.mean_percent(began, began + took)


def timed_audit(job: Job, images: Path, name: str, **sections: Mapping[str, object]) -> TimedAudit:
    """Audit images of the kit.

    Args:
        images: their folder.
        name: of the dataset in the output; audits of one name would share features.
        sections: of the config, beyond those that are the same for all audits.

    Raises:
        RuntimeError: the command failed.
    """
    steps_file, config_file = job.work / f"{name}.steps.json", job.work / f"{name}.yaml"
    config = {
        "dataset": {"url": str(images), "label": "label", "id": "id", "name": name, "version": "1"},
        "cross_validation": {"folds": job.sizes.folds},
        "workers": {"max_parallel": 1 if job.is_rehearsal else "auto"},
        "output": {"url": str(job.work / "audits")},
        **sections,
    }
    config_file.write_text(json.dumps(config))  # JSON is YAML
    command = [sys.executable, "-m", "gpu_kit.timed_command", str(steps_file), "run", str(config_file), "--json"]
    started = time.perf_counter()
    with Utilisation() as gpu:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"labelaudit run ended with exit code {done.returncode}; its messages are in the log.")
    folder = Path(json.loads(done.stdout)["audit_url"].removeprefix("file://"))
    examples = pq.read_table(folder / "examples.parquet", columns=["example_id", "is_label_issue"])
    flagged = examples.filter(examples["is_label_issue"])
    return TimedAudit(
        seconds=seconds,
        steps=json.loads(steps_file.read_text()),
        folds=pq.read_table(folder / "folds.parquet").to_pydict(),
        audited=set(examples["example_id"].to_pylist()),
        flagged=set(flagged["example_id"].to_pylist()),
        gpu=gpu,
    )


def record_seconds(job: Job, audit: TimedAudit) -> None:
    """Record the seconds of the command and of each step."""
    record = job.record
    record.figure("the whole command", audit.seconds, "s")
    inside = sum(took for _, took in audit.steps.values())
    record.figure("start of Python and imports", audit.seconds - inside, "s")
    for name, title in _TITLES.items():
        if name in audit.steps:
            record.figure(title, audit.step_seconds(name), "s")
    record.figure("other steps", inside - sum(map(audit.step_seconds, _TITLES)), "s")


def record_found_errors(job: Job, audit: TimedAudit) -> None:
    """Record how many of the planted errors were flagged."""
    planted = audit.audited & set(json.loads((job.work / PLANTED).read_text()))
    found = len(audit.flagged & planted)
    record = job.record
    record.figure("planted label errors", len(planted))
    record.figure("flagged rows", len(audit.flagged))
    record.figure("share of flagged rows that are planted errors", found / max(1, len(audit.flagged)))
    record.figure("share of planted errors that are flagged", found / max(1, len(planted)))
