"""Worker processes on this machine that do the jobs of an audit: one per GPU slot, or one per share of the CPU cores.

A worker process reads one job after the other from its standard input and answers in lines of JSON: progress while it
works, then that the job is done, or an error. Processes are spawned, not forked, and nothing is pickled. If the parent
dies, the worker's standard input ends and the worker exits.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import labelaudit.errors as errors
from labelaudit.audits.jobs import Job, JobProgress
from labelaudit.errors import ConfigError, LabelauditError, TrainingError, WorkerDiedError
from labelaudit.local.messages import JobDone, JobFailed, JobRequest, WorkerAnswer, read_answer, to_line
from labelaudit.local.python_path import python_command, python_environment

# Called while a job runs, in the thread that waits for it.
OnProgress = Callable[[Job, JobProgress], None]


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time.

    Attributes:
        gpu: Identifiers of its GPUs ("0" or "0,1"), or None for the CPU.
        threads: CPU threads of the worker process.
        lean: Whether the worker returns freed memory to the system at once, which lowers its peak.
    """

    gpu: str | None
    threads: int
    lean: bool = False

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the slot's worker process."""
        variables = {
            **python_environment(),
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "OPENBLAS_NUM_THREADS": str(self.threads),
        }
        # By default, OpenMP threads spin while they wait. If other work used the same cores, a fold took twice as long.
        variables.setdefault("OMP_WAIT_POLICY", "passive")
        # An empty value hides all GPUs; otherwise a fold planned for the CPU could use one.
        variables["CUDA_VISIBLE_DEVICES"] = self.gpu or ""
        if self.lean:
            # By default, glibc keeps freed blocks of up to 32 MiB, which used a third more memory with large images.
            variables["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
            # New blocks cause page faults, which made predictions 2.5 times slower. Huge pages cause fewer.
            variables["THP_MEM_ALLOC_ENABLE"] = "1"
        return variables


def describe_slots(slots: list[Slot]) -> str:
    """Return in words where jobs run."""
    place = "GPUs" if slots[0].gpu is not None else "the CPU"
    threads = "1 thread" if slots[0].threads == 1 else f"{slots[0].threads} threads"
    return f"on {place}, {len(slots)} at a time, {threads} each"


def fair_threads(folds: int, max_parallel: int | None) -> int:
    """Return the CPU threads of one fold if all folds share the cores of this machine evenly."""
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // max(1, min(folds, max_parallel or cores)))


def plan_slots(
    *, folds: int, device: str, max_parallel: int | None, gpus_per_fold: float, threads: int | None = None
) -> list[Slot]:
    """Return the slots of this machine: folds train in the first ones, a fold in each, and shards are encoded in all.

    On GPUs, a slot has `gpus_per_fold` GPUs, or `1 / gpus_per_fold` slots share one. On the CPU there is a slot per
    core, and the slots share the cores evenly: on 2 cores, two parallel folds with one thread each finish before two
    sequential folds with two threads (docs/image-training.md). Cores that are left over become more slots of as many
    threads. The threads of a fold do not depend on how many folds are left, so that a resumed audit gives the same
    bytes.

    Args:
        folds: Number of folds of the audit.
        device: `training.device`: "auto", "cpu", "cuda" or "cuda:<number>".
        max_parallel: Upper limit of slots, or None.
        gpus_per_fold: GPUs of a slot; 0 to train on the CPU.
        threads: CPU threads of a slot, or None to share the cores.

    Raises:
        ConfigError: `device` and `gpus_per_fold` contradict each other.
        TrainingError: A requested GPU is not available.
    """
    if device.startswith("cuda") and not gpus_per_fold:
        raise ConfigError(
            f"training.device is {device!r}, but workers.gpus_per_fold is 0, so a fold has no GPU. "
            "Raise workers.gpus_per_fold, or set training.device to cpu."
        )
    gpus = [] if device == "cpu" or not gpus_per_fold else visible_gpus()
    if device.startswith("cuda") and not gpus:
        raise TrainingError(
            f"training.device is {device!r}, but no CUDA device is visible on this machine. Run the audit "
            "on a machine with a GPU, or set training.device to cpu or auto."
        )
    cores = len(os.sched_getaffinity(0))
    if not gpus:
        threads = threads or fair_threads(folds, max_parallel)
        parallel = max(1, min(folds, max_parallel or cores), min(cores // threads, max_parallel or cores))
        return [Slot(None, threads)] * parallel
    if ":" in device:
        number = int(device.partition(":")[2])
        if number >= len(gpus):
            raise TrainingError(
                f"training.device is {device!r}, but {len(gpus)} CUDA devices are visible: the last one is "
                f"cuda:{len(gpus) - 1}. Choose one of them."
            )
        gpus = [gpus[number]]
    places = _share_out(gpus, gpus_per_fold)[: max_parallel or None]
    return [Slot(gpu, threads or max(1, cores // len(places))) for gpu in places]


def _share_out(gpus: list[str], gpus_per_fold: float) -> list[str]:
    """Return the GPUs of each slot. Consecutive slots use different GPUs."""
    if gpus_per_fold <= 1:
        # The tolerance corrects the rounding of floats such as 1 / 0.1.
        return [gpu for _ in range(int(1 / gpus_per_fold + 1e-9)) for gpu in gpus]
    size = int(gpus_per_fold)
    if size > len(gpus):
        raise TrainingError(
            f"workers.gpus_per_fold is {size}, but {len(gpus)} CUDA devices are visible on this machine. "
            "Lower it, or run the audit on a machine with more GPUs."
        )
    return [",".join(gpus[first : first + size]) for first in range(0, len(gpus) - size + 1, size)]


def has_gpu_driver() -> bool:
    """Return whether this machine seems to have an NVIDIA driver. Without one, torch finds no CUDA device."""
    return shutil.which("nvidia-smi") is not None or os.path.exists("/dev/nvidia0")


def visible_gpus() -> list[str]:
    """Return the identifiers of the CUDA devices that this process may use, in the order of their numbers."""
    if not has_gpu_driver():
        return []
    # torch runs in a process of its own, so that the parent never has a CUDA context.
    answer = subprocess.run(
        python_command("-c", "import torch; print(torch.cuda.device_count())"),
        capture_output=True,
        text=True,
        check=False,
        env=python_environment(),
    )
    count = int(answer.stdout or 0) if answer.returncode == 0 else 0
    named = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    return named[:count] or [str(number) for number in range(count)]


class LocalWorkers:
    """Worker processes, at most one per slot. Several threads may use them at once.

    On leaving, the context manager ends all workers that are still running.
    """

    def __init__(self, slots: list[Slot], on_progress: OnProgress | None = None) -> None:
        self.slots = slots
        self._on_progress = on_progress
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
        # The thread that uses a worker puts it back after reading its log.
        ended = [self._free.get() for _ in self._workers]
        for worker in ended:
            worker.close()
            self._free.put(worker)

    def keep(self, slots: int) -> None:
        """Keep only the first slots, and end the processes of the others. No job may be running."""
        for worker in self._workers[slots:]:
            worker.kill()
            worker.close()
        self.slots, self._workers = self.slots[:slots], self._workers[:slots]
        self._free = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def work_on(self, job: Job) -> None:
        """Do one job as soon as a slot is free.

        Raises:
            LabelauditError: The error of the worker process.
            WorkerDiedError: The worker process ended without a result.
        """
        worker = self._free.get()
        try:
            if self._is_stopped:
                raise TrainingError(_not_done(job))
            self._ask(worker, JobRequest(job))
        except WorkerDiedError as error:
            if self._is_stopped:
                raise TrainingError(
                    f"{job.name.capitalize()} was stopped, because the audit ended before it."
                ) from error
            raise
        finally:
            self._free.put(worker)

    def _ask(self, worker: _Worker, request: JobRequest) -> None:
        for answer in worker.answers(request):
            if isinstance(answer, JobDone):
                return
            if isinstance(answer, JobFailed):
                # After a CUDA error, all later jobs in the same process would fail too.
                worker.end()
                raise _rebuilt_error(answer)
            if self._on_progress is not None:
                self._on_progress(request.job, answer)
        raise WorkerDiedError(worker.cause_of_exit(request.job))


class _Worker:
    """The process of one slot: started for its first job, reused for later ones, replaced if it died."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self._is_ended = False
        self._lock = threading.Lock()

    def answers(self, request: JobRequest) -> Iterator[WorkerAnswer]:
        """Send a request and yield the answers as they arrive, until the process ends."""
        process = self._started(request.job)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(to_line(request))
            process.stdin.flush()
        for line in process.stdout:
            yield read_answer(line)

    def cause_of_exit(self, job: Job) -> str:
        """Return why the process ended, from its exit code and the last line of its log."""
        assert self._process is not None
        assert self._log is not None
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read()[-4000:].strip().splitlines()
        last = f" The last line of its log: {lines[-1][:300]}" if lines else ""
        cause = f"exit code {code}"
        if code < 0:
            cause = f"signal {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            cause += f", often a lack of memory: {job.if_memory_lacks}"
        return f"The worker of {job.name} ended without a result ({cause}).{last}"

    def end(self) -> None:
        """End the process; the next job starts a new one. Call it only from the thread that uses the worker."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """End the process for good. Any thread may call it."""
        with self._lock:
            self._is_ended = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Release the pipes and the log of an ended process. No thread may be waiting for its answers."""
        if self._process is None or self._log is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        self._log.close()
        self._process = None

    def _started(self, job: Job) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        with self._lock:
            # Checked under the lock, because a process started after `kill` would never be ended.
            if self._is_ended:
                raise TrainingError(_not_done(job))
            self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed with the process)
            self._process = start_worker(self._slot.environment(), self._log)
        return self._process


def start_worker(environment: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
    """Start a worker process in a new interpreter. Everything that it prints goes to `log`."""
    return subprocess.Popen(
        python_command("-m", "labelaudit.local.worker_process"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment,
        # Ctrl-C must reach only the parent, which then ends its workers.
        start_new_session=True,
    )


def _not_done(job: Job) -> str:
    return f"{job.name.capitalize()} is not {job.participle}, because the audit ended before it."


def _rebuilt_error(answer: JobFailed) -> LabelauditError:
    kind: type[LabelauditError] = getattr(errors, answer.error, TrainingError)
    return kind(answer.message)
