"""Canaries: wrong labels planted on trusted rows of a copy, to measure whether detection finds them.

The out-of-fold probabilities were computed before, so nothing is trained again. The share that is caught shows whether
detection works. It does not estimate the share of real errors that detection finds, because people make errors on
harder rows. With the filter `auto`, a canary is caught if the `p_wrong` of its planted label reaches the cut that was
chosen for the real labels.

Canaries measure detection on the out-of-fold probabilities alone. A row's training dynamics belong to the label with
which the models were trained, so they would defend the real label and say nothing about the planted one. Therefore the
copy of the labels is always judged without dynamics, whatever ranks the rows of the audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.util import hash_array
from scipy.stats import binomtest

from labelaudit.detection.issues import LabelIssues, flags_of_other_labels
from labelaudit.detection.probability_blocks import ProbabilityBlocks, read_rows
from labelaudit.detection.row_scores import with_labels
from labelaudit.findings import Recall
from labelaudit.strings import Strings

# Canaries of each kind: this share of the scored rows, within these bounds. More would change what is measured.
SHARE = 0.01
FEWEST = 5
MOST = 200
# A class loses at most this share of its rows, and gains at most as much. Smaller classes stay as they are. This way no
# class disappears or turns into another one.
CLASS_SHARE = 0.1
SMALLEST_CLASS = 5
# Trusted rows that are considered per canary. Those whose class has reached its limit are skipped.
CANDIDATES = 50
# Ids that are hashed at once.
HASHED_IDS = 2**16


class Flip(StrEnum):
    """How a canary got its label."""

    RANDOM = "random"  # any other class
    LIKELY = "likely"  # the most probable class apart from the given one


@dataclass(frozen=True)
class Canaries:
    """C trusted rows with a planted label, and which of them detection caught."""

    rows: npt.NDArray[np.int64]  # (C,) positions among the M scored rows, ascending
    planted_labels: npt.NDArray[np.int64]  # (C,) never the given label
    flips: npt.NDArray[np.object_]  # (C,) of Flip
    label_score: npt.NDArray[np.float64]  # (C,) probability of the planted label
    is_caught: npt.NDArray[np.bool_]  # (C,)
    note: str = ""  # why there are none; empty if there are some


def plant_canaries(
    example_ids: Strings,
    labels: npt.NDArray[np.int64],
    probabilities: ProbabilityBlocks,
    found: LabelIssues,
    *,
    is_doubted: npt.NDArray[np.bool_],
    filter_by: str,
    seed: int,
) -> Canaries:
    """Give trusted rows another label in a copy of the labels, and run detection on the copy.

    A row is trusted if it is not flagged, its predicted label is the given one, and it is not in `is_doubted`. A keyed
    hash of the id chooses the canaries and their random labels, so that both depend on the seed and on the rows but not
    on the order of rows. Half of the labels are random, half are the most probable other class. With two classes these
    are the same, and all count as random.

    Args:
        example_ids: M ids, each once.
        labels: (M,) int64 in 0..K-1.
        probabilities: M rows of K classes.
        found: the result of `find_issues` for these labels.
        is_doubted: (M,) bool, rows that are not trusted, such as those judged wrong by a person.
        filter_by: the filter of `find_issues`.
        seed: chooses rows and random labels.

    Returns:
        The canaries. If fewer than 5 rows of a kind qualify, there are none, and `note` says so.
    """
    sizes = np.bincount(labels, minlength=probabilities.num_classes)
    room = np.where(sizes >= SMALLEST_CLASS, np.ceil(CLASS_SHARE * sizes), 0).astype(np.int64)
    if (room > 0).sum() < 2:
        room[:] = 0
    wanted = _wanted(len(labels), two_classes=int((room > 0).sum()) == 2)
    is_trusted = ~found.is_label_issue & (found.predicted_labels == labels) & ~is_doubted & (room[labels] > 0)
    trusted = np.flatnonzero(is_trusted)
    order = np.argsort(_hashes(example_ids[trusted], "rows", seed), kind="stable")
    trusted = trusted[order[: CANDIDATES * sum(wanted.values())]]
    flips = np.resize(np.array(list(wanted), dtype=object), len(trusted))
    planted = np.where(
        flips == Flip.LIKELY,
        _likely_labels(trusted, labels[trusted], probabilities, found, room),
        _random_labels(labels[trusted], _hashes(example_ids[trusted], "labels", seed), room),
    )
    chosen = _within_bounds(labels[trusted], planted, flips, room, wanted)
    if any((flips[chosen] == flip).sum() < FEWEST for flip in wanted):
        return _none(
            f"Canaries: fewer than {FEWEST} rows of a kind can be trusted without changing more than a tenth of a "
            "class. The share of planted errors that detection finds is not known."
        )
    return _run(trusted[chosen], planted[chosen], flips[chosen], probabilities, found, filter_by)


def measure_recall(canaries: Canaries, flip: Flip | None = None) -> Recall | None:
    """Return the caught share of one kind or of all canaries with Wilson's interval, or None if there are none."""
    caught = canaries.is_caught if flip is None else canaries.is_caught[canaries.flips == flip]
    planted, hits = len(caught), int(caught.sum())
    if not planted:
        return None
    low, high = binomtest(hits, planted).proportion_ci(0.95, method="wilson")
    return Recall(planted, hits, hits / planted, float(low), float(high))


def _wanted(rows: int, *, two_classes: bool) -> dict[Flip, int]:
    """Return the number of canaries by kind."""
    each = max(FEWEST, min(MOST, int(SHARE * rows)))
    return {Flip.RANDOM: 2 * each} if two_classes else {Flip.RANDOM: each, Flip.LIKELY: each}


def _hashes(example_ids: Strings, what: str, seed: int) -> npt.NDArray[np.uint64]:
    """Return (n,) uint64: the SipHash of each id, keyed with the seed and the purpose."""
    hashes = np.empty(len(example_ids), np.uint64)
    # In parts, because pandas needs Python strings.
    for start in range(0, len(example_ids), HASHED_IDS):
        part = slice(start, start + HASHED_IDS)
        # The key of pandas has 16 bytes.
        ids = np.asarray(example_ids[part], object)
        hashes[part] = hash_array(ids, hash_key=f"{what[:6]:6}{seed:010d}", categorize=False)
    return hashes


def _random_labels(
    labels: npt.NDArray[np.int64], draws: npt.NDArray[np.uint64], room: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return one of the other classes with room for each label, all with the same probability."""
    classes = np.flatnonzero(room)
    own = np.searchsorted(classes, labels)
    other = (draws % np.uint64(max(1, len(classes) - 1))).astype(np.int64)
    shifted: npt.NDArray[np.int64] = classes[other + (other >= own)]
    return shifted


def _likely_labels(
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    probabilities: ProbabilityBlocks,
    found: LabelIssues,
    room: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return the most probable other class with room for the label of each of the rows."""
    likely = found.scores.other[rows].astype(np.int64)
    if (room[likely] > 0).all():
        return likely
    index_of = np.full(len(probabilities), -1, np.int64)
    index_of[rows] = np.arange(len(rows))
    for positions, pred_probs in probabilities.blocks():
        index = index_of[positions]
        is_wanted = index >= 0
        index = index[is_wanted]
        others = np.where(room > 0, pred_probs[is_wanted], -1)
        others[np.arange(len(index)), labels[index]] = -1
        likely[index] = others.argmax(axis=1)
    return likely


def _within_bounds(
    labels: npt.NDArray[np.int64],
    planted: npt.NDArray[np.int64],
    flips: npt.NDArray[np.object_],
    room: npt.NDArray[np.int64],
    wanted: dict[Flip, int],
) -> npt.NDArray[np.int64]:
    """Return the positions of the first rows of each kind that keep every class within its limits."""
    is_within = (_rank_among_equals(labels) < room[labels]) & (_rank_among_equals(planted) < room[planted])
    chosen = [np.flatnonzero(is_within & (flips == flip))[:number] for flip, number in wanted.items()]
    return np.concatenate(chosen).astype(np.int64)


def _rank_among_equals(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of equal values before each value."""
    return np.asarray(pd.Series(values).groupby(values).cumcount(), dtype=np.int64)


def _run(
    rows: npt.NDArray[np.int64],
    planted: npt.NDArray[np.int64],
    flips: npt.NDArray[np.object_],
    probabilities: ProbabilityBlocks,
    found: LabelIssues,
    filter_by: str,
) -> Canaries:
    order = np.argsort(rows)
    rows, planted, flips = rows[order], planted[order], flips[order]
    changed = with_labels(found.scores, rows, planted, read_rows(probabilities, rows))
    is_caught = flags_of_other_labels(probabilities, changed, found, filter_by=filter_by)[rows]
    return Canaries(rows, planted, flips, changed.p_given[rows].astype(np.float64), is_caught)


def _none(note: str) -> Canaries:
    integers = np.empty(0, np.int64)
    return Canaries(integers, integers, np.empty(0, object), np.empty(0, np.float64), np.empty(0, bool), note)
