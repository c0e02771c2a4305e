"""The messages between an audit and its worker processes, each one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TypeAlias

from labelaudit.audits.references import FoldReference, PlanReference
from labelaudit.codec import from_record


@dataclass(frozen=True)
class FoldRequest:
    """A fold to train."""

    reference: PlanReference
    fold: int


@dataclass(frozen=True)
class EpochEnded:
    """Progress of the fold. Epochs are counted from 1."""

    epoch: int
    epochs: int
    loss: float


@dataclass(frozen=True)
class FoldTrained:
    """The last answer to a request, if the fold was trained."""

    result: FoldReference


@dataclass(frozen=True)
class FoldFailed:
    """The last answer to a request, if the fold failed."""

    error: str  # the name of a class of `labelaudit.errors`
    message: str


WorkerAnswer: TypeAlias = EpochEnded | FoldTrained | FoldFailed


def to_line(message: FoldRequest | WorkerAnswer) -> str:
    """Return a message as a line of JSON."""
    return json.dumps(asdict(message)) + "\n"


def read_request(line: str) -> FoldRequest:
    """Return the request in a line."""
    return from_record(FoldRequest, json.loads(line))


def read_answer(line: str) -> WorkerAnswer:
    """Return the answer in a line."""
    record = json.loads(line)
    if "result" in record:
        return from_record(FoldTrained, record)
    if "error" in record:
        return from_record(FoldFailed, record)
    return from_record(EpochEnded, record)
