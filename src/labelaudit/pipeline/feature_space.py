"""The space of a version's features: which contents are the nearest of each other. It is searched once per audit.

Features are those of the encoder, with norm 1, or scaled vectors, or scaled columns of a table. Images and texts
without an encoder have no such space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import PlanReference
from labelaudit.audits.version import Version
from labelaudit.detection.feature_map import map_layout, principal_plane
from labelaudit.detection.outliers import FarRows, FoundOutliers, find_outliers
from labelaudit.memory import release_if_grown
from labelaudit.model.table_points import scaled_vectors, table_points
from labelaudit.nearest import Nearest, find_nearest, projected, with_all_compared, with_exact_distances
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.decoded_inputs import load_table_inputs, load_vectors, open_inputs
from labelaudit.pipeline.version_features import open_features

# Neighbours of each content, and of each row for reviewers.
SPACE_NEIGHBOURS, SHOWN_NEIGHBOURS = 20, 6
_SMALLEST = 1e-6
# Contents whose points are computed at a time.
_BLOCK = 2**14


class _Neighbours(NamedTuple):
    """What was found about C contents; see `FeatureSpace`."""

    searched: Nearest
    exact: Nearest
    far: FarRows
    plane: np.ndarray


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The neighbours of C different contents among the M scored rows of a version.

    Attributes:
        contents: (C,) int64, the position of the first scored row with each content.
        content_of: (M,) int64, the content of each scored row.
        searched: the SPACE_NEIGHBOURS nearest contents of each, in at most 128 dimensions.
        exact: the same neighbours with distances in all dimensions.
        far: the contents that were compared with all others.
        labels: (C,) int64, class numbers of the first rows.
        plane: (C, 2) float32, of `principal_plane`.
    """

    contents: np.ndarray
    content_of: np.ndarray
    searched: Nearest
    exact: Nearest
    far: FarRows
    labels: np.ndarray
    plane: np.ndarray

    def neighbours(self, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest other rows of some scored rows. Copies of a row come first.

        Args:
            scored: (n,) numbers of scored rows.

        Returns:
            (n, SHOWN_NEIGHBOURS) numbers of scored rows, -1 if there are fewer, and their distances, float32.
        """
        by_content = np.argsort(self.content_of, kind="stable")
        starts = np.searchsorted(self.content_of[by_content], np.arange(len(self.contents) + 1))
        positions = np.full((len(scored), SHOWN_NEIGHBOURS), -1, np.int64)
        distances = np.zeros((len(scored), SHOWN_NEIGHBOURS), np.float32)
        for at, row in enumerate(scored.tolist()):
            own = self.content_of[row]
            found = 0
            near = zip([own, *self.exact.positions[own]], [0.0, *self.exact.distances[own]], strict=True)
            for content, distance in near:
                copies = by_content[starts[content] : starts[content + 1]]
                copies = copies[copies != row][: SHOWN_NEIGHBOURS - found]
                positions[at, found : found + len(copies)] = copies
                distances[at, found : found + len(copies)] = distance
                found += len(copies)
                if found == SHOWN_NEIGHBOURS:
                    break
        return positions, distances

    def map(self) -> np.ndarray:
        """Return the positions of the M scored rows on the map, (M, 2) float32."""
        place = map_layout(self.exact, self.plane)
        return np.asarray(place[self.content_of])

    def outliers(self) -> FoundOutliers:
        """Return the outliers among the M scored rows. Rows with equal contents have one score."""
        return find_outliers(self.exact, self.labels, self.far).of(self.content_of)


# The last digits of distances depend on the number of threads, and could decide about a row.
@with_one_blas_thread
def search_space(reference: PlanReference, plan: Plan, rows: Version) -> FeatureSpace | None:
    """Search the neighbours of the scored rows; return None if there are no features, or too few contents.

    Args:
        rows: with labels and content digests.
    """
    digests = rows.of_scored(rows.examples.content_digest).numbers()
    _, first, content_of = np.unique(digests, return_index=True, return_inverse=True)
    if len(first) <= SPACE_NEIGHBOURS:
        return None
    contents = rows.scored[first]
    labels = rows.examples.label[contents]
    found = _neighbours(reference, plan, contents, labels)
    release_if_grown()
    if found is None:
        return None
    return FeatureSpace(contents, content_of, found.searched, found.exact, found.far, labels, found.plane)


def _neighbours(reference: PlanReference, plan: Plan, contents: np.ndarray, labels: np.ndarray) -> _Neighbours | None:
    if plan.encoder is not None:
        with open_features(reference, plan) as features:
            return _searched(_directions(features.values, contents), labels, are_directions=True)
    if plan.columns is None or plan.kind not in ("vector", "table"):
        return None
    with open_inputs(reference, plan) as folder:
        if plan.kind == "vector":
            return _searched(scaled_vectors(load_vectors(folder), contents), labels)
        return _searched(table_points(load_table_inputs(folder).iloc[contents]), labels)


def _searched(
    rows_of: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, are_directions: bool = False
) -> _Neighbours:
    """Search neighbours.

    Args:
        rows_of: Returns the points with some numbers, (b, d) float32.
        labels: class numbers of the C points.
        are_directions: whether points have norm 1. They keep it if they are projected.
    """
    count = len(labels)
    dimensions = rows_of(np.zeros(1, np.int64)).shape[1]
    points = np.empty((count, projected(np.empty((0, dimensions), np.float32)).shape[1]), np.float32)
    for start in range(0, count, _BLOCK):
        # Each block is projected in the same directions.
        block = projected(rows_of(np.arange(start, min(start + _BLOCK, count))))
        points[start : start + _BLOCK] = _normalised(block) if are_directions else block
    searched = find_nearest(points, SPACE_NEIGHBOURS)
    far = FarRows.of(searched, labels)
    searched = with_all_compared(points, searched, far.all)
    plane = principal_plane(points)
    del points
    return _Neighbours(searched, with_exact_distances(searched, rows_of, dimensions), far, plane)


def _directions(values: np.ndarray, contents: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that returns the features of some contents, (b, d) float32, with norm 1."""
    norms = np.empty((len(contents), 1), np.float32)
    for start in range(0, len(contents), _BLOCK):
        block = np.asarray(values[contents[start : start + _BLOCK]], np.float32)
        norms[start : start + _BLOCK] = _norms(block)

    def rows_of(rows: np.ndarray) -> np.ndarray:
        points = np.asarray(values[contents[rows]], np.float32)
        points /= norms[rows]
        return points

    return rows_of


def _norms(points: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(np.linalg.norm(points, axis=1, keepdims=True), _SMALLEST))


def _normalised(points: np.ndarray) -> np.ndarray:
    """Divide points by their norms, in place."""
    points /= _norms(points)
    return points
