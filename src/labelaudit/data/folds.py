"""Stratified folds that keep groups together and depend only on ids and seed."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pandas as pd

from labelaudit.errors import DatasetError
from labelaudit.strings import Strings


def assign_folds(
    labels: np.ndarray,
    groups: Strings,
    example_ids: Strings,
    *,
    folds: int,
    repeats: int,
    seed: int,
) -> np.ndarray:
    """Assign rows to folds, independently for each repeat.

    The order of assignment comes from keyed hashes of the ids, so the order of rows and the layout of files
    do not matter. Groups of several rows are placed first, large ones first, where their classes are needed
    most (like scikit-learn's StratifiedGroupKFold). Single rows then fill up each class.

    Args:
        labels: (N,) int64 in 0..K-1, -1 if a row is not scored.
        groups: N strings; rows of one group stay in one fold.
        example_ids: N strings, unique among scored rows.
        folds: at least 2; every class must be in at least as many groups.
        repeats: number of independent divisions.
        seed: seed of the whole run.

    Returns:
        (repeats, N) int16: repeat * folds + the fold within the repeat in which a row is held out;
        -1 if it is not scored. If all groups are single rows, the folds of one repeat differ by at
        most 1 in size and in each class.

    Raises:
        DatasetError: groups are so large or so entangled that a class is in only one fold.
    """
    scored = labels >= 0
    result = np.full((repeats, len(labels)), -1, dtype=np.int16)
    if not scored.any():
        return result
    numbers = groups[scored].numbers()
    for repeat in range(repeats):
        keys = _keyed_hashes(example_ids[scored], seed, repeat)
        division = _Division(labels[scored], numbers, keys, folds)
        result[repeat, scored] = division.assign() + repeat * folds
    return result


def _keyed_hashes(ids: Strings, seed: int, repeat: int) -> np.ndarray:
    """Return (n,) uint64, one hash per id: a pseudo-random order that depends on id, seed and repeat."""
    base = blake2b(f"{seed}/{repeat}".encode(), digest_size=8, person=b"labelaudit fold")
    digests = bytearray()
    for example_id in ids:
        hasher = base.copy()
        hasher.update(b"\0" + example_id.encode())
        digests += hasher.digest()
    return np.frombuffer(digests, dtype="<u8")


class _Division:
    """One division of n rows into folds: `counts[c, f]` rows of class c are in fold f so far."""

    def __init__(self, labels: np.ndarray, groups: np.ndarray, keys: np.ndarray, folds: int) -> None:
        self.labels, self.groups, self.keys, self.folds = labels, groups, keys, folds
        self.class_sizes = np.bincount(labels)
        self.counts = np.zeros((len(self.class_sizes), folds), dtype=np.int64)
        self.fold = np.full(len(labels), -1, dtype=np.int16)

    def assign(self) -> np.ndarray:
        sizes = np.bincount(self.groups)
        is_single = sizes[self.groups] == 1
        self._place_groups(np.flatnonzero(~is_single))
        self._fill_up(np.flatnonzero(is_single))
        self._spread()
        return self.fold

    def _members(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return the rows of each group, the largest group first, then by the smallest key of its members."""
        frame = pd.DataFrame({"group": self.groups[rows], "key": self.keys[rows]})
        per_group = frame.groupby("group")["key"]
        size, key = per_group.transform("size").to_numpy(), per_group.transform("min").to_numpy()
        order = np.lexsort((self.keys[rows], key, -size))
        ordered = rows[order]
        return np.split(ordered, np.flatnonzero(np.diff(self.groups[ordered])) + 1) if len(rows) else []

    def _place_groups(self, rows: np.ndarray) -> None:
        shares = [[0.0] * self.folds for _ in self.class_sizes]  # of each class in each fold
        totals = [0] * self.folds
        for members in self._members(rows):
            added = np.bincount(self.labels[members])
            classes = np.flatnonzero(added).tolist()
            share = {c: float(added[c] / self.class_sizes[c]) for c in classes}
            # Adding to the fold with the smallest weighted share keeps the sum of squares smallest.
            load = [sum(share[c] * shares[c][fold] for c in classes) for fold in range(self.folds)]
            chosen = min(range(self.folds), key=lambda fold: (round(load[fold], 12), totals[fold], fold))
            for c in classes:
                shares[c][chosen] += share[c]
            totals[chosen] += len(members)
            self.fold[members] = chosen
        np.add.at(self.counts, (self.labels[rows], self.fold[rows]), 1)

    def _fill_up(self, rows: np.ndarray) -> None:
        ordered = rows[np.lexsort((self.keys[rows], self.labels[rows]))]
        ends = np.cumsum(np.bincount(self.labels[ordered], minlength=len(self.class_sizes)))
        totals = self.counts.sum(axis=0)
        for label, members in enumerate(np.split(ordered, ends[:-1])):
            taken = _water_fill(self.counts[label], totals, len(members))
            self.fold[members] = np.repeat(np.arange(self.folds), taken)
            self.counts[label] += taken
            totals += taken

    def _spread(self) -> None:
        """Move a group of each class that is in only one fold, because the model of that fold could not learn it."""
        for label in np.flatnonzero((self.counts > 0).sum(axis=1) == 1):
            if (self.counts[label] > 0).sum() == 1 and not self._move_one(int(label)):
                raise DatasetError(
                    f"Class number {label} ({self.class_sizes[label]} examples) cannot be spread over two folds: "
                    "it is in too few groups, or other classes need these groups. Use smaller groups."
                )

    def _move_one(self, label: int) -> bool:
        """Move the smallest group of the class that leaves every other class in at least two folds."""
        rows = np.flatnonzero(np.isin(self.groups, self.groups[self.labels == label]))
        for members in reversed(self._members(rows)):
            source = self.fold[members[0]]
            added = np.bincount(self.labels[members], minlength=len(self.class_sizes))
            for target in np.argsort(self.counts.sum(axis=0), kind="stable"):
                counts = self.counts.copy()
                counts[:, source] -= added
                counts[:, target] += added
                concerned = added > 0
                if np.all((counts[concerned] > 0).sum(axis=1) >= 2):
                    self.counts, self.fold[members] = counts, target
                    return True
        return False


def _water_fill(counts: np.ndarray, totals: np.ndarray, rows: int) -> np.ndarray:
    """Return how many of `rows` each fold takes, so that `counts` become as even as possible.

    The rest goes to the folds with the fewest rows of this class, then with the fewest rows in total.
    """
    ascending = np.sort(counts)
    # How much water is in the folds below the j-th one when it reaches the height of that fold.
    held = np.arange(len(counts)) * ascending - np.concatenate(([0], np.cumsum(ascending)[:-1]))
    below = int(np.flatnonzero(held <= rows)[-1]) + 1
    level = (rows + ascending[:below].sum()) // below
    taken: np.ndarray = np.maximum(level - counts, 0)
    left = rows - int(taken.sum())
    heights = np.lexsort((np.arange(len(counts)), totals + taken, counts + taken))
    taken[heights[:left]] += 1
    return taken
