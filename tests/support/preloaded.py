"""Worker processes that start in milliseconds: forked from a process that has imported torch and scikit-learn.

A worker runs the code of `python -m labelaudit.local.worker_process` with the same environment, pipes and log; it only
saves the imports. Tests of how a process starts or dies use real interpreters (the marker `new_interpreters`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

import pytest

from support.paths import ROOT

_LENGTH_BYTES = 4


@contextlib.contextmanager
def preloaded_workers() -> Iterator[None]:
    """Fork the workers of this process from a preloader, which the first worker starts."""
    preloader: Preloader | None = None
    lock = threading.Lock()

    def start_worker(environment: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
        nonlocal preloader
        with lock:
            preloader = preloader or Preloader()
            return preloader.start_worker(environment, log)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labelaudit.local.workers.start_worker", start_worker)
        yield
    if preloader is not None:
        preloader.close()


class Preloader:
    """The process that workers are forked from. The first test that needs it starts it, once per session."""

    def __init__(self) -> None:
        self._socket, remote = socket.socketpair()
        paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src"), str(ROOT)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.preloaded", str(remote.fileno())],
            pass_fds=[remote.fileno()],
            env={**os.environ, "PYTHONPATH": paths},
        )
        remote.close()

    def start_worker(self, environment: dict[str, str], log: IO[str]) -> subprocess.Popen[str]:
        """Replace `labelaudit.local.workers.start_worker`."""
        stdin, stdout, (status, remote) = os.pipe(), os.pipe(), socket.socketpair()
        request = json.dumps({"environment": environment, "path": sys.path, "folder": os.getcwd()}).encode()
        self._socket.sendall(len(request).to_bytes(_LENGTH_BYTES, "big"))
        socket.send_fds(self._socket, [request[:1]], [stdin[0], stdout[1], log.fileno(), remote.fileno()])
        self._socket.sendall(request[1:])
        for descriptor in (stdin[0], stdout[1]):
            os.close(descriptor)
        remote.close()
        return _ForkedWorker(status, stdin[1], stdout[0])

    def close(self) -> None:
        self._socket.close()
        self._process.wait(30)


class _ForkedWorker(subprocess.Popen[str]):
    """The part of `Popen` that `labelaudit.local.workers` uses, for a child of the preloader."""

    def __init__(self, status: socket.socket, stdin: int, stdout: int) -> None:
        self._status = status.makefile("rb")
        status.close()
        self.pid = int(self._status.readline())
        self.args = ["labelaudit.local.worker_process"]
        self.returncode: int | None = None  # type: ignore[assignment]
        self.stdin = os.fdopen(stdin, "w")
        self.stdout = os.fdopen(stdout)
        self.stderr = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 0)
                return None
            return self.wait()
        return self.returncode

    def send_signal(self, signal_number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal_number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()  # type: ignore[union-attr]
        rest = self.stdout.read()  # type: ignore[union-attr]
        self.stdout.close()  # type: ignore[union-attr]
        self.wait()
        return rest, None

    def __del__(self) -> None:
        # `Popen` would wait for its child, but this process has a different parent.
        pass


def _serve(connection: socket.socket) -> None:
    """Fork a worker for each request until the tests end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while header := connection.recv(_LENGTH_BYTES, socket.MSG_WAITALL):
        length = int.from_bytes(header, "big")
        first, descriptors, _, _ = socket.recv_fds(connection, 1, 4)
        request = json.loads(first + connection.recv(length - 1, socket.MSG_WAITALL))
        if os.fork() == 0:
            connection.close()
            _watch(request, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(request: dict[str, Any], stdin: int, stdout: int, log: int, status: int) -> None:
    """Fork the worker, and send its process id and later its exit code to the test."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = os.fork()
    if worker == 0:
        os.close(status)
        _work(request, stdin, stdout, log)
    for descriptor in (stdin, stdout, log):
        os.close(descriptor)
    os.write(status, f"{worker}\n".encode())
    _, code = os.waitpid(worker, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(status, f"{os.waitstatus_to_exitcode(code)}\n".encode())
    os._exit(0)


def _work(request: dict[str, Any], stdin: int, stdout: int, log: int) -> None:
    """Run as a worker process, like one in a new interpreter."""
    import torch

    from labelaudit.local import worker_process

    os.setsid()
    for number, descriptor in enumerate((stdin, stdout, log)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    user_paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [*filter(None, user_paths), *request["path"]]
    # torch read this variable when it was imported, before the request set it.
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        worker_process.serve_jobs()
    finally:
        os._exit(1)


if __name__ == "__main__":
    # These take seconds, so import them once: the program of a worker, and what it imports for tables, texts and S3.
    import s3fs  # noqa: F401
    import sklearn.compose
    import sklearn.feature_extraction
    import sklearn.impute  # noqa: F401

    import labelaudit.local.worker_process  # noqa: F401

    os.fsync = lambda descriptor: None  # as in tests/conftest.py
    _serve(socket.socket(fileno=int(sys.argv[1])))
