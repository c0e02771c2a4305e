"""The consensus of annotators and the model, as tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.version import Version
from labelaudit.data.annotations import AnswerTable
from labelaudit.detection.answer_evidence import AnsweredRows, right_shares
from labelaudit.detection.answers import Answers, probabilities_of_cells
from labelaudit.detection.crowdlab import Consensus, find_consensus
from labelaudit.detection.issues import LabelIssues
from labelaudit.detection.probability_blocks import ProbabilityBlocks
from labelaudit.pipeline.answers_of_rows import join_answers
from labelaudit.report.annotators import (
    AnnotatorQuality,
    AnsweredScores,
    WrittenAnswers,
    annotators_table,
    answers_table,
    consensus_table,
)
from labelaudit.schemas import Status


class ConsensusTables(NamedTuple):
    """CONSENSUS, ANNOTATORS and ANSWERS."""

    consensus: pa.Table
    annotators: pa.Table
    answers: pa.Table


def answered_rows(plan: Plan, rows: Version, answers: AnswerTable, probabilities: ProbabilityBlocks) -> AnsweredRows:
    """Return the answers to the scored rows, and what the model says about the labels in them."""
    joined = join_answers(answers, rows, plan.class_names).answers
    return AnsweredRows(joined, probabilities_of_cells(joined.cells, probabilities))


def consensus_tables(
    plan: Plan, examples: pa.Table, answered: AnsweredRows, found: LabelIssues, stays: npt.NDArray[np.bool_]
) -> ConsensusTables:
    """Return the tables of the answers.

    All answers are listed. Consensus and annotators are measured with the answers to the rows that stay, unless none
    has answers.

    Args:
        examples: EXAMPLES.
        found: the result of detection with these answers.
        stays: (M,) bool, scored rows that count (`KnownRows.stays`).
    """
    assert found.evidence is not None, "detection was without the answers"
    if not stays[answered.answers.row].any():
        stays = np.ones_like(stays)
    staying = answered.among(stays)
    consensus = find_consensus(staying.answers, staying.p_cells, found.scores)
    every = _written(answered.answers, found.evidence.p_right)
    counted = _written(staying.answers, found.evidence.p_right[stays[every.row]])
    quality = AnnotatorQuality(*right_shares(staying.answers, counted.p_right), consensus.annotator_weight)
    scored = examples.filter(pc.equal(examples["status"], str(Status.SCORED)))
    return ConsensusTables(
        consensus_table(scored, plan.class_names, _scores(answered.answers, staying.answers.number, consensus, found)),
        annotators_table(plan.class_names, counted, consensus.label, quality),
        answers_table(scored["example_id"].combine_chunks(), plan.class_names, every),
    )


def _written(answers: Answers, p_right: npt.NDArray[np.float64]) -> WrittenAnswers:
    return WrittenAnswers(answers.row, answers.annotator, answers.label, p_right, answers.annotators)


def _scores(
    answers: Answers, number: npt.NDArray[np.int64], consensus: Consensus, found: LabelIssues
) -> AnsweredScores:
    """Return what was found about the M scored rows. `number` is that of the answers that count, (M,)."""
    assert found.evidence is not None, "detection was without the answers"
    cells, p_cells = answers.cells, found.evidence.p_cells
    is_consensus = cells.label == consensus.label[cells.row]
    p_consensus = cells.per_row(np.where(is_consensus, p_cells, 0))
    return AnsweredScores(
        consensus=consensus.label,
        quality=consensus.quality,
        agreement=consensus.agreement,
        need=consensus.need,
        certainty=np.maximum(cells.largest(p_cells), 1 - found.evidence.p_wrong),
        number=number,
        predicted=found.predicted_labels,
        p_wrong_of_model=found.p_wrong_of_model,
        p_consensus_wrong=1 - np.clip(p_consensus, 0, 1),
    )
