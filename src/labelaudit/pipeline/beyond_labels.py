"""What an audit finds in addition to label issues: copies, outliers, annotators, slices and the quality of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.detected import AuditTables
from labelaudit.audits.other_findings import OtherFindings
from labelaudit.detection.answer_evidence import AnsweredRows
from labelaudit.detection.issues import LabelIssues
from labelaudit.findings import Annotators, Duplicates, Outliers, QualityFound
from labelaudit.pipeline.consensus import consensus_tables
from labelaudit.pipeline.known_rows import KnownRows
from labelaudit.pipeline.near_rows import map_of, neighbours_of
from labelaudit.pipeline.row_previews import reviewed_ids
from labelaudit.pipeline.slices_of_rows import compare_slices
from labelaudit.report.annotators import annotators_found, annotators_in_words
from labelaudit.report.duplicates import duplicates_found, duplicates_in_words, duplicates_table
from labelaudit.report.outlier_list import outliers_found, outliers_in_words, outliers_table
from labelaudit.report.quality_tables import quality_found, quality_in_words, quality_table
from labelaudit.report.slices import slices_in_words
from labelaudit.slice_findings import Slices


@dataclass(frozen=True)
class BeyondLabels:
    """The tables of an audit, and counts of what they contain; None for what does not apply."""

    tables: AuditTables
    copies: Duplicates | None = None
    outliers: Outliers | None = None
    annotators: Annotators | None = None
    slices: Slices | None = None
    quality: QualityFound | None = None

    @property
    def others(self) -> OtherFindings:
        """What is compared with another audit."""
        return OtherFindings(self.copies, self.outliers, self.tables.annotators, self.tables.slices, self.quality)

    def notes(self, kind: str, *, has_canaries: bool) -> tuple[str, ...]:
        """Return sentences for people. `kind` is that of the inputs."""
        duplicates, annotators = self.tables.duplicates, self.tables.annotators
        notes: list[str] = []
        if duplicates is not None:
            notes += duplicates_in_words(duplicates, is_published=True)
        if self.outliers is not None:
            notes += outliers_in_words(self.outliers)
        if self.annotators is not None and annotators is not None:
            notes += annotators_in_words(self.annotators, annotators, has_canaries=has_canaries)
        if self.slices is not None:
            notes += slices_in_words(self.slices)
        if self.quality is not None:
            notes += quality_in_words(self.quality, kind)
        return tuple(notes)


def look_beyond_labels(
    plan: Plan, known: KnownRows, tables: AuditTables, found: LabelIssues, answered: AnsweredRows | None
) -> BeyondLabels:
    """Add to the tables of an audit what is found in addition to label issues.

    Args:
        tables: those of the labels.
        found: the label issues.
        answered: the answers of annotators to the scored rows; None if there are none.
    """
    beyond = _with_copies(BeyondLabels(tables), known)
    beyond = _with_outliers(beyond, known, plan.class_names)
    beyond = _with_quality(beyond, known)
    if answered is not None:
        beyond = _with_annotators(beyond, plan, known, answered, found)
    if (compared := compare_slices(known.rows, found, known.scored_stays)) is not None:
        beyond = replace(beyond, tables=replace(beyond.tables, slices=compared[0]), slices=compared[1])
    # Last, because the other tables decide which rows reviewers see.
    return _with_neighbours(beyond, known, plan.config.report.previews)


def _with_copies(beyond: BeyondLabels, known: KnownRows) -> BeyondLabels:
    if known.clusters is None:
        return beyond
    table = duplicates_table(beyond.tables.examples, known.clusters.number, known.clusters.distance)
    return replace(beyond, tables=replace(beyond.tables, duplicates=table), copies=duplicates_found(table))


def _with_outliers(beyond: BeyondLabels, known: KnownRows, class_names: Sequence[str]) -> BeyondLabels:
    unlike = known.outliers
    if unlike is None:
        return beyond
    listed, near_class = known.rows.scored[unlike.is_outlier], unlike.near_class[unlike.is_outlier]
    table = outliers_table(beyond.tables.examples, listed, near_class, class_names)
    return replace(beyond, tables=replace(beyond.tables, outliers=table), outliers=outliers_found(table, unlike.cut))


def _with_quality(beyond: BeyondLabels, known: KnownRows) -> BeyondLabels:
    if known.quality is None:
        return beyond
    quality = known.quality.among(known.stays)
    table = quality_table(beyond.tables.examples, quality.position, quality.issue, quality.value, quality.limit)
    found = quality_found(table, quality.normal, quality.relations)
    return replace(beyond, tables=replace(beyond.tables, quality=table), quality=found)


def _with_annotators(
    beyond: BeyondLabels, plan: Plan, known: KnownRows, answered: AnsweredRows, found: LabelIssues
) -> BeyondLabels:
    assert found.evidence is not None, "detection was without the answers"
    made = consensus_tables(plan, beyond.tables.examples, answered, found, known.scored_stays)
    tables = replace(beyond.tables, consensus=made.consensus, annotators=made.annotators, answers=made.answers)
    counts = annotators_found(*made, are_labels_answers=found.evidence.are_labels_answers)
    return replace(beyond, tables=tables, annotators=counts)


def _with_neighbours(beyond: BeyondLabels, known: KnownRows, previews: int) -> BeyondLabels:
    if known.space is None:
        return beyond
    near = neighbours_of(known.rows, known.space, reviewed_ids(known.rows, beyond.tables, previews))
    return replace(beyond, tables=replace(beyond.tables, neighbours=near, map=map_of(known.rows, known.space)))
