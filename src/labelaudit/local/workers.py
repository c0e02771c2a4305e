"""Folds in spawned processes of this machine: one per GPU slot, or a fair share of the CPU cores each.

A worker process is given references on its standard input, one fold after the other, and answers with lines
of JSON: progress while it trains, then a result or an error. Nothing is forked and nothing is pickled. When
the parent dies, the worker's standard input ends, and it ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

import labelaudit.errors as errors
from labelaudit.audits.references import FoldReference, PreparedReference
from labelaudit.errors import ConfigError, LabelauditError, TrainingError, WorkerDiedError

# Called as on_epoch(fold, epoch, epochs, loss) while a fold trains.
OnEpoch = Callable[[int, int, int, float], None]


@dataclass(frozen=True)
class Slot:
    """A place for one fold: GPUs by their numbers ("0" or "0,1"), or the CPU (None).

    What a `lean` one frees goes back to the system at once, so that its peak is that of what it uses.
    """

    gpu: str | None
    threads: int
    lean: bool = False

    def environment(self) -> dict[str, str]:
        variables = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "OPENBLAS_NUM_THREADS": str(self.threads),
        }
        # Else a fold that is planned for the CPU would find the GPUs of the machine, uncounted.
        variables["CUDA_VISIBLE_DEVICES"] = self.gpu or ""
        if self.lean:
            # Else glibc keeps freed blocks of up to 32 MiB, in pieces: a third more was seen with large images.
            variables["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
            # Fresh blocks cost page faults, which made predictions 2.5 times as slow: large pages have few.
            variables["THP_MEM_ALLOC_ENABLE"] = "1"
        return variables


def describe_slots(slots: list[Slot]) -> str:
    """Where folds train, in words."""
    place = "GPUs" if slots[0].gpu is not None else "the CPU"
    threads = "1 thread" if slots[0].threads == 1 else f"{slots[0].threads} threads"
    return f"on {place}, {len(slots)} at a time, {threads} each"


def fair_threads(folds: int, max_parallel: int | None) -> int:
    """CPU threads of one fold where all of them share the cores of this machine evenly."""
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // max(1, min(folds, max_parallel or cores)))


def plan_slots(
    *, folds: int, device: str, max_parallel: int | None, gpus_per_fold: float, threads: int | None = None
) -> list[Slot]:
    """The places in which folds train side by side.

    A GPU takes `1 / gpus_per_fold` folds, or a fold takes so many GPUs. On the CPU, as many folds as there
    are cores, with the cores shared out evenly: on 2 cores, two folds of one thread each finish before two
    folds of two threads one after the other (docs/image-training.md). The threads of a fold do not depend on
    how many folds are left, so that a resumed audit has the same bytes.
    """
    if device.startswith("cuda") and not gpus_per_fold:
        raise ConfigError(
            f"training.device is {device!r}, but workers.gpus_per_fold is 0, which leaves a fold no GPU. "
            "Raise workers.gpus_per_fold, or set training.device to cpu."
        )
    gpus = [] if device == "cpu" or not gpus_per_fold else visible_gpus()
    if device.startswith("cuda") and not gpus:
        raise TrainingError(
            f"training.device is {device!r}, but no CUDA device is visible on this machine. Run the audit "
            "where one is, or set training.device to cpu or auto."
        )
    cores = len(os.sched_getaffinity(0))
    if not gpus:
        parallel = max(1, min(folds, max_parallel or cores))
        return [Slot(None, threads or fair_threads(folds, max_parallel)) for _ in range(parallel)]
    if ":" in device:
        number = int(device.partition(":")[2])
        if number >= len(gpus):
            raise TrainingError(
                f"training.device is {device!r}, but {len(gpus)} CUDA devices are visible: "
                "the last one is cuda:" + str(len(gpus) - 1) + "."
            )
        gpus = [gpus[number]]
    places = _share_out(gpus, gpus_per_fold)[: max_parallel or None]
    return [Slot(gpu, threads or max(1, cores // len(places))) for gpu in places[:folds]]


def _share_out(gpus: list[str], gpus_per_fold: float) -> list[str]:
    """Which GPUs each fold sees, one entry per fold that fits; neighbours take different GPUs."""
    if gpus_per_fold <= 1:
        # Half a fold fits nowhere; the tolerance is for 1 / 0.1 and its like.
        return [gpu for _ in range(int(1 / gpus_per_fold + 1e-9)) for gpu in gpus]
    together = int(gpus_per_fold)
    if together > len(gpus):
        raise TrainingError(
            f"workers.gpus_per_fold is {together}, but {len(gpus)} CUDA devices are visible on this machine. "
            "Lower it, or run the audit where more are."
        )
    return [",".join(gpus[first : first + together]) for first in range(0, len(gpus) - together + 1, together)]


def has_gpu_driver() -> bool:
    """Whether this machine seems to have an NVIDIA driver: without one there is no CUDA device to ask torch for."""
    return shutil.which("nvidia-smi") is not None or os.path.exists("/dev/nvidia0")


def visible_gpus() -> list[str]:
    """Identifiers of the CUDA devices that this process may use, in the order of their numbers."""
    if not has_gpu_driver():
        return []
    # Asked of torch, in a process of its own: the parent never holds a CUDA context.
    answer = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        capture_output=True,
        text=True,
        check=False,
    )
    count = int(answer.stdout or 0) if answer.returncode == 0 else 0
    named = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    return named[:count] or [str(number) for number in range(count)]


class LocalWorkers:
    """Trains folds in worker processes, at most one per slot at a time; safe to use from several threads.

    As a context manager it ends, on leaving, all workers that still run.
    """

    def __init__(self, slots: list[Slot], on_epoch: OnEpoch | None = None) -> None:
        self.slots = slots
        self._on_epoch = on_epoch
        self._workers = [_Worker(slot) for slot in slots]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._is_stopped = False

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped = True
        for worker in self._workers:
            worker.kill()
        # Each comes back from the thread that used it, which reads its last words first.
        ended = [self._free.get() for _ in self._workers]
        for worker in ended:
            worker.close()
            self._free.put(worker)

    def train(self, reference: PreparedReference, fold: int) -> FoldReference:
        """Train one fold as soon as a slot is free.

        Raises what the worker raised, or `WorkerDiedError` when it ended without an answer.
        """
        worker = self._free.get()
        try:
            if self._is_stopped:
                raise TrainingError(f"Fold {fold} is not trained, because the audit ended before it.")
            return self._ask(worker, reference, fold)
        except WorkerDiedError as error:
            if self._is_stopped:
                raise TrainingError(f"Fold {fold} was stopped, because the audit ended before it.") from error
            raise
        finally:
            self._free.put(worker)

    def _ask(self, worker: _Worker, reference: PreparedReference, fold: int) -> FoldReference:
        for answer in worker.answers({"reference": asdict(reference), "fold": fold}):
            if "result" in answer:
                return FoldReference(**answer["result"])
            if "error" in answer:
                # An error of CUDA stays with its process, which would fail each fold that comes after.
                worker.end()
                raise _rebuilt_error(answer)
            if self._on_epoch is not None:
                self._on_epoch(fold, answer["epoch"], answer["epochs"], answer["loss"])
        raise WorkerDiedError(worker.obituary(fold))


class _Worker:
    """The process of one slot: started for its first fold, kept for the next, replaced when it died."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self._is_ended = False
        self._lock = threading.Lock()

    def answers(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Ask, and yield the answers as they come; they end when the process does."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            yield json.loads(line)

    def obituary(self, fold: int) -> str:
        """Why the process ended, as far as its exit code and its last words tell."""
        assert self._process is not None
        assert self._log is not None
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read()[-4000:].strip().splitlines()
        last = f" Its last words: {lines[-1][:300]}" if lines else ""
        cause = f"exit code {code}"
        if code < 0:
            cause = f"signal {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            cause += ", often a lack of memory: lower training.batch_size or workers.max_parallel"
        return f"The worker of fold {fold} ended without a result ({cause}).{last}"

    def end(self) -> None:
        """End the process; the next fold has a new one. Only from the thread that asks."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End the process from any thread; no other is started after it."""
        with self._lock:
            self._is_ended = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Forget an ended process; only where no thread waits for its answers."""
        if self._process is None or self._log is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        self._log.close()
        self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        with self._lock:
            # Checked under the lock: a process started after `kill` would never be ended.
            if self._is_ended:
                raise TrainingError("No fold is trained any more, because the audit ended before it.")
            self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed with the process)
            self._process = start_worker(self._slot.environment(), self._log)
        return self._process


def start_worker(environment: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
    """Start a worker process in a new interpreter; what it prints goes to `log`."""
    return subprocess.Popen(
        [sys.executable, "-m", "labelaudit.local.worker_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment,
        # Ctrl-C reaches the parent alone, which then ends its workers.
        start_new_session=True,
    )


def _rebuilt_error(answer: dict[str, Any]) -> LabelauditError:
    kind = getattr(errors, answer["error"], TrainingError)
    return kind(answer["message"])
