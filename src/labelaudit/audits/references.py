"""The records that steps pass to each other: small, frozen, JSON-serializable references into storage."""

from __future__ import annotations

from dataclasses import dataclass

from labelaudit.findings import ErrorRange


@dataclass(frozen=True)
class PlanReference:
    """A prepared dataset version, and how this run accesses it."""

    dataset_url: str
    output_url: str
    storage_options: dict[str, object]
    cache_bytes: int | None  # limit of the local cache; None: half of the free disk space
    key: str  # of prepared.json below output_url
    sha256: str  # of prepared.json
    checkpoint_minutes: float | None  # between checkpoints of a fold; None: never
    marker: str | None  # file in the dataset's folder that is not data
    state: str | None  # of the version's files; None if it is unknown, as they changed while they were read


@dataclass(frozen=True)
class FoldReference:
    """A committed fold of a prepared version."""

    fold: int  # repeat * folds + the fold within the repeat
    keys: tuple[str, ...]  # of its records below the output URL, one for each view


@dataclass(frozen=True)
class EncodingReference:
    """What must be encoded for an audit, divided into shards."""

    key: str  # of the record that lists the rows of each shard, below the output URL
    sha256: str  # of that record
    shards: int
    rows: int  # to encode, in all shards together
    stored: int  # scored rows whose features are already stored


@dataclass(frozen=True)
class FilesReference:
    """Files that a step stored in the work folder, with checksums for the next step."""

    folder: str  # below the output URL
    sha256: dict[str, str]  # by file name


@dataclass(frozen=True)
class AuditReference:
    """A published audit, and its main figures."""

    audit_url: str
    dataset: str
    version: str
    audit_id: str
    status: str  # `published` or `already_published`
    examples: int
    scored: int
    issues: int
    error_range: ErrorRange
    report_url: str
