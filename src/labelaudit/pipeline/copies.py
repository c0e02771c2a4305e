"""Copies and near-copies of a version: found in its contents while it is read, and in the features of an encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.version import Version
from labelaudit.data.dataset import Examples
from labelaudit.duplicates.close_pairs import FEWEST_POINTS, ClosePairs, too_close
from labelaudit.duplicates.clusters import Clusters, groups_for_folds, without_templates
from labelaudit.duplicates.content_codes import ContentCodes, copies_of_rows
from labelaudit.nearest import Nearest
from labelaudit.pipeline.blas_threads import with_one_blas_thread
from labelaudit.pipeline.feature_space import FeatureSpace
from labelaudit.schemas import Status

# Two pictures of different things on one background look alike at low resolution. The nearest so many rows in features
# show the same thing.
_CONFIRMING = 5


# The last digits of distances depend on the number of threads, and could decide about a pair.
@with_one_blas_thread
def with_copies(examples: Examples, codes: ContentCodes) -> Examples:
    """Return examples with the clusters of copies among them."""
    is_readable = examples.status != Status.UNREADABLE.value
    clusters = codes.clusters(examples.content_digest, examples.position, is_readable)
    return replace(examples, cluster=clusters.number, copy_distance=clusters.distance)


def kept_together(examples: Examples, folds: int) -> Examples:
    """Return examples whose groups contain their copies, so that these stay in one fold."""
    if not (examples.cluster >= 0).any():
        return examples
    stored = examples.group.numbers()
    return examples.with_groups(groups_for_folds(stored, examples.cluster, examples.label, folds))


def clusters_of(plan: Plan, rows: Version, space: FeatureSpace | None) -> Clusters:
    """Return the clusters of a version's copies.

    For images, the features of an encoder confirm near-copies among the scored rows, and find others, such as two crops
    of one photograph. Texts are compared by their words alone, because texts with the same meaning are not copies.

    Args:
        space: that of the features; None if there are none.
    """
    examples = rows.examples
    found = Clusters(examples.cluster, examples.copy_distance)
    if space is None or plan.kind != "image" or len(space.contents) < FEWEST_POINTS:
        return found
    readable = np.flatnonzero(examples.status != Status.UNREADABLE.value)
    is_unscored = examples.label[readable] < 0
    # A scored row first, because only these have features. So `space.contents` are among the first rows of contents.
    readable = readable[np.argsort(is_unscored, kind="stable")]
    numbers = examples.content_digest[readable].numbers()
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    contents = readable[first]
    encoded = space.contents
    pairs = _confirmed(space.searched, found, encoded).and_also(too_close(space.searched))
    near = without_templates(pairs, len(encoded))
    near = ClosePairs(encoded[near.first], encoded[near.second], near.distance)
    exact = copies_of_rows(readable, contents, inverse, ClosePairs.none())
    without_features = contents[examples.label[contents] < 0]
    return Clusters.none(len(examples.label)).joined(exact.and_also(near).and_also(found.links(without_features)))


def _confirmed(nearest: Nearest, found: Clusters, contents: np.ndarray) -> ClosePairs:
    """Return the pairs of contents that are in one cluster and among the nearest in features."""
    number, distance = found.number[contents], found.distance[contents]
    row = np.repeat(np.arange(len(contents)), _CONFIRMING)
    other = nearest.positions[:, :_CONFIRMING].ravel()
    is_pair = (number[row] >= 0) & (number[row] == number[other])
    row, other = row[is_pair], other[is_pair]
    return ClosePairs(row, other, np.maximum(distance[row], distance[other]))
