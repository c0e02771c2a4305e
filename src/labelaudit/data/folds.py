"""Stratified folds that keep groups together and depend on ids and seed alone."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pandas as pd

from labelaudit.errors import DatasetError


def assign_folds(
    labels: np.ndarray,
    groups: np.ndarray,
    example_ids: np.ndarray,
    *,
    folds: int,
    repeats: int,
    seed: int,
) -> np.ndarray:
    """Deals rows to folds, for each repeat anew.

    The order of dealing comes from keyed hashes of the ids, so that neither the order of rows nor the
    layout of files changes anything. Groups of several rows are placed first, large ones first, where
    their classes are needed most (as scikit-learn's StratifiedGroupKFold does); single rows then fill
    up each class.

    Args:
        labels: (N,) int64 in 0..K-1, -1 where a row is not scored.
        groups: (N,) object of str; rows of one group stay in one fold.
        example_ids: (N,) object of str, unique among scored rows.
        folds: at least 2; every class must be in at least as many groups.
        repeats: independent divisions.
        seed: of the whole run.

    Returns:
        (repeats, N) int16: repeat * folds + the fold within the repeat in which a row is held out;
        -1 where it is not scored. Where all groups are single rows, the folds of one repeat differ by
        at most 1 in size and in each class.

    Raises:
        DatasetError: groups are so large or so entangled that a class is in one fold only.
    """
    scored = np.flatnonzero(labels >= 0)
    result = np.full((repeats, len(labels)), -1, dtype=np.int16)
    if not len(scored):
        return result
    codes, _ = pd.factorize(groups[scored])
    for repeat in range(repeats):
        keys = _keyed_hashes(example_ids[scored], seed, repeat)
        dealer = _Dealer(labels[scored], codes.astype(np.int64), keys, folds)
        result[repeat, scored] = dealer.deal() + repeat * folds
    return result


def _keyed_hashes(ids: np.ndarray, seed: int, repeat: int) -> np.ndarray:
    """(n,) uint64, one per id: a random-looking order that only the id, seed and repeat decide."""
    base = blake2b(f"{seed}/{repeat}".encode(), digest_size=8, person=b"labelaudit fold")
    digests = []
    for example_id in ids:
        hasher = base.copy()
        hasher.update(b"\0" + example_id.encode())
        digests.append(hasher.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8")


class _Dealer:
    """One division of n rows: `counts[c, f]` rows of class c are in fold f so far."""

    def __init__(self, labels: np.ndarray, groups: np.ndarray, keys: np.ndarray, folds: int) -> None:
        self.labels, self.groups, self.keys, self.folds = labels, groups, keys, folds
        self.class_sizes = np.bincount(labels)
        self.counts = np.zeros((len(self.class_sizes), folds), dtype=np.int64)
        self.fold = np.full(len(labels), -1, dtype=np.int16)

    def deal(self) -> np.ndarray:
        sizes = np.bincount(self.groups)
        is_single = sizes[self.groups] == 1
        self._place_groups(np.flatnonzero(~is_single))
        self._fill_up(np.flatnonzero(is_single))
        self._spread()
        return self.fold

    def _members(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows of each group, the largest group first, then by the smallest key of its members."""
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
        """Moves a group of each class that is in one fold only: else no other fold could train it."""
        for label in np.flatnonzero((self.counts > 0).sum(axis=1) == 1):
            if (self.counts[label] > 0).sum() == 1 and not self._move_one(int(label)):
                raise DatasetError(
                    f"class number {label} ({self.class_sizes[label]} examples) cannot be spread over two "
                    "folds: it is in too few groups, or they hold other classes that need them; "
                    "use smaller groups"
                )

    def _move_one(self, label: int) -> bool:
        """Moves the smallest group of the class that no other class loses its second fold by."""
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
    """How many of `rows` each fold takes, so that `counts` become as even as they can.

    Those left over go where a fold is shortest of this class, then of all rows.
    """
    ascending = np.sort(counts)
    # With the water at the height of the j-th fold, the folds below it hold this much.
    held = np.arange(len(counts)) * ascending - np.concatenate(([0], np.cumsum(ascending)[:-1]))
    below = int(np.flatnonzero(held <= rows)[-1]) + 1
    level = (rows + ascending[:below].sum()) // below
    taken: np.ndarray = np.maximum(level - counts, 0)
    left = rows - int(taken.sum())
    heights = np.lexsort((np.arange(len(counts)), totals + taken, counts + taken))
    taken[heights[:left]] += 1
    return taken
