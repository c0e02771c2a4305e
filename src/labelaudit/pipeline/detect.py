"""Find label issues in out-of-fold probabilities, and build the tables of the audit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.comparison import (
    Compared,
    NotCompared,
    OpenPredecessor,
    compare_with_predecessor,
    open_predecessor,
)
from labelaudit.audits.detected import AuditTables, Detected
from labelaudit.audits.other_findings import OtherFindings
from labelaudit.audits.probabilities import GatheredFolds, Probabilities
from labelaudit.audits.references import FilesReference, PlanReference
from labelaudit.audits.stored_answers import answers_in
from labelaudit.audits.version import PUBLISHED_COLUMNS, Version, load_version
from labelaudit.data.annotations import AnswerTable
from labelaudit.detection.answer_evidence import AnsweredRows
from labelaudit.detection.issues import LabelIssues, find_issues
from labelaudit.detection.outliers import FoundOutliers
from labelaudit.duplicates.clusters import Clusters
from labelaudit.findings import Annotators, ErrorRange, Findings, Promise, RateBasis, Review
from labelaudit.memory import release_if_grown
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.consensus import answered_rows, consensus_tables
from labelaudit.pipeline.copies import clusters_of
from labelaudit.pipeline.feature_space import FeatureSpace, search_space
from labelaudit.pipeline.gating import judge_gate, plant_in_audit
from labelaudit.pipeline.input_measures import load_quality
from labelaudit.pipeline.near_rows import map_of, neighbours_of
from labelaudit.pipeline.row_previews import reviewed_ids
from labelaudit.pipeline.slices_of_rows import compare_slices
from labelaudit.quality.input_quality import InputQuality
from labelaudit.report.annotators import annotators_found, annotators_in_words
from labelaudit.report.audit_tables import (
    ROW_SCHEMA,
    Scores,
    classes_table,
    confusions_table,
    examples_table,
    folds_table,
    issues_table,
    views_table,
)
from labelaudit.report.duplicates import duplicates_found, duplicates_in_words, duplicates_table
from labelaudit.report.outlier_list import outliers_found, outliers_in_words, outliers_table
from labelaudit.report.quality_tables import quality_found, quality_in_words, quality_table
from labelaudit.report.slices import slices_in_words
from labelaudit.reviews.snapshot import ReviewSnapshot, RowVerdicts
from labelaudit.reviews.snapshot_store import load_snapshot
from labelaudit.schemas import Status, slice_column

# Below this agreement, a model disagrees with many correct labels, and probabilities alone cannot separate these from
# wrong ones: a small network agreed with 65 % of CIFAR-10N's labels, although 91 % of them are right.
WEAK_AGREEMENT = 0.8

# Kinds of data whose copies must have the same label. Rows of a table with the same values may differ in what the table
# leaves out.
_SHOWN_ALIKE = ("image", "text")


def detect(reference: PlanReference, gathered: FilesReference) -> FilesReference:
    """Run detection on the gathered probabilities, and store findings and tables in the work folder."""
    store = output_store(reference)
    plan = load_plan(reference)
    rows = load_version(reference, plan, (*PUBLISHED_COLUMNS, *_columns_of_slices(plan)))
    space = search_space(reference, plan, rows)
    detected = detect_issues(
        plan,
        rows,
        GatheredFolds.load(store, gathered).open(store, rows.fold_of_scored),
        load_snapshot(store, plan),
        open_predecessor(store, plan),
        clusters_of(plan, rows, space),
        None if plan.annotations is None else answers_in(store, plan),
        load_quality(store, plan),
        space,
    )
    del rows, space
    release_if_grown()
    return detected.save(store, plan)


def _columns_of_slices(plan: Plan) -> list[str]:
    """Return the columns of rows that slices need: their values and, if there is a column of groups, the groups."""
    dataset = plan.config.dataset
    groups = ["group"] if dataset.slices and dataset.group is not None else []
    return [*groups, *map(slice_column, dataset.slices)]


@with_one_blas_thread
def detect_issues(
    plan: Plan,
    rows: Version,
    probabilities: Probabilities,
    snapshot: ReviewSnapshot,
    before: OpenPredecessor | NotCompared | None,
    clusters: Clusters | None = None,
    answers: AnswerTable | None = None,
    quality: InputQuality | None = None,
    space: FeatureSpace | None = None,
) -> Detected:
    """Find label issues in checked probabilities, compare with the predecessor, plant canaries, judge the gate.

    Args:
        snapshot: what people decided about the dataset when the audit was prepared.
        before: the audit to compare with, or why there is no comparison.
        clusters: copies among the rows; None if contents are unknown.
        answers: of several annotators; None if there are none.
        quality: of the inputs; None if contents are unknown.
        space: neighbours in features; None if there are none.
    """
    release_if_grown()
    examples = rows.examples
    row_verdicts = snapshot.for_rows(examples.example_id, examples.content_digest, examples.given_label)
    answered = None if answers is None else answered_rows(plan, rows, answers, probabilities.probabilities)
    found = _found_issues(plan, rows, probabilities, snapshot, row_verdicts, clusters, answered)
    is_removed = rows.of_scored(row_verdicts.is_removed)
    is_doubted = rows.of_scored(row_verdicts.is_wrong) | is_removed
    canaries = plant_in_audit(plan, rows, probabilities.probabilities, found, is_doubted)
    release_if_grown()
    unlike = None if space is None else space.outliers()
    tables = _tables(plan, rows, probabilities, found, row_verdicts, clusters, quality, unlike, canaries.table)
    outliers = None if tables.outliers is None or unlike is None else outliers_found(tables.outliers, unlike.cut)
    copies = None if tables.duplicates is None else duplicates_found(tables.duplicates)
    annotators: Annotators | None = None
    if answered is not None:
        tables, annotators = _with_annotators(plan, tables, answered, found)
    if space is not None:
        reviewed = reviewed_ids(rows, tables, plan.config.report.previews)
        tables = replace(tables, neighbours=neighbours_of(rows, space, reviewed), map=map_of(rows, space))
    slices_table, slices = compare_slices(rows, found, is_removed) or (None, None)
    tables = replace(tables, slices=slices_table)
    inputs = None
    if quality is not None and tables.quality is not None:
        inputs = quality_found(tables.quality, quality.normal, quality.relations)
    compared = None
    if isinstance(before, OpenPredecessor):
        others = OtherFindings(copies, outliers, tables.annotators, tables.slices, inputs)
        compared = compare_with_predecessor(before, plan, tables.examples, tables.classes, others)
        tables = replace(tables, changes=compared.rows, class_changes=compared.classes)
    is_fine = rows.of_scored(row_verdicts.is_fine)
    review = snapshot.findings(
        row_verdicts,
        dismissed=int((found.is_dismissed & is_fine).sum()),
        scored_to_remove=int(is_removed.sum()),
    )
    labels = rows.of_scored(examples.label)
    notes = [
        *_compared_notes(compared, before),
        *([review.removal_sentence] if review.removal_sentence else []),
        *probabilities.notes,
        *found.notes,
        *(() if tables.duplicates is None else duplicates_in_words(tables.duplicates, is_published=True)),
        *(() if outliers is None else outliers_in_words(outliers)),
        *_annotator_notes(annotators, tables, has_canaries=canaries.recall is not None),
        *(() if slices is None else slices_in_words(slices)),
        *(() if inputs is None else quality_in_words(inputs, plan.kind)),
        _basis_note(labels, found, is_trained_here=bool(plan.views)),
        *([canaries.note] if canaries.note else []),
    ]
    findings = Findings(
        issues=int(found.is_label_issue.sum()),
        error_range=measured_range(review) or found.error_range,
        noise=found.noise,
        flag_precision=found.flag_precision,
        cut=found.cut,
        promise=_promise(plan),
        notes=tuple(notes),
        changes=None if compared is None else compared.changes,
        canaries=canaries.recall,
        review=review,
        duplicates=copies,
        outliers=outliers,
        annotators=annotators,
        slices=slices,
        quality=inputs,
    )
    problem = before.problem if isinstance(before, NotCompared) else None
    has_splits = bool(pc.any(pc.is_valid(tables.examples["split"])).as_py())
    gate = judge_gate(plan, len(labels), tables.classes, findings, not_compared=problem, has_splits=has_splits)
    return Detected(replace(findings, gate=gate), tables)


def _promise(plan: Plan) -> Promise | None:
    settings = plan.config.detection
    has_promise = settings.precision is not None or settings.recall is not None
    return Promise(settings.precision, settings.recall) if has_promise else None


def _found_issues(
    plan: Plan,
    rows: Version,
    probabilities: Probabilities,
    snapshot: ReviewSnapshot,
    row_verdicts: RowVerdicts,
    clusters: Clusters | None,
    answered: AnsweredRows | None,
) -> LabelIssues:
    """Find label issues with everything that is known of the rows."""
    examples = rows.examples
    return find_issues(
        rows.of_scored(examples.label),
        probabilities.probabilities,
        plan.class_names,
        filter_by=plan.config.detection.filter,
        promise=_promise(plan),
        is_fine=rows.of_scored(row_verdicts.is_fine),
        is_wrong=rows.of_scored(row_verdicts.is_wrong),
        is_removed=rows.of_scored(row_verdicts.is_removed),
        sample=snapshot.judged_sample(
            rows.of_scored(examples.example_id),
            rows.of_scored(examples.content_digest),
            rows.of_scored(examples.given_label),
        ),
        dynamics=probabilities.ranking_dynamics,
        copies=None if clusters is None or plan.kind not in _SHOWN_ALIKE else rows.of_scored(clusters.number),
        answered=answered,
    )


def _tables(
    plan: Plan,
    rows: Version,
    probabilities: Probabilities,
    found: LabelIssues,
    row_verdicts: RowVerdicts,
    clusters: Clusters | None,
    quality: InputQuality | None,
    unlike: FoundOutliers | None,
    canaries: pa.Table,
) -> AuditTables:
    """Return the tables of the audit, without those of slices and of changes since the predecessor."""
    scores = _examples(plan, rows, probabilities, found, row_verdicts, quality, unlike)
    names = np.asarray(plan.class_names, dtype=object)
    is_flagged = found.is_label_issue
    p_suggested = None if found.evidence is None else found.p_other[is_flagged]
    return AuditTables(
        examples=scores,
        issues=issues_table(scores, names[found.other[is_flagged]], p_suggested),
        classes=classes_table(found.classes, rare_classes=_rare_classes(rows)),
        confusions=confusions_table(found.confusions),
        folds=folds_table(probabilities.folds),
        views=views_table(probabilities.views),
        canaries=canaries,
        duplicates=None if clusters is None else duplicates_table(scores, clusters.number, clusters.distance),
        outliers=None if unlike is None else _outliers(plan, rows, scores, unlike),
        neighbours=None,  # of the rows that reviewers see, which the other tables decide
        map=None,
        consensus=None,
        annotators=None,
        answers=None,
        slices=None,
        quality=None
        if quality is None
        else quality_table(scores, quality.position, quality.issue, quality.value, quality.limit),
        changes=None,
        class_changes=None,
    )


def _outliers(plan: Plan, rows: Version, examples: pa.Table, unlike: FoundOutliers) -> pa.Table:
    is_outlier = unlike.is_outlier
    return outliers_table(examples, rows.scored[is_outlier], unlike.near_class[is_outlier], plan.class_names)


def _with_annotators(
    plan: Plan, tables: AuditTables, answered: AnsweredRows, found: LabelIssues
) -> tuple[AuditTables, Annotators]:
    """Return the tables with those of the annotators, and their counts."""
    assert found.evidence is not None, "detection was without the answers"
    made = consensus_tables(plan, tables.examples, answered, found)
    counts = annotators_found(*made, are_labels_answers=found.evidence.are_labels_answers)
    tables = replace(tables, consensus=made.consensus, annotators=made.annotators, answers=made.answers)
    return tables, counts


def _annotator_notes(found: Annotators | None, tables: AuditTables, *, has_canaries: bool) -> tuple[str, ...]:
    if found is None or tables.annotators is None:
        return ()
    return annotators_in_words(found, tables.annotators, has_canaries=has_canaries)


def _compared_notes(compared: Compared | None, before: OpenPredecessor | NotCompared | None) -> tuple[str, ...]:
    if compared is not None:
        return compared.changes.sentences
    return (before.note,) if isinstance(before, NotCompared) else ()


def measured_range(review: Review) -> ErrorRange | None:
    """Return the share of wrong labels that people measured on a random sample of this version, if they did."""
    measured = review.error_rate
    if measured is None or not measured.same_version:
        return None
    return ErrorRange(measured.estimate, measured.low, measured.high, RateBasis.VERDICTS)


def _basis_note(labels: np.ndarray, found: LabelIssues, *, is_trained_here: bool) -> str:
    """Return one note on what the estimates rest on."""
    agreement = float((found.predicted_labels == labels).mean())
    if agreement >= WEAK_AGREEMENT or not is_trained_here:
        return found.noise.sentence
    return (
        f"{found.noise.sentence} The models agree with only {agreement:.1%} of the labels. A better model would flag "
        "more precisely and narrow the range."
    )


def _examples(
    plan: Plan,
    rows: Version,
    probabilities: Probabilities,
    found: LabelIssues,
    row_verdicts: RowVerdicts,
    quality: InputQuality | None,
    unlike: FoundOutliers | None,
) -> pa.Table:
    examples = rows.examples
    scores = Scores(
        row=rows.scored,
        label=rows.of_scored(examples.label),
        predicted=found.predicted_labels,
        p_given=found.scores.p_given,
        p_predicted=found.scores.p_predicted,
        p_other=found.scores.p_other,
        class_names=plan.class_names,
        label_score=found.label_score,
        is_label_issue=found.is_label_issue,
        p_wrong=found.p_wrong,
        p_wrong_without_verdicts=found.p_wrong_without_verdicts,
        is_dismissed=found.is_dismissed,
        dynamics=probabilities.dynamics,
        views_agree=probabilities.views_agree,
        outlier_score=None if unlike is None else unlike.score,
    )
    has_verdicts = any(row_verdicts.counts.values())
    return examples_table(
        examples.select(ROW_SCHEMA),
        scores,
        fold=rows.fold_of[0],
        verdicts=row_verdicts.verdicts if has_verdicts else None,
        right_labels=row_verdicts.right_labels if has_verdicts else None,
        remove_reasons=row_verdicts.remove_reasons if has_verdicts else None,
        slices={name: values.arrow for name, values in examples.slices.items()},
        input_issues=None if quality is None else quality.by_row(len(examples.label)),
    )


def _rare_classes(rows: Version) -> dict[str, int]:
    """Return the number of rows of each class that was set aside."""
    is_rare = rows.examples.status == Status.RARE_CLASS
    return dict(sorted(Counter(rows.examples.given_label[is_rare]).items()))
