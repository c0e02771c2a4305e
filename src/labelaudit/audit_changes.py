"""What changed between two audits of a dataset, as values."""

from __future__ import annotations

from dataclasses import dataclass

from labelaudit.codec import Json
from labelaudit.slice_findings import SliceChanges


@dataclass(frozen=True)
class AuditName:
    """The audit that another one is compared with."""

    version: str
    audit_id: str
    created_at: str  # ISO 8601, UTC
    audit_url: str


@dataclass(frozen=True)
class StatusCount:
    """The number of rows with a status in two audits, copies included."""

    status: str
    examples_before: int
    examples: int


@dataclass(frozen=True)
class LabelPair:
    """The number of rows that changed from one label to another. None means no label."""

    given_label_before: str | None
    given_label: str | None
    examples: int


@dataclass(frozen=True)
class ChangedSetting:
    """A setting that differs between two audits. `cause`: config, code, package, or data (if `auto` depends on it)."""

    setting: str  # such as training.epochs
    before: Json
    now: Json
    cause: str


@dataclass(frozen=True)
class ClassShare:
    """A class's share of the labeled rows in two audits, and the absolute difference, each 0..1."""

    class_name: str
    share_before: float
    share: float
    change: float


@dataclass(frozen=True)
class ClassDifferences:
    """How the classes of an audit differ from those of another one.

    A class counts if it has labeled rows: scored ones, or rare ones. `new` and `gone` are numbers of classes;
    `new_names` and `gone_names` are the first of them. `largest` is the class whose share changed most, if any did.
    """

    new: int
    gone: int
    new_names: tuple[str, ...]
    gone_names: tuple[str, ...]
    largest: ClassShare | None


@dataclass(frozen=True)
class Changes:
    """What changed since another audit of the dataset.

    `issues` counts flagged rows by `schemas.IssueChange`, `data` rows by `schemas.DataChange`; `other_status` counts
    rows in both audits whose status differs. `warning` says that not only the data changed.
    """

    predecessor: AuditName
    held_versions: tuple[str, ...]  # versions in between whose gate failed
    issues: dict[str, int]
    data: dict[str, int]
    statuses: tuple[StatusCount, ...]
    other_status: int
    relabeled: tuple[LabelPair, ...]  # the most frequent pairs
    changed_settings: tuple[ChangedSetting, ...]
    warning: str | None
    notes: tuple[str, ...]
    classes: ClassDifferences | None = None
    slices: SliceChanges | None = None  # None if the audits compare no common column

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences for the notes of an audit, the most important first."""
        return (*([self.warning] if self.warning else []), *self.notes)
