"""Find label issues in out-of-fold probabilities, and build the tables of the audit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.comparison import (
    Compared,
    NotCompared,
    OpenPredecessor,
    compare_with_predecessor,
    open_predecessor,
)
from labelaudit.audits.detected import AuditTables, Detected
from labelaudit.audits.probabilities import GatheredFolds, Probabilities
from labelaudit.audits.references import FilesReference, PlanReference
from labelaudit.audits.version import Version
from labelaudit.detection.answer_evidence import AnsweredRows
from labelaudit.detection.issues import LabelIssues, find_issues
from labelaudit.findings import ErrorRange, Findings, Promise, RateBasis, Review
from labelaudit.memory import release_if_grown
from labelaudit.pipeline.beyond_labels import BeyondLabels, look_beyond_labels
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.consensus import answered_rows
from labelaudit.pipeline.gating import PlantedCanaries, judge_gate, plant_in_audit
from labelaudit.pipeline.known_rows import KnownRows, load_known_rows
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
from labelaudit.schemas import Status

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
    known = load_known_rows(reference, plan)
    probabilities = GatheredFolds.load(store, gathered).open(store, known.rows.fold_of_scored)
    detected = detect_issues(plan, known, probabilities, open_predecessor(store, plan))
    del known
    release_if_grown()
    return detected.save(store, plan)


@with_one_blas_thread
def detect_issues(
    plan: Plan, known: KnownRows, probabilities: Probabilities, before: OpenPredecessor | NotCompared | None
) -> Detected:
    """Find label issues in checked probabilities, compare with the predecessor, plant canaries, judge the gate.

    Args:
        known: the rows, and what is known of them.
        before: the audit to compare with, or why there is no comparison.
    """
    release_if_grown()
    answered = None
    if known.answers is not None:
        answered = answered_rows(plan, known.rows, known.answers, probabilities.probabilities)
    found = _found_issues(plan, known, probabilities, answered)
    is_doubted = known.is_wrong | known.is_removed
    canaries = plant_in_audit(plan, known.rows, probabilities.probabilities, found, is_doubted)
    release_if_grown()
    tables = _tables(plan, known, probabilities, found, canaries.table)
    beyond = look_beyond_labels(plan, known, tables, found, answered)
    tables, compared = _compare(plan, beyond, before)
    review = _review(known, found)
    findings = Findings(
        issues=int(found.is_label_issue.sum()),
        error_range=measured_range(review) or found.error_range,
        noise=found.noise,
        flag_precision=found.flag_precision,
        cut=found.cut,
        promise=_promise(plan),
        notes=(
            *_compared_notes(compared, before),
            *([review.removal_sentence] if review.removal_sentence else []),
            *_notes_of_detection(plan, known, probabilities, found, beyond, canaries),
        ),
        changes=None if compared is None else compared.changes,
        canaries=canaries.recall,
        review=review,
        duplicates=beyond.copies,
        outliers=beyond.outliers,
        annotators=beyond.annotators,
        slices=beyond.slices,
        quality=beyond.quality,
    )
    gate = judge_gate(
        plan,
        known,
        tables,
        findings,
        dismissed=int(found.is_dismissed.sum()),
        not_compared=before.problem if isinstance(before, NotCompared) else None,
    )
    return Detected(replace(findings, gate=gate), tables)


def _compare(
    plan: Plan, beyond: BeyondLabels, before: OpenPredecessor | NotCompared | None
) -> tuple[AuditTables, Compared | None]:
    """Return all tables, and what changed since the predecessor; None if there is no comparison."""
    tables = beyond.tables
    if not isinstance(before, OpenPredecessor):
        return tables, None
    compared = compare_with_predecessor(before, plan, tables.examples, tables.classes, beyond.others)
    return replace(tables, changes=compared.rows, class_changes=compared.classes), compared


def _review(known: KnownRows, found: LabelIssues) -> Review:
    return known.snapshot.findings(
        known.verdicts,
        dismissed=int((found.is_dismissed & known.is_fine).sum()),
        scored_to_remove=int(known.is_removed.sum()),
    )


def _promise(plan: Plan) -> Promise | None:
    settings = plan.config.detection
    has_promise = settings.precision is not None or settings.recall is not None
    return Promise(settings.precision, settings.recall) if has_promise else None


def _found_issues(
    plan: Plan, known: KnownRows, probabilities: Probabilities, answered: AnsweredRows | None
) -> LabelIssues:
    """Find label issues with everything that is known of the rows."""
    rows, examples, clusters = known.rows, known.rows.examples, known.clusters
    return find_issues(
        rows.of_scored(examples.label),
        probabilities.probabilities,
        plan.class_names,
        filter_by=plan.config.detection.filter,
        promise=_promise(plan),
        is_fine=known.is_fine,
        is_wrong=known.is_wrong,
        is_removed=known.is_removed,
        sample=known.snapshot.judged_sample(
            rows.of_scored(examples.example_id),
            rows.of_scored(examples.content_digest),
            rows.of_scored(examples.given_label),
        ),
        dynamics=probabilities.ranking_dynamics,
        copies=None if clusters is None or plan.kind not in _SHOWN_ALIKE else rows.of_scored(clusters.number),
        answered=answered,
    )


def _tables(
    plan: Plan, known: KnownRows, probabilities: Probabilities, found: LabelIssues, canaries: pa.Table
) -> AuditTables:
    """Return the tables of the labels."""
    scores = _examples(plan, known, probabilities, found)
    names = np.asarray(plan.class_names, dtype=object)
    is_flagged = found.is_label_issue
    p_suggested = None if found.evidence is None else found.p_other[is_flagged]
    return AuditTables(
        examples=scores,
        issues=issues_table(scores, names[found.other[is_flagged]], p_suggested),
        classes=classes_table(found.classes, rare_classes=_rare_classes(known.rows)),
        confusions=confusions_table(found.confusions),
        folds=folds_table(probabilities.folds),
        views=views_table(probabilities.views),
        canaries=canaries,
    )


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


def _notes_of_detection(
    plan: Plan,
    known: KnownRows,
    probabilities: Probabilities,
    found: LabelIssues,
    beyond: BeyondLabels,
    canaries: PlantedCanaries,
) -> tuple[str, ...]:
    return (
        *probabilities.notes,
        *found.notes,
        *beyond.notes(plan.kind, has_canaries=canaries.recall is not None),
        _basis_note(known.rows, found, is_trained_here=bool(plan.views)),
        *([canaries.note] if canaries.note else []),
    )


def _basis_note(rows: Version, found: LabelIssues, *, is_trained_here: bool) -> str:
    """Return one note on what the estimates rest on."""
    agreement = float((found.predicted_labels == rows.of_scored(rows.examples.label)).mean())
    if agreement >= WEAK_AGREEMENT or not is_trained_here:
        return found.noise.sentence
    return (
        f"{found.noise.sentence} The models agree with only {agreement:.1%} of the labels. A better model would flag "
        "more precisely and narrow the range."
    )


def _examples(plan: Plan, known: KnownRows, probabilities: Probabilities, found: LabelIssues) -> pa.Table:
    rows, examples, verdicts = known.rows, known.rows.examples, known.verdicts
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
        outlier_score=None if known.outliers is None else known.outliers.score,
    )
    has_verdicts = any(verdicts.counts.values())
    return examples_table(
        examples.select(ROW_SCHEMA),
        scores,
        fold=rows.fold_of[0],
        verdicts=verdicts.verdicts if has_verdicts else None,
        right_labels=verdicts.right_labels if has_verdicts else None,
        remove_reasons=verdicts.remove_reasons if has_verdicts else None,
        slices={name: values.arrow for name, values in examples.slices.items()},
        input_issues=None if known.quality is None else known.quality.by_row(len(examples.label)),
    )


def _rare_classes(rows: Version) -> dict[str, int]:
    """Return the number of rows of each class that was set aside."""
    is_rare = rows.examples.status == Status.RARE_CLASS
    return dict(sorted(Counter(rows.examples.given_label[is_rare]).items()))
