"""Plain arrays, frames and records -> the Arrow tables of `labelaudit.schemas`, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.errors import LabelauditError
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import (
    BLEND,
    CLASSES,
    CONFUSIONS,
    EXAMPLES,
    FOLDS,
    ISSUES,
    VIEWS,
    VIEWS_TABLE,
    Status,
    slice_column,
)

_IntArray = npt.NDArray[np.integer]
_FloatArray = npt.NDArray[np.floating]
_BoolArray = npt.NDArray[np.bool_]
_Names = Sequence[str | None] | npt.NDArray[np.object_]

# Columns of EXAMPLES that the rows of a version have from the start.
ROW_SCHEMA = pa.schema(
    EXAMPLES.field(name) for name in ("example_id", "given_label", "status", "file", "row", "content_digest", "split")
)


@dataclass(frozen=True)
class Scores:
    """The scores of the M scored rows among the N rows of a version.

    Attributes:
        row: (M,) positions of the scored rows in 0..N-1, each once.
        label: (M,) class numbers of the given labels.
        predicted: (M,) class numbers of the predictions.
        p_given: (M,) probabilities of the given labels.
        p_predicted: (M,) probabilities of the predictions.
        p_other: (M,) the largest probabilities of another class than the given one.
        class_names: K names.
        label_score: (M,) in 0..1.
        is_label_issue: (M,) whether a row is flagged.
        p_wrong: (M,) in 0..1.
        p_wrong_without_verdicts: (M,) in 0..1. None: the same as `p_wrong`.
        is_dismissed: (M,) whether a row would be flagged but was judged fine or to be removed. None: no row.
        dynamics: how the M rows were learned. None: they were not trained here.
        views_agree: (M,) how many views predict the same other label. None: there are not several views.
        outlier_score: (M,) how far a row is from others. None: unknown.
    """

    row: _IntArray
    label: _IntArray
    predicted: _IntArray
    p_given: _FloatArray
    p_predicted: _FloatArray
    p_other: _FloatArray
    class_names: Sequence[str]
    label_score: _FloatArray
    is_label_issue: _BoolArray
    p_wrong: _FloatArray
    is_dismissed: _BoolArray | None = None
    dynamics: Dynamics | None = None
    p_wrong_without_verdicts: _FloatArray | None = None
    views_agree: _FloatArray | None = None
    outlier_score: _FloatArray | None = None


def examples_table(
    rows: pa.Table,
    scores: Scores,
    *,
    fold: _IntArray,
    verdicts: _Names | None = None,
    right_labels: _Names | None = None,
    remove_reasons: _Names | None = None,
    slices: Mapping[str, pa.DictionaryArray] | None = None,
    input_issues: _Names | None = None,
) -> pa.Table:
    """Return all N rows of a version with the scores of the scored ones: EXAMPLES, ordered by example_id.

    Score columns are null for rows that are not scored.

    Args:
        rows: The N rows, with at least the columns example_id, given_label, status, file, row, content_digest and
            split.
        scores: The scores of the rows with status `scored`.
        fold: (N,) fold that holds a row out, -1 if it is not scored.
        verdicts, right_labels, remove_reasons: (N,) what people decided; None if there are no verdicts.
        slices: (N,) values by column of the dataset; each becomes a column `slice_…` at the end.
        input_issues: (N,) what makes inputs hard to use; None if no contents are known.

    Raises:
        LabelauditError: Lengths differ, or the scores are not those of exactly the rows with status `scored`.
    """
    decisions = {
        "verdict": verdicts,
        "right_label": right_labels,
        "remove_reason": remove_reasons,
        "input_issues": input_issues,
    }
    decided = {name: _strings(values) for name, values in decisions.items() if values is not None}
    _check_lengths("examples", len(rows), fold=fold, **decided)
    _check_scores(scores)
    columns = {
        **{field.name: rows[field.name].cast(field.type) for field in ROW_SCHEMA},
        "fold": pa.array(np.asarray(fold, np.int16), mask=np.asarray(fold) < 0),
        **decided,
        **_score_columns(scores, _ScoredRows(scores.row, _scored_mask(scores.row, rows["status"]))),
    }
    absent = {field.type for field in EXAMPLES if field.name not in columns}
    # Absent columns share their memory.
    nulls = {kind: pa.nulls(len(rows), kind) for kind in absent}
    values_of = [columns[field.name] if field.name in columns else nulls[field.type] for field in EXAMPLES]
    table = pa.table(values_of, schema=EXAMPLES)
    for name, values in (slices or {}).items():
        table = table.append_column(slice_column(name), values)
    # Sorting needs a second copy of all columns, and the rows of an audit are sorted already.
    return table if _is_sorted(table["example_id"]) else table.sort_by("example_id")


class _ScoredRows:
    """The places of the M scored rows among all N rows.

    Args:
        row: (M,) their positions.
        is_scored: (N,) whether a row is one of them.
    """

    def __init__(self, row: _IntArray, is_scored: _BoolArray) -> None:
        self._row, self._is_scored = row, is_scored
        self._are_all = len(row) == len(is_scored) and bool((row[1:] > row[:-1]).all())

    def spread(self, values: npt.ArrayLike, kind: pa.DataType) -> pa.Array:
        """Return (M,) values at their rows, (N,), null elsewhere."""
        of_rows = np.asarray(values, kind.to_pandas_dtype())
        if self._are_all:
            return pa.array(of_rows, kind)  # most types are not copied
        full = np.zeros(len(self._is_scored), of_rows.dtype)
        full[self._row] = of_rows
        return pa.array(full, kind, mask=~self._is_scored)


def _score_columns(scores: Scores, scored: _ScoredRows) -> dict[str, pa.Array]:
    """Return the columns of EXAMPLES with what is known of the scored rows, (N,) each."""
    is_dismissed, without_verdicts = scores.is_dismissed, scores.p_wrong_without_verdicts
    values: dict[str, npt.ArrayLike | None] = {
        "label_score": scores.label_score,
        "is_label_issue": scores.is_label_issue,
        "p_given": scores.p_given,
        "p_predicted": scores.p_predicted,
        "margin": scores.p_given - scores.p_other,
        "is_dismissed": np.zeros(len(scores.row), bool) if is_dismissed is None else is_dismissed,
        "p_wrong": scores.p_wrong,
        "p_wrong_without_verdicts": scores.p_wrong if without_verdicts is None else without_verdicts,
        "views_agree": scores.views_agree,
        "outlier_score": scores.outlier_score,
    }
    if scores.dynamics is not None:
        values |= {f"dynamics_{name}": column for name, column in scores.dynamics.columns().items()}
    numbers = scored.spread(scores.predicted, pa.from_numpy_dtype(scores.predicted.dtype))
    return {
        "predicted_label": pa.array(scores.class_names, pa.string()).take(numbers),
        **{
            name: scored.spread(column, EXAMPLES.field(name).type)
            for name, column in values.items()
            if column is not None
        },
    }


def issues_table(
    examples: pa.Table, suggested_labels: _Names | None = None, p_suggested: _FloatArray | None = None
) -> pa.Table:
    """Return the flagged rows of an EXAMPLES table, ranked from 1: ISSUES.

    The highest p_wrong is first. Ties are ordered by label_score (lowest first), then by example_id.

    suggested_labels: the most probable other label of each flagged row, in the order of `examples`;
    the predicted labels where left out.
    p_suggested: their probabilities by the model. With them, the answers of annotators may suggest another label than
    the predicted one. None: those of the most probable other label.

    Raises LabelauditError if a suggestion is the given label, or not the prediction though that differs.
    """
    flagged = examples.filter(pc.fill_null(examples["is_label_issue"], False))
    predicted, given = flagged["predicted_label"], flagged["given_label"]
    suggested = predicted if suggested_labels is None else _strings(suggested_labels)
    _check_lengths("issues", len(flagged), suggested_labels=suggested)
    differs = pc.not_equal(predicted, given)
    wrong = pc.equal(suggested, given)
    if p_suggested is None:
        wrong = pc.or_(wrong, pc.and_(differs, pc.not_equal(suggested, predicted)))
    if pc.any(wrong).as_py():
        first = flagged.filter(wrong)["example_id"][0].as_py()
        raise LabelauditError(
            f"issues table: {pc.sum(wrong).as_py():,} suggested labels are not the most probable other label"
            f" (first: {first}); pass one suggestion per flagged row, in the order of the examples."
        )
    # The margin is p_given less the largest other probability: that is the suggested label's.
    of_other = pc.if_else(differs, flagged["p_predicted"], pc.subtract(flagged["p_given"], flagged["margin"]))
    known = of_other if p_suggested is None else pa.array(p_suggested, pa.float32())
    flagged = flagged.append_column("suggested_label", suggested).append_column("p_suggested", known)
    flagged = flagged.sort_by([("p_wrong", "descending"), ("label_score", "ascending"), ("example_id", "ascending")])
    flagged = flagged.append_column("rank", pa.array(np.arange(1, len(flagged) + 1)))
    return flagged.select(ISSUES.names).cast(ISSUES)


def classes_table(classes: pd.DataFrame, *, rare_classes: Mapping[str, int]) -> pa.Table:
    """Rows of the scored classes in their order, then those of the rare ones, without measures: CLASSES.

    classes: columns of CLASSES, one row per scored class. rare_classes: name -> rows, set aside.
    Raises LabelauditError for a missing column, or a class that comes twice.
    """
    rare = [
        {"class_name": name, "status": str(Status.RARE_CLASS), "examples": rows}
        for name, rows in sorted(rare_classes.items())
    ]
    scored = _from_frame("classes", classes, CLASSES)
    table = pa.concat_tables([scored, pa.Table.from_pylist(rare, schema=CLASSES)]).combine_chunks()
    _check_unique("classes", table.select(["class_name"]))
    return table


def confusions_table(confusions: pd.DataFrame) -> pa.Table:
    """Ordered pairs of classes in their order: CONFUSIONS. Pairs that are never confused may be left out.

    Raises LabelauditError for a missing column, a pair of a class with itself, or a pair that comes twice.
    """
    table = _from_frame("confusions", confusions, CONFUSIONS)
    same = table.filter(pc.equal(table["given_label"], table["suggested_label"]))
    if len(same):
        raise LabelauditError(
            f"confusions table: class {same['given_label'][0].as_py()!r} is paired with itself;"
            " pass only pairs whose labels differ."
        )
    _check_unique("confusions", table.select(["given_label", "suggested_label"]))
    return table


@dataclass(frozen=True)
class FoldRow:
    """What became of one fold, in the columns of FOLDS. None if the fold was not trained here."""

    fold: int
    repeat: int
    training_examples: int | None
    held_out_examples: int
    agreement: float
    mean_p_given: float
    training_loss: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    seed: int | None = None
    sha256: str | None = None
    view: str = "network"  # a ViewName, or BLEND


@dataclass(frozen=True)
class ViewRow:
    """What one view contributes, in the columns of VIEWS_TABLE."""

    view: str  # a ViewName, or BLEND
    weight: float
    temperature: float
    agreement: float
    log_loss: float | None
    other_label: int
    confirmed: int


def folds_table(folds: Iterable[FoldRow]) -> pa.Table:
    """Return one row per fold and view, ordered by view, then by fold: FOLDS.

    Raises LabelauditError unless the folds of each view are 0, 1, 2, ..., once each.
    """
    order = (*VIEWS, BLEND)
    ordered = sorted(folds, key=lambda row: (order.index(row.view), row.fold))
    for view in {row.view for row in ordered}:
        numbers = [row.fold for row in ordered if row.view == view]
        if numbers != list(range(len(numbers))):
            raise LabelauditError(f"folds table: got the folds {numbers}; pass each fold from 0 on exactly once.")
    return _from_rows(ordered, FOLDS)


def views_table(views: Sequence[ViewRow]) -> pa.Table:
    """Return one row per view, in their order: VIEWS_TABLE."""
    return _from_rows(views, VIEWS_TABLE)


def _from_rows(rows: Sequence[FoldRow] | Sequence[ViewRow], schema: pa.Schema) -> pa.Table:
    """Return rows whose fields are the columns of a schema, in its order."""
    values = zip(*map(astuple, rows), strict=True) if rows else ([] for _ in schema)
    columns = [pa.array(list(column), field.type) for column, field in zip(values, schema, strict=True)]
    return pa.table(columns, schema=schema)


def _check_scores(scores: Scores) -> None:
    _check_lengths(
        "examples",
        len(scores.row),
        label=scores.label,
        predicted=scores.predicted,
        p_given=scores.p_given,
        p_predicted=scores.p_predicted,
        p_other=scores.p_other,
        label_score=scores.label_score,
        is_label_issue=scores.is_label_issue,
        p_wrong=scores.p_wrong,
        **({} if scores.is_dismissed is None else {"is_dismissed": scores.is_dismissed}),
    )


def _is_sorted(values: pa.ChunkedArray) -> bool:
    is_ordered = pc.less_equal(values.slice(0, max(0, len(values) - 1)), values.slice(1))
    return bool(pc.all(is_ordered, min_count=0, skip_nulls=False).as_py())


def _scored_mask(scored_rows: _IntArray, status: pa.ChunkedArray) -> _BoolArray:
    has_status = pc.equal(status, str(Status.SCORED)).to_numpy()
    is_scored = np.zeros(len(has_status), dtype=bool)
    is_scored[scored_rows] = True
    if is_scored.sum() != len(scored_rows) or not np.array_equal(is_scored, has_status):
        raise LabelauditError(
            f"examples table: {len(scored_rows):,} scores name {int(is_scored.sum()):,} rows, but"
            f" {int(has_status.sum()):,} rows have the status 'scored'; pass each of these exactly once."
        )
    return is_scored


def _from_frame(table: str, frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The columns of the schema, NaN as null: SQL engines leave nulls out of a mean, not NaNs."""
    absent = [name for name in schema.names if name not in frame.columns]
    if absent:
        raise LabelauditError(f"{table} table: the columns {', '.join(absent)} are missing; pass all of its schema.")
    converted = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    return converted.replace_schema_metadata(schema.metadata)


def _strings(values: _Names) -> pa.Array:
    return pa.array(list(values), pa.string())


def _check_lengths(table: str, length: int, **columns: Sized) -> None:
    wrong = [f"{name} has {len(values):,}" for name, values in columns.items() if len(values) != length]
    if wrong:
        raise LabelauditError(f"{table} table: expected {length:,} rows, but {', '.join(wrong)}; pass whole columns.")


def _check_unique(table: str, keys: pa.Table) -> None:
    counts = keys.group_by(keys.column_names).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1)).select(keys.column_names).to_pylist()
    if twice:
        raise LabelauditError(
            f"{table} table: {' -> '.join(map(repr, twice[0].values()))} comes more than once; pass it once."
        )
