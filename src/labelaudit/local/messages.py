"""The messages between an audit and its worker processes, each one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TypeAlias

from labelaudit.audits.jobs import EpochEnded, FoldJob, Job, JobProgress, RowsEncoded, ShardJob
from labelaudit.codec import from_record


@dataclass(frozen=True)
class JobRequest:
    """A job for a worker process."""

    job: Job


@dataclass(frozen=True)
class JobDone:
    """The last answer to a job, if its result is stored."""

    done: bool = True


@dataclass(frozen=True)
class JobFailed:
    """The last answer to a job, if it failed."""

    error: str  # the name of a class of `labelaudit.errors`
    message: str


WorkerAnswer: TypeAlias = JobProgress | JobDone | JobFailed

# By a key that only this kind of answer has.
_ANSWERS: dict[str, type[WorkerAnswer]] = {"done": JobDone, "error": JobFailed, "rows": RowsEncoded, "loss": EpochEnded}


def to_line(message: JobRequest | WorkerAnswer) -> str:
    """Return a message as a line of JSON."""
    return json.dumps(asdict(message)) + "\n"


def read_request(line: str) -> JobRequest:
    """Return the request in a line."""
    job = json.loads(line)["job"]
    return JobRequest(from_record(ShardJob, job) if "encoding" in job else from_record(FoldJob, job))


def read_answer(line: str) -> WorkerAnswer:
    """Return the answer in a line."""
    record = json.loads(line)
    [kind] = [kind for key, kind in _ANSWERS.items() if key in record]
    return from_record(kind, record)
