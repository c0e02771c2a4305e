"""The tables of annotators, their answers and the consensus, its counts, and what they say in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.findings import Annotators
from labelaudit.schemas import ANNOTATORS, ANSWERS, CONSENSUS
from labelaudit.shares import whole_percent
from labelaudit.text import listing

# To an annotator's answers in a class, so many with the agreement in all classes are added. So a single answer makes no
# worst class.
_USUAL_ANSWERS = 5
# Annotators in a sentence.
_SHOWN = 5


class AnsweredScores(NamedTuple):
    """What was found about M scored rows, in their order. Rows without answers have the consensus -1."""

    consensus: npt.NDArray[np.int32]  # (M,) class numbers
    quality: npt.NDArray[np.float64]
    agreement: npt.NDArray[np.float64]
    need: npt.NDArray[np.float64]  # ActiveLab
    certainty: npt.NDArray[np.float64]  # the highest probability of a label, by model and answers
    number: npt.NDArray[np.int64]  # of answers
    predicted: npt.NDArray[np.int32]
    p_wrong_of_model: npt.NDArray[np.float32]
    p_consensus_wrong: npt.NDArray[np.float64]


class WrittenAnswers(NamedTuple):
    """A answers, ordered by row and annotator."""

    row: npt.NDArray[np.int64]  # among the M scored rows
    annotator: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]  # class numbers
    p_right: npt.NDArray[np.float64]
    annotators: tuple[str, ...]


class AnnotatorQuality(NamedTuple):
    """What was found about each of J annotators."""

    quality: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]


def consensus_table(scored: pa.Table, class_names: tuple[str, ...], scores: AnsweredScores) -> pa.Table:
    """Return the rows with answers: CONSENSUS.

    Args:
        scored: the M scored rows of EXAMPLES.
        class_names: K names.
        scores: of the M rows.
    """
    rows = np.flatnonzero(scores.number > 0)
    table = scored.take(pa.array(rows))
    names = pa.array(class_names, pa.string())
    consensus = names.take(pa.array(scores.consensus[rows]))
    # A row that a person has judged does not need another opinion.
    is_judged = np.asarray(pc.is_valid(table["verdict"]))
    order = np.lexsort((scores.need[rows], scores.certainty[rows], is_judged))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(1, len(rows) + 1)
    given = np.asarray(table["given_label"].to_numpy(), object)
    is_unanimous = (scores.number[rows] > 1) & (scores.agreement[rows] == 1)
    found = {
        "consensus_label": consensus,
        "consensus_quality_score": scores.quality[rows],
        "num_annotations": scores.number[rows],
        "annotator_agreement": scores.agreement[rows],
        "is_other_label": given != np.asarray(consensus.to_numpy(zero_copy_only=False), object),
        "is_disputed": is_unanimous & (scores.predicted[rows] != scores.consensus[rows]),
        "p_wrong_of_model": scores.p_wrong_of_model[rows],
        "p_consensus_wrong": scores.p_consensus_wrong[rows],
        "active_learning_score": scores.need[rows],
        "opinion_rank": rank,
    }
    columns = [
        pa.array(found[field.name], field.type) if field.name in found else table[field.name] for field in CONSENSUS
    ]
    return pa.table(columns, schema=CONSENSUS)


def answers_table(example_ids: pa.Array, class_names: tuple[str, ...], answers: WrittenAnswers) -> pa.Table:
    """Return all answers: ANSWERS. `example_ids` are those of the M scored rows."""
    columns = [
        example_ids.take(pa.array(answers.row)).cast(pa.string()),
        pa.array(answers.annotators, pa.string()).take(pa.array(answers.annotator)),
        pa.array(class_names, pa.string()).take(pa.array(answers.label)),
        pa.array(answers.p_right, pa.float32()),
    ]
    return pa.table(columns, schema=ANSWERS)


def annotators_table(
    class_names: tuple[str, ...],
    answers: WrittenAnswers,
    consensus: npt.NDArray[np.int32],
    found: AnnotatorQuality,
) -> pa.Table:
    """Return a row for each annotator, the surely worst first: ANNOTATORS.

    Args:
        consensus: (M,) class numbers.
        found: what was found about each annotator.
    """
    of_row = consensus[answers.row]
    is_equal = answers.label == of_row
    count = len(answers.annotators)
    number = np.bincount(answers.annotator, minlength=count)
    agreement = np.bincount(answers.annotator, is_equal, count) / np.maximum(number, 1)
    worst = _worst_classes(answers.annotator, of_row, is_equal, agreement, len(class_names))
    frame = pd.DataFrame(
        {
            "annotator": answers.annotators,
            "answers": number,
            "agreement_with_consensus": agreement,
            "quality": found.quality,
            "quality_low": found.low,
            "quality_high": found.high,
            "worst_class": np.array(class_names, object)[worst["class"].to_numpy()],
            "worst_class_answers": worst["answers"].to_numpy(),
            "worst_class_agreement": worst["agreement"].to_numpy(),
            "weight": found.weight,
        }
    )
    order = np.lexsort([np.arange(count), -number, found.high])
    table = pa.Table.from_pandas(frame.iloc[order][ANNOTATORS.names], ANNOTATORS, preserve_index=False)
    return table.replace_schema_metadata(ANNOTATORS.metadata)


def _worst_classes(
    annotator: npt.NDArray[np.int32],
    consensus: npt.NDArray[np.int32],
    is_equal: npt.NDArray[np.bool_],
    agreement: npt.NDArray[np.float64],
    num_classes: int,
) -> pd.DataFrame:
    """Return for each annotator the class with the lowest agreement: class, answers and agreement."""
    keys, pair = np.unique(annotator.astype(np.int64) * num_classes + consensus, return_inverse=True)
    number, equal = np.bincount(pair), np.bincount(pair, is_equal)
    frame = pd.DataFrame(
        {"annotator": keys // num_classes, "class": keys % num_classes, "answers": number, "agreement": equal / number}
    )
    usual = agreement[frame["annotator"]]
    frame["shrunk"] = (equal + _USUAL_ANSWERS * usual) / (number + _USUAL_ANSWERS)
    return frame.sort_values(["annotator", "shrunk", "class"], kind="stable").drop_duplicates("annotator")


def annotators_found(
    consensus: pa.Table, annotators: pa.Table, answers: pa.Table, *, are_labels_answers: bool
) -> Annotators:
    """Return the counts of the three tables. Answers that no annotator is judged by are those to rows to remove."""
    counted = annotators["answers"].to_numpy()
    quality = float(np.average(annotators["quality"].to_numpy(), weights=counted))
    return Annotators(
        annotators=len(annotators),
        answers=int(counted.sum()),
        rows=len(consensus),
        other_labels=int(np.asarray(consensus["is_other_label"]).sum()),
        disputed=int(np.asarray(consensus["is_disputed"]).sum()),
        quality=quality,
        below_average=int((annotators["quality_high"].to_numpy() < quality).sum()),
        are_labels_answers=are_labels_answers,
        to_removed_rows=len(answers) - int(counted.sum()),
    )


def annotators_in_words(found: Annotators, annotators: pa.Table, *, has_canaries: bool) -> tuple[str, ...]:
    """Return sentences on annotators and consensus."""
    labels = (
        "The given labels are the majority of the answers, so p_wrong rests on the answers and the model."
        if found.are_labels_answers
        else "The given labels are not the majority of the answers, so p_wrong rests on both and on the model."
    )
    sentences = [
        f"The consensus of {found.annotators:,} annotators and the model differs from the given label in "
        f"{found.other_labels:,} of {found.rows:,} rows. {labels}"
    ]
    if found.disputed:
        rows = "1 row" if found.disputed == 1 else f"{found.disputed:,} rows"
        sentences.append(
            f"In {rows}, all annotators agree but the model predicts another label. See is_disputed in "
            "consensus.parquet."
        )
    if found.below_average:
        names = listing(annotators["annotator"].slice(0, min(_SHOWN, found.below_average)).to_pylist())
        more = ", …" if found.below_average > _SHOWN else ""
        are = "annotator is" if found.below_average == 1 else "annotators are"
        sentences.append(
            f"{found.below_average:,} {are} below the average, with 95 % confidence each ({names}{more}). An estimated "
            f"{whole_percent(found.quality)} of all answers are right."
        )
    if found.to_removed_rows:
        answers = "1 answer does" if found.to_removed_rows == 1 else f"{found.to_removed_rows:,} answers do"
        sentences.append(f"{answers} not count for annotators and consensus, because the rows are to be removed.")
    if has_canaries:
        sentences.append("Canaries are planted in labels, not in answers, so they measure what the model alone finds.")
    return tuple(sentences)


def worse_annotators(before: pa.Table | None, now: pa.Table | None, version: str) -> list[str]:
    """Return a sentence on annotators whose interval is below that of an earlier audit; none without both tables."""
    if before is None or now is None:
        return []
    columns = ["annotator", "quality", "quality_low", "quality_high"]
    both = (
        now.select(columns).to_pandas().merge(before.select(columns).to_pandas(), on="annotator", suffixes=("", "_0"))
    )
    worse = both[both["quality_high"] < both["quality_low_0"]].sort_values(["quality", "annotator"])
    if worse.empty:
        return []
    changes = (
        f"{row.annotator} {whole_percent(row.quality_0)} → {whole_percent(row.quality)}" for row in worse.itertuples()
    )
    named = listing(changes, shown=_SHOWN)
    verb = "annotator is" if len(worse) == 1 else "annotators are"
    return [f"{len(worse):,} {verb} right less often than in version {version}: {named}."]
