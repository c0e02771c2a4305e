"""Verdicts on the rows that the dashboard shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from labelaudit.audits.history import AuditRecord
from labelaudit.dashboard.queries import Row, VerdictColumns
from labelaudit.errors import ReviewError
from labelaudit.reviews.verdicts import NO_ANSWER, Answer, LabeledExample, Verdict, utc_now
from labelaudit.schemas import Status

NO_NAME = "A verdict needs the name of its reviewer. Enter yours in the field Reviewer of the sidebar."


def labeled_example(row: Row) -> LabeledExample:
    """Return what a verdict on the row is about. The label is empty if the row has none."""
    return LabeledExample(row.example_id, row.content_digest, row.given_label or "")


def why_undecidable(row: Row) -> str | None:
    """Return why a row cannot be decided, or None if it can. `queries._DECIDABLE` is the same rule in SQL."""
    if row.status == Status.DUPLICATE_ID:
        return (
            f"Another row also has the id {row.example_id!r}, so a verdict could not distinguish them. Give each row "
            "an id of its own in the dataset."
        )
    if row.given_label is None:
        return f"{row.example_id!r} does not have a label. Label it in the dataset."
    return None


def verdict_on(row: Row, audit: AuditRecord, answer: Answer, reviewer: str) -> Verdict:
    """Return a verdict on a row, decided now.

    Raises:
        ReviewError: if the row cannot be decided, the verdict is not valid, or the reviewer is missing.
    """
    if problem := why_undecidable(row):
        raise ReviewError(problem)
    if not reviewer:
        raise ReviewError(NO_NAME)
    return Verdict(
        *labeled_example(row),
        **answer._asdict(),
        reviewer=reviewer,
        decided_at=utc_now(),
        audit_id=audit.audit_id,
        was_flagged=row.was_flagged,
    )


def undo_verdict(verdict: Verdict, replaced: Verdict | None, reviewer: str) -> Verdict:
    """Return the verdict, decided now, that restores the one that `verdict` replaced.

    Raises:
        ReviewError: if the reviewer is missing.
    """
    if not reviewer:
        raise ReviewError(NO_NAME)
    answer = replaced.answer if replaced else NO_ANSWER
    return replace(verdict, **answer._asdict(), reviewer=reviewer, decided_at=utc_now())


def as_columns(verdicts: Mapping[LabeledExample, Verdict]) -> VerdictColumns:
    """Return verdicts as the columns that queries take."""
    ids, digests, labels = zip(*verdicts, strict=True) if verdicts else ((), (), ())
    decisions = [str(verdict.verdict) for verdict in verdicts.values()]
    return VerdictColumns(list(ids), list(digests), list(labels), decisions)
