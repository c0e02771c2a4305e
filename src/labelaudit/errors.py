"""The error family: what a user can meet, each with the exit code that the command line returns.

Messages name the value, the rule, the place and the remedy in a sentence or two. All of them are plain
strings, so that an error survives the way out of a worker process unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any


class LabelauditError(Exception):
    """Base of every error that labelaudit raises on purpose.

    `exit_code` is what the command line returns; `transient` says whether trying again may help.
    """

    exit_code = 1
    transient = False


class ConfigError(LabelauditError, ValueError):
    """The config file, an override or an argument cannot be used."""

    exit_code = 2


class DatasetError(LabelauditError):
    """The dataset cannot be read, or nothing in it can be audited."""

    exit_code = 2


class StorageError(LabelauditError):
    """Object storage refused, is missing, or holds something else than what was written."""


class StorageUnavailableError(StorageError):
    """Object storage did not answer, or failed in a way that may pass."""

    transient = True


class ReviewError(LabelauditError, ValueError):
    """A verdict, or a file of verdicts, cannot be used."""

    exit_code = 2


class AnnouncementError(LabelauditError):
    """No Prefect API took an event; what it tells of is stored."""


class TrainingError(LabelauditError):
    """A fold could not be trained: a device is missing, the loss is not finite, the module is broken."""


class InputError(TrainingError, ValueError):
    """X, y or weights given to an estimator cannot be used; a ValueError, as scikit-learn raises."""


class WorkerDiedError(TrainingError):
    """The process that trained a fold ended without a result."""

    transient = True


class GateFailedError(LabelauditError):
    """The labels of a version are worse than the config's gate allows; its audit is published.

    `audit` holds the fields of its `steps.references.AuditReference`.
    """

    exit_code = 3

    def __init__(self, message: str, audit: Mapping[str, Any]) -> None:
        # All arguments go to Exception, so that pickling rebuilds the same error.
        super().__init__(message, audit)
        self.audit = dict(audit)

    def __str__(self) -> str:
        return str(self.args[0])


class Fault(StrEnum):
    """What the integrity gate can find wrong with out-of-fold probabilities."""

    CLASS_ORDER = "class-order"
    CLASSES_SWAPPED = "classes-swapped"
    ROWS_MISSING = "rows-missing"
    ROWS_DOUBLED = "rows-doubled"
    ROWS_UNKNOWN = "rows-unknown"
    ROWS_SHIFTED = "rows-shifted"
    ROWS_ALTERED = "rows-altered"
    NOT_FINITE = "not-finite"
    ALL_ZERO = "all-zero"
    NOT_A_DISTRIBUTION = "not-a-distribution"
    LEARNED_NOTHING = "learned-nothing"
    SEEN_IN_TRAINING = "seen-in-training"


class IntegrityError(LabelauditError):
    """Out-of-fold probabilities that must not be audited, because a plausible wrong report would follow.

    Attributes: `fault`; `fold` (None where the probabilities do not come in folds); `rows`, how many rows
    are concerned; `example_ids`, the first few of them.
    """

    def __init__(
        self,
        fault: Fault,
        problem: str,
        remedy: str,
        *,
        fold: int | None = None,
        rows: int = 0,
        example_ids: Sequence[str] = (),
    ) -> None:
        # All arguments go to Exception, so that pickling rebuilds the same error.
        super().__init__(fault, problem, remedy)
        self.fault = fault
        self.problem = problem
        self.remedy = remedy
        self.fold = fold
        self.rows = rows
        self.example_ids = tuple(example_ids)

    def __str__(self) -> str:
        place = "" if self.fold is None else f"fold {self.fold}: "
        first = f" (first: {', '.join(self.example_ids[:5])})" if self.example_ids else ""
        return f"[{self.fault.value}] {place}{self.problem}{first}. {self.remedy}"
