"""All errors that labelaudit raises, each with the exit code of the command line.

A message is a sentence that names the value, the rule and the place, then a sentence with the remedy. Arguments are
plain values, so that errors can be pickled in worker processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any


class LabelauditError(Exception):
    """Base of every error that labelaudit raises on purpose.

    Attributes:
        exit_code: the exit code of the command line.
        transient: whether a retry may help.
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
    """Storage refused a request, does not exist, or contains other bytes than were written."""


class StorageUnavailableError(StorageError):
    """Storage did not answer, or failed in a way that a retry may solve."""

    transient = True


class ReviewError(LabelauditError, ValueError):
    """A verdict, or a file of verdicts, cannot be used."""

    exit_code = 2


class AnnouncementError(LabelauditError):
    """The Prefect API did not accept an event. The data that the event announces is stored."""


class TrainingError(LabelauditError):
    """A fold could not be trained, or a shard could not be encoded. For example, a device is missing."""


class InputError(TrainingError, ValueError):
    """X, y or weights given to an estimator cannot be used. A ValueError, as in scikit-learn."""


class WorkerDiedError(TrainingError):
    """The process that trained a fold or encoded a shard ended without a result."""

    transient = True


class GateFailedError(LabelauditError):
    """The labels of a version are worse than the config's gate allows. Its audit is published.

    Attributes:
        audit: the fields of its `AuditReference`.
    """

    exit_code = 3

    def __init__(self, message: str, audit: Mapping[str, Any]) -> None:
        # Pickle needs all arguments in Exception.args.
        super().__init__(message, audit)
        self.audit = dict(audit)

    def __str__(self) -> str:
        return str(self.args[0])


class Fault(StrEnum):
    """Faults of out-of-fold probabilities that the integrity checks find."""

    CLASS_ORDER = "class-order"
    CLASSES_SWAPPED = "classes-swapped"
    ROWS_MISSING = "rows-missing"
    ROWS_DOUBLED = "rows-doubled"
    ROWS_UNKNOWN = "rows-unknown"
    ROWS_SHIFTED = "rows-shifted"
    # The columns are in another order, or the rows are shifted: both would explain the probabilities.
    MISORDERED = "misordered"
    ROWS_ALTERED = "rows-altered"
    NOT_FINITE = "not-finite"
    ALL_ZERO = "all-zero"
    NOT_A_DISTRIBUTION = "not-a-distribution"
    LEARNED_NOTHING = "learned-nothing"
    SEEN_IN_TRAINING = "seen-in-training"
    # Folds of one view were trained on different features of the same rows.
    FEATURES_DIFFER = "features-differ"


class IntegrityError(LabelauditError):
    """Out-of-fold probabilities that would give a plausible but wrong report.

    Attributes:
        fault: what is wrong.
        problem: the same as text, with figures.
        remedy: what to do.
        fold: the fold; None if the probabilities are not in folds.
        rows: the number of affected rows.
        example_ids: the first few of their ids.
        view: the view that predicted them; None if there is only one.
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
        view: str | None = None,
    ) -> None:
        # Pickle needs all arguments in Exception.args.
        super().__init__(fault, problem, remedy)
        self.fault = fault
        self.problem = problem
        self.remedy = remedy
        self.fold = fold
        self.rows = rows
        self.example_ids = tuple(example_ids)
        self.view = view

    def of_view(self, view: str) -> IntegrityError:
        """Return the same error for one of several views."""
        return IntegrityError(
            self.fault,
            self.problem,
            self.remedy,
            fold=self.fold,
            rows=self.rows,
            example_ids=self.example_ids,
            view=view,
        )

    def __str__(self) -> str:
        places = [f"view {self.view}"] * (self.view is not None) + [f"fold {self.fold}"] * (self.fold is not None)
        place = f"{', '.join(places)}: " if places else ""
        first = f" (first: {', '.join(self.example_ids[:5])})" if self.example_ids else ""
        return f"[{self.fault.value}] {place}{self.problem}{first}. {self.remedy}"
