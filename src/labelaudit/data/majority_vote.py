"""The majority of the answers to each row, as its label if the dataset has none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from labelaudit.data.annotations import AnswerTable
from labelaudit.errors import DatasetError
from labelaudit.strings import Strings
from labelaudit.text import listing


@dataclass(frozen=True)
class Majority:
    """The label of each row that has answers.

    Attributes:
        answers: the answers.
        label: (U,) int32, the position in `answers.labels` of the label of each of `answers.ids`.
        ties: rows whose most frequent answers are equally many.
    """

    answers: AnswerTable
    label: npt.NDArray[np.int32]
    ties: int

    def labels_of(self, ids: Strings) -> npt.NDArray[np.object_]:
        """Return the labels of rows by their ids, (N,) object of str, None for a row without answers.

        Raises:
            DatasetError: no row has answers.
        """
        positions = self.answers.ids.positions_of(ids)
        if not (positions >= 0).any():
            raise no_common_ids(ids, self.answers)
        names = np.array([*self.answers.labels, None], dtype=object)
        labels: npt.NDArray[np.object_] = names[np.where(positions >= 0, self._padded[positions], -1)]
        return labels

    @cached_property
    def _padded(self) -> npt.NDArray[np.int64]:
        return np.append(self.label.astype(np.int64), -1)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence on the origin of the labels."""
        ties = ""
        if self.ties:
            ties = (
                f" In {self.ties:,} of {len(self.label):,} rows, several answers are equally frequent. The one of the "
                "annotators who agree more often with the majority of other rows is the label, else one by chance."
            )
        return (f"The labels are the majority of the answers in dataset.annotations.{ties}",)


def majority_of(answers: AnswerTable) -> Majority:
    """Return the most frequent answer to each row.

    Of equally frequent answers, the one wins whose annotators agree more often with the majority of rows without a tie;
    if they agree equally often, a hash of the id chooses. So no class is preferred, and the result is always the same.
    """
    classes = max(1, len(answers.labels))
    pairs, pair_of = np.unique(answers.id * classes + answers.label, return_inverse=True)
    row, label = np.divmod(pairs, classes)
    votes = np.bincount(pair_of)
    starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    is_most = votes == np.maximum.reduceat(votes, starts)[row]
    is_tied = np.bincount(row, is_most)[row] > 1
    winner = np.full(len(answers.ids), -1, np.int64)
    decided = is_most & ~is_tied
    winner[row[decided]] = label[decided]
    tied = np.flatnonzero(is_most & is_tied)
    weight = np.bincount(pair_of, _agreement(answers, winner)[answers.annotator]).astype(np.float64)
    _break_ties(winner, row[tied], label[tied], weight[tied], answers.ids)
    return Majority(answers, winner.astype(np.int32), len(np.unique(row[tied])))


def no_common_ids(ids: Strings, answers: AnswerTable) -> DatasetError:
    """Return the error of a dataset and answers that have no id in common."""
    return DatasetError(
        f"None of the {len(answers.ids):,} ids in dataset.annotations ({_first(answers.ids)}) is an id of the dataset "
        f"({_first(ids)}). Name the columns of ids with dataset.id and dataset.annotation_columns.id."
    )


def _first(ids: Strings) -> str:
    return listing(map(repr, ids[:3].tolist())) + (", …" if len(ids) > 3 else "")


def _agreement(answers: AnswerTable, winner: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the share of each annotator's answers that equal the majority, in rows without a tie."""
    of_answer = winner[answers.id]
    is_known = of_answer >= 0
    count = len(answers.annotators)
    equal = np.bincount(answers.annotator[is_known], (answers.label == of_answer)[is_known], count)
    known = np.bincount(answers.annotator[is_known], minlength=count)
    mean = equal.sum() / max(1, known.sum())
    # An annotator without such answers counts as an average one.
    return np.where(known > 0, equal / np.maximum(known, 1), mean)


def _break_ties(
    winner: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    label: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    ids: Strings,
) -> None:
    """Choose among the tied labels of each row, which are in the order of rows."""
    if not len(row):
        return
    starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    number = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(row))))
    # Rounded, because the order of a sum changes its last digits.
    weight = np.round(weight, 9)
    is_best = weight == np.maximum.reduceat(weight, starts)[number]
    row, label = row[is_best], label[is_best]
    starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    count = np.diff(np.append(starts, len(row)))
    chosen = np.zeros(len(starts), np.int64)
    equal = np.flatnonzero(count > 1)
    chosen[equal] = [_hash(name) % of for name, of in zip(ids[row[starts[equal]]], count[equal].tolist(), strict=True)]
    winner[row[starts]] = label[starts + chosen]


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")
