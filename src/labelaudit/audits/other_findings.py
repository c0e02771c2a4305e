"""What audits found in addition to label issues, and how it changed between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from labelaudit.audits.published import PublishedAudit
from labelaudit.findings import Duplicates, Outliers, QualityFound
from labelaudit.report.annotators import worse_annotators
from labelaudit.report.quality_tables import quality_changes
from labelaudit.report.slices import slice_changes, slice_changes_in_words
from labelaudit.schemas import ANNOTATORS, SLICES
from labelaudit.slice_findings import SliceChanges


@dataclass(frozen=True)
class OtherFindings:
    """What an audit found in addition; None for what does not apply or what an earlier release did not look for."""

    copies: Duplicates | None = None
    outliers: Outliers | None = None
    annotators: pa.Table | None = None  # ANNOTATORS
    slices: pa.Table | None = None  # SLICES
    quality: QualityFound | None = None

    @classmethod
    def of(cls, audit: PublishedAudit) -> OtherFindings:
        """Read those of a published audit.

        Raises:
            StorageError: a file cannot be read.
        """
        summary = audit.summary()
        return cls(
            copies=summary.duplicates,
            outliers=summary.outliers,
            annotators=_table(audit, "annotators.parquet", ANNOTATORS),
            slices=_table(audit, "slices.parquet", SLICES),
            quality=summary.quality,
        )


@dataclass(frozen=True)
class OtherChanges:
    """What changed, in sentences and as values."""

    sentences: Sequence[str] = ()
    slices: SliceChanges | None = None


def other_changes(before: OtherFindings, now: OtherFindings, version: str) -> OtherChanges:
    """Return what changed since the audit of an earlier version."""
    slices = slice_changes(before.slices, now.slices)
    sentences = (
        *_copies_in_words(before.copies, now.copies, version),
        *_outliers_in_words(before.outliers, now.outliers, version),
        *quality_changes(before.quality, now.quality, version),
        *worse_annotators(before.annotators, now.annotators, version),
        *slice_changes_in_words(slices, version),
    )
    return OtherChanges(sentences, slices)


def _table(audit: PublishedAudit, name: str, schema: pa.Schema) -> pa.Table | None:
    return audit.table(name, schema) if name in audit.sha256 else None


def _copies_in_words(before: Duplicates | None, now: Duplicates | None, version: str) -> list[str]:
    """Return sentences on the numbers that changed; none if they are unknown for an audit."""
    if before is None or now is None:
        return []
    counts = {
        "with different labels": (before.conflicts, now.conflicts),
        "in several splits": (before.leaks, now.leaks),
    }
    return [
        f"Groups of copies {what}: {count:,}, compared with {earlier:,} in version {version}."
        for what, (earlier, count) in counts.items()
        if earlier != count
    ]


def _outliers_in_words(before: Outliers | None, now: Outliers | None, version: str) -> list[str]:
    if before is None or now is None or before.rows == now.rows:
        return []
    return [f"Rows unlike all others: {now.rows:,}, compared with {before.rows:,} in version {version}."]
