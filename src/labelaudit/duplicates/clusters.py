"""Clusters of rows whose contents are equal or nearly equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelaudit.duplicates.close_pairs import NEIGHBOURS, ClosePairs

# Different contents of a cluster, as in a neighbourhood. Exact copies count as one.
LARGEST_CLUSTER = NEIGHBOURS


@dataclass(frozen=True)
class Clusters:
    """The cluster of each of N rows.

    Attributes:
        number: (N,) int64, the position of the first row of the cluster; -1 if a row has no copy.
        distance: (N,) float32, to the nearest other member: 0 for an exact copy, infinite if a row has no copy.
    """

    number: np.ndarray
    distance: np.ndarray

    @classmethod
    def none(cls, rows: int) -> Clusters:
        return cls(np.full(rows, -1, np.int64), np.full(rows, np.inf, np.float32))

    def links(self, rows: np.ndarray) -> ClosePairs:
        """Return a pair of each of some rows with the first row of its cluster, or with the first of all others.

        So these rows stay in their clusters if the clusters of the other rows change.
        """
        is_chosen = np.zeros(len(self.number), bool)
        is_chosen[rows] = True
        members = np.flatnonzero(self.number >= 0)
        # Other rows first.
        members = members[np.argsort(is_chosen[members], kind="stable")]
        first = members[_first_positions(self.number[members])]
        is_linked = is_chosen[members] & (first != members)
        return ClosePairs(first[is_linked], members[is_linked], self.distance[members[is_linked]])

    def joined(self, pairs: ClosePairs) -> Clusters:
        """Return the clusters that result if the rows of each pair are in one cluster too."""
        number = joined_groups(np.arange(len(self.number)), self.number, pairs)
        distance = self.distance.copy()
        np.minimum.at(distance, pairs.first, pairs.distance)
        np.minimum.at(distance, pairs.second, pairs.distance)
        return Clusters(np.where(np.isfinite(distance), number, -1), distance)


def without_templates(pairs: ClosePairs, count: int) -> ClosePairs:
    """Return pairs of near-copies without those in clusters of more than LARGEST_CLUSTER contents.

    So many contents that are nearly the same come from a template, such as `Order 1234 is late`. What differs between
    them is then what they are about, and in one fold they would leave too little for the others.

    Args:
        pairs: of different contents.
        count: number of contents.
    """
    component = _components(count, pairs.first, pairs.second)
    is_small = np.bincount(component, minlength=count)[component[pairs.first]] <= LARGEST_CLUSTER
    return ClosePairs(pairs.first[is_small], pairs.second[is_small], pairs.distance[is_small])


def joined_groups(groups: np.ndarray, clusters: np.ndarray, pairs: ClosePairs | None = None) -> np.ndarray:
    """Return the groups that result if rows of one cluster, and rows of each pair, must be in one group.

    Args:
        groups: (N,) int64; equal numbers are a group.
        clusters: (N,) int64; -1 without a cluster.
        pairs: of rows.

    Returns:
        (N,) int64, the position of the first row of each group.
    """
    rows = np.flatnonzero(clusters >= 0)
    first = [np.arange(len(groups)), rows]
    second = [_first_positions(groups), clusters[rows]]
    if pairs is not None:
        first.append(pairs.first)
        second.append(pairs.second)
    return _components(len(groups), np.concatenate(first), np.concatenate(second))


def groups_for_folds(groups: np.ndarray, clusters: np.ndarray, labels: np.ndarray, folds: int) -> np.ndarray:
    """Return groups in which clusters stay together, unless a class would be left with too few groups for the folds.

    Rows of a small class can be so alike that they look like near-copies of each other.

    Args:
        groups: (N,) int64; equal numbers are a group.
        clusters: (N,) int64; -1 without a cluster.
        labels: (N,) int64, class numbers; -1 if a row is in no fold.
        folds: how many groups each class needs.

    Returns:
        (N,) int64, the position of the first row of each group.
    """
    scored = np.flatnonzero(labels >= 0)
    while True:
        joined = joined_groups(groups, clusters)
        pairs = np.unique(np.stack([labels[scored], joined[scored]]), axis=1)
        small = np.flatnonzero(np.bincount(pairs[0]) < folds) if len(scored) else np.empty(0, np.int64)
        dropped = np.unique(clusters[np.isin(labels, small) & (clusters >= 0)])
        if not len(dropped):
            return joined
        clusters = np.where(np.isin(clusters, dropped), -1, clusters)


def _components(rows: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the position of the first row of each row's connected component.

    Each row points to an earlier one of its component. The smaller of the two roots of an edge becomes the root of the
    other, and pointers are shortened, until nothing changes (Y. Shiloach and U. Vishkin, 1982).
    """
    root = np.arange(rows)
    while True:
        one, other = root[first], root[second]
        if np.array_equal(one, other):
            return root
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(shorter := root[root], root):
            root = shorter


def _first_positions(numbers: np.ndarray) -> np.ndarray:
    """Return for each row the position of the first row with the same number."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.int64)
