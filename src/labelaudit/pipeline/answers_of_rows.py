"""The answers of annotators: read, joined to the rows by id, and what does not fit in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.version import Version
from labelaudit.config import AuditConfig
from labelaudit.data.annotations import AnswerColumns, AnswerTable, read_answers
from labelaudit.data.columns import Columns
from labelaudit.data.majority_vote import no_common_ids
from labelaudit.detection.answers import Answers
from labelaudit.errors import DatasetError
from labelaudit.text import listing
from labelaudit.versions.named import open_annotations

# Below this share of answers that name a class of the dataset, the table probably contains something else.
_LEAST_KNOWN = 0.5
_SHOWN = 5


class JoinedAnswers(NamedTuple):
    """The answers to the scored rows, and sentences on these and on all others."""

    answers: Answers
    notes: tuple[str, ...]


def find_answers(config: AuditConfig, columns: Columns | None) -> AnswerTable | None:
    """Read the answers that the config names; None if it names none.

    Args:
        columns: how the dataset is read; None for external probabilities.

    Raises:
        DatasetError: they cannot be read.
    """
    source = open_annotations(config)
    if source is None:
        return None
    named = config.dataset.annotation_columns
    return read_answers(
        source,
        AnswerColumns(named.id, named.annotator, named.label),
        id_name=None if columns is None else columns.id,
        rename=config.dataset.rename,
        is_rename_checked=columns is not None and columns.is_voted,
        label_names=() if columns is None else columns.label_names,
    )


def with_answers(plan: Plan, rows: Version, answers: AnswerTable, sha256: str) -> Plan:
    """Return a plan with the answers, and the id that it has with them.

    Args:
        sha256: of the file with the answers in the work folder.

    Raises:
        DatasetError: the answers do not belong to the dataset.
    """
    joined = join_answers(answers, rows, plan.class_names)
    planned = replace(
        plan,
        annotations=answers.digest,
        annotations_sha256=sha256,
        notes=(*plan.notes, *joined.notes, *answers.notes, *answers.guesses),
    )
    return planned.with_audit_id(rows.places())


def join_answers(answers: AnswerTable, rows: Version, class_names: Sequence[str]) -> JoinedAnswers:
    """Return the answers to the scored rows that name one of the classes.

    Raises:
        DatasetError: no row has answers, or most answers name no class of the dataset.
    """
    examples = rows.examples
    scored_ids = rows.of_scored(examples.example_id)
    # Among the scored rows, each id exists once.
    row_of_id = scored_ids.positions_of(answers.ids)
    is_elsewhere = row_of_id < 0
    is_unknown = is_elsewhere.copy()
    is_unknown[is_elsewhere] = examples.example_id.positions_of(answers.ids[is_elsewhere]) < 0
    if is_unknown.all():
        raise no_common_ids(examples.example_id, answers)
    class_of_label = pd.Index(class_names).get_indexer(pd.Index(answers.labels, dtype=object))
    row, label = row_of_id[answers.id], class_of_label[answers.label]
    is_scored, is_class = row >= 0, label >= 0
    used = is_scored & is_class
    if not is_scored.any():
        raise DatasetError(
            f"None of the {len(row):,} answers is to a row that is scored: the rows have no label, cannot be read, or "
            "their class is too rare. Add answers to labeled rows, or leave dataset.annotations out."
        )
    if used.sum() < _LEAST_KNOWN * is_scored.sum() or not used.any():
        raise _other_classes(answers, label[is_scored], class_names)
    annotators, annotator = np.unique(answers.annotator[used], return_inverse=True)
    joined = Answers(
        row=row[used],
        annotator=annotator.astype(np.int32),
        label=label[used].astype(np.int32),
        annotators=tuple(answers.annotators[number] for number in annotators),
        rows=len(scored_ids),
        num_classes=len(class_names),
    )
    order = np.argsort(joined.row, kind="stable")
    joined = replace(joined, row=joined.row[order], annotator=joined.annotator[order], label=joined.label[order])
    notes = (
        _used_note(joined),
        *_other_ids_notes(answers, is_unknown, is_elsewhere),
        *_other_labels_note(answers, is_scored & ~is_class),
    )
    return JoinedAnswers(joined, notes)


def _used_note(answers: Answers) -> str:
    answered = int((answers.number > 0).sum())
    without = answers.rows - answered
    rest = f" {without:,} scored {'row has' if without == 1 else 'rows have'} no answer." if without else ""
    people = "1 annotator" if len(answers.annotators) == 1 else f"{len(answers.annotators):,} annotators"
    return f"{len(answers):,} answers of {people} to {answered:,} rows are used.{rest}"


def _other_ids_notes(
    answers: AnswerTable, is_unknown: npt.NDArray[np.bool_], is_elsewhere: npt.NDArray[np.bool_]
) -> tuple[str, ...]:
    notes = []
    unknown = np.flatnonzero(is_unknown)
    if len(unknown):
        count = int(is_unknown[answers.id].sum())
        names = listing((repr(name) for name in answers.ids[unknown[:_SHOWN]]), shown=_SHOWN)
        more = ", …" if len(unknown) > _SHOWN else ""
        notes.append(
            f"{_do_not_count(count)}, because the dataset does not have {len(unknown):,} of the ids ({names}{more})."
        )
    unscored = int((is_elsewhere & ~is_unknown)[answers.id].sum())
    if unscored:
        notes.append(f"{_do_not_count(unscored)}, because the rows are not scored.")
    return tuple(notes)


def _other_labels_note(answers: AnswerTable, is_other: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    if not is_other.any():
        return ()
    names, counts = _frequent(answers, is_other)
    named = listing((f"{name!r}: {count:,}" for name, count in zip(names, counts, strict=True)), shown=_SHOWN)
    return (
        f"{_do_not_count(int(is_other.sum()))}, because no class with this name is audited ({named}). If one is "
        "another name of a class, use dataset.rename.",
    )


def _do_not_count(count: int) -> str:
    return "1 answer does not count" if count == 1 else f"{count:,} answers do not count"


def _frequent(answers: AnswerTable, chosen: npt.NDArray[np.bool_]) -> tuple[list[str], list[int]]:
    counts = np.bincount(answers.label[chosen], minlength=len(answers.labels))
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    return [answers.labels[label] for label in order], [int(counts[label]) for label in order]


def _other_classes(answers: AnswerTable, classes: npt.NDArray[np.int64], class_names: Sequence[str]) -> DatasetError:
    known = int((classes >= 0).sum())
    return DatasetError(
        f"Only {known:,} of {len(classes):,} answers name a class that is audited. The answers are "
        f"{listing(map(repr, answers.labels), shown=_SHOWN)}, and the classes are "
        f"{listing(map(repr, class_names), shown=_SHOWN)}. "
        "Name the column of labels with dataset.annotation_columns.label, or use dataset.rename."
    )
