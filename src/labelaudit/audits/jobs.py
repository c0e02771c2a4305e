"""Jobs: the parts of an audit that workers do in parallel, on this machine or on others.

A worker gets a job and reads everything else from storage. What it stores is the only result of the job, so a rerun of
an audit does only the jobs that are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from labelaudit.audits.references import EncodingReference, PlanReference


@dataclass(frozen=True)
class _NumberedJob:
    """What all kinds of jobs have.

    Attributes:
        noun: What one job of the kind is called.
        step: The name of its flow and of its task.
        participle: What is done with it.
        if_memory_lacks: What to do if its worker was killed.
        number: Counted from 0.
    """

    noun: ClassVar[str]
    step: ClassVar[str]
    participle: ClassVar[str]
    if_memory_lacks: ClassVar[str]

    reference: PlanReference
    number: int

    @property
    def name(self) -> str:
        """Return what messages call the job."""
        return f"{self.noun} {self.number}"


@dataclass(frozen=True)
class FoldJob(_NumberedJob):
    """Train one fold and commit its probabilities. Folds are numbered through all repeats."""

    noun = "fold"
    step = "train-fold"
    participle = "trained"
    if_memory_lacks = "lower training.batch_size or workers.max_parallel"


@dataclass(frozen=True)
class ShardJob(_NumberedJob):
    """Encode the rows of one shard and store their features."""

    noun = "shard"
    step = "encode-shard"
    participle = "encoded"
    if_memory_lacks = "lower workers.max_parallel"

    encoding: EncodingReference


Job: TypeAlias = FoldJob | ShardJob


@dataclass(frozen=True)
class EpochEnded:
    """Progress of a fold. Epochs are counted from 1."""

    epoch: int
    epochs: int
    loss: float

    @property
    def share(self) -> float:
        """Return how much of the job is done, in 0..1."""
        return self.epoch / self.epochs

    def __str__(self) -> str:
        return f"epoch {self.epoch} of {self.epochs}, loss {self.loss:.3f}"


@dataclass(frozen=True)
class RowsEncoded:
    """Progress of a shard: how many of its rows are encoded."""

    rows: int
    of: int

    @property
    def share(self) -> float:
        """Return how much of the job is done, in 0..1."""
        return self.rows / self.of

    def __str__(self) -> str:
        return f"{self.rows:,} of {self.of:,} rows"


JobProgress: TypeAlias = EpochEnded | RowsEncoded
