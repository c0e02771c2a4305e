"""The consensus of annotators and the model, as tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.version import Version
from labelaudit.data.annotations import AnswerTable
from labelaudit.detection.answer_evidence import AnsweredRows
from labelaudit.detection.answers import probabilities_of_cells
from labelaudit.detection.crowdlab import find_consensus
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


def consensus_tables(plan: Plan, examples: pa.Table, answered: AnsweredRows, found: LabelIssues) -> ConsensusTables:
    """Return the tables of the answers.

    Args:
        examples: EXAMPLES.
        found: the result of detection with these answers.
    """
    answers, evidence = answered.answers, found.evidence
    assert evidence is not None, "detection was without the answers"
    consensus = find_consensus(answers, answered.p_cells, found.scores)
    cells = answers.cells
    is_consensus = cells.label == consensus.label[cells.row]
    p_consensus = cells.per_row(np.where(is_consensus, evidence.p_cells, 0))
    scores = AnsweredScores(
        consensus=consensus.label,
        quality=consensus.quality,
        agreement=consensus.agreement,
        need=consensus.need,
        certainty=np.maximum(cells.largest(evidence.p_cells), 1 - evidence.p_wrong),
        number=answers.number,
        predicted=found.predicted_labels,
        p_wrong_of_model=found.p_wrong_of_model,
        p_consensus_wrong=1 - np.clip(p_consensus, 0, 1),
    )
    columns = WrittenAnswers(answers.row, answers.annotator, answers.label, evidence.p_right, answers.annotators)
    quality = AnnotatorQuality(evidence.quality, evidence.low, evidence.high, consensus.annotator_weight)
    scored = examples.filter(pc.equal(examples["status"], str(Status.SCORED)))
    return ConsensusTables(
        consensus_table(scored, plan.class_names, scores),
        annotators_table(plan.class_names, columns, consensus.label, quality),
        answers_table(scored["example_id"].combine_chunks(), plan.class_names, columns),
    )
