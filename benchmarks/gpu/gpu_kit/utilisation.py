"""Utilisation and memory of a GPU, sampled from nvidia-smi twice a second."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Self

_PERIOD_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0
_QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Sample:
    """One sample: `at` in seconds since the epoch, `percent` of the time busy, `mib` of memory in use."""

    at: float
    percent: float
    mib: float


class Utilisation:
    """A context that samples the first visible GPU. Without nvidia-smi there are no samples."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def mean_percent(self, since: float = 0.0, until: float = float("inf")) -> float | None:
        """Return the mean of the samples between two times (seconds since the epoch)."""
        chosen = [sample.percent for sample in self._samples if since <= sample.at <= until]
        return sum(chosen) / len(chosen) if chosen else None

    def peak_mib(self) -> float | None:
        """Return the largest memory in use by all processes."""
        return max((sample.mib for sample in self._samples), default=None)

    def _watch(self) -> None:
        tool = shutil.which("nvidia-smi")
        if tool is None:
            return
        while not self._is_over.wait(_PERIOD_SECONDS):
            command = [tool, "-i", first_visible_gpu(), *_QUERY]
            try:
                answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            sample = parse(answer.stdout) if answer.returncode == 0 else None
            if sample is not None:
                self._samples.append(sample)


def first_visible_gpu() -> str:
    """Return the number or UUID of CUDA device 0."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"


def parse(answer: str) -> Sample | None:
    """Return the sample in a line such as "87, 1204"; None for lines such as "[N/A], 1204"."""
    try:
        percent, mib = (float(part) for part in answer.strip().splitlines()[0].split(","))
    except (IndexError, ValueError):
        return None
    return Sample(time.time(), percent, mib)
