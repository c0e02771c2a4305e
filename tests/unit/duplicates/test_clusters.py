"""Clusters are connected components, and groups that share copies become one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.duplicates.close_pairs import ClosePairs
from labelaudit.duplicates.clusters import LARGEST_CLUSTER, Clusters, groups_for_folds, joined_groups, without_templates
from labelaudit.duplicates.content_codes import ContentCodes
from labelaudit.strings import Strings

ROWS = 12
EDGES = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1)).filter(lambda edge: edge[0] != edge[1]))


def pairs_of(edges: list[tuple[int, int]], distances: list[float] | None = None) -> ClosePairs:
    first, second = np.array(edges, np.int64).reshape(-1, 2).T
    return ClosePairs(first, second, np.array(distances or [0.5] * len(edges), np.float32))


def components(edges: list[tuple[int, int]]) -> list[int]:
    """Return the smallest row that is connected with each row, found by visiting."""
    result = []
    for row in range(ROWS):
        seen, waiting = {row}, [row]
        while waiting:
            here = waiting.pop()
            near = {other for edge in edges if here in edge for other in edge} - seen
            seen |= near
            waiting += near
        result.append(min(seen))
    return result


@given(EDGES, EDGES)
@settings(max_examples=150, deadline=None)
def test_clusters_are_connected_components(edges: list[tuple[int, int]], more: list[tuple[int, int]]) -> None:
    clusters = Clusters.none(ROWS).joined(pairs_of(edges)).joined(pairs_of(more))
    connected = {row for edge in edges + more for row in edge}
    expected = [first if row in connected else -1 for row, first in enumerate(components(edges + more))]
    assert clusters.number.tolist() == expected
    assert (np.isfinite(clusters.distance) == (clusters.number >= 0)).all()


@given(st.lists(st.integers(0, 4), min_size=ROWS, max_size=ROWS), EDGES)
@settings(max_examples=100, deadline=None)
def test_groups_with_copies_in_common_become_one(groups: list[int], edges: list[tuple[int, int]]) -> None:
    clusters = Clusters.none(ROWS).joined(pairs_of(edges))
    same_group = [(one, other) for one in range(ROWS) for other in range(one) if groups[one] == groups[other]]
    assert joined_groups(np.array(groups), clusters.number).tolist() == components(edges + same_group)


def test_the_distance_is_that_of_the_nearest_member() -> None:
    clusters = Clusters.none(5).joined(pairs_of([(0, 1), (1, 2)], [0.3, 0.1])).joined(pairs_of([(0, 4)], [0.0]))
    assert clusters.number.tolist() == [0, 0, 0, -1, 0]
    np.testing.assert_allclose(clusters.distance, [0.0, 0.1, 0.1, np.inf, 0.0], rtol=1e-6)


def test_links_keep_rows_in_clusters_that_are_divided_anew() -> None:
    clusters = Clusters.none(7).joined(pairs_of([(0, 1), (1, 2), (2, 3), (4, 5)], [0.1, 0.2, 0.3, 0.4]))
    links = clusters.links(np.array([0, 3, 4, 5, 6]))
    # Rows 1 and 2 are not linked with each other. 4 and 5 have only each other.
    assert sorted(zip(links.first.tolist(), links.second.tolist(), strict=True)) == [(1, 0), (1, 3), (4, 5)]
    assert Clusters.none(7).joined(links).number.tolist() == [0, 0, -1, 0, 4, 4, -1]


def test_a_class_keeps_enough_groups_for_the_folds() -> None:
    # Class 0 has 8 rows, of which 6 look alike; class 1 has 8 rows, of which 3 do.
    labels = np.repeat([0, 1], 8)
    clusters = np.full(16, -1)
    clusters[:6], clusters[8:11] = 0, 8
    groups = groups_for_folds(np.arange(16), clusters, labels, 5)
    assert groups.tolist() == [*range(8), 8, 8, 8, *range(11, 16)]
    assert groups_for_folds(np.arange(16), clusters, labels, 3).tolist()[:8] == [0] * 6 + [6, 7]
    # Groups of the config stay.
    stored = np.repeat([7, 3], 8)
    assert groups_for_folds(stored, clusters, labels, 5).tolist() == [0] * 8 + [8] * 8
    assert groups_for_folds(np.arange(2), np.array([0, 0]), np.array([-1, -1]), 5).tolist() == [0, 0]


def test_large_clusters_are_templates() -> None:
    large = [(row, row + 1) for row in range(LARGEST_CLUSTER)]
    small = [(50, 50 + other) for other in range(1, LARGEST_CLUSTER)]
    kept = without_templates(pairs_of(large + small), 100)
    assert list(zip(kept.first.tolist(), kept.second.tolist(), strict=True)) == small
    assert len(without_templates(ClosePairs.none(), 3)) == 0


def test_texts_from_a_template_are_not_copies() -> None:
    codes = ContentCodes("text")
    texts = [f"Your order {number} could not be delivered on time today" for number in range(1_000, 1_040)]
    codes.add(pa.table({"text": [*texts, texts[0]]}))
    found = codes.clusters(Strings([*texts, texts[0]]), np.arange(41), np.ones(41, bool))
    assert np.flatnonzero(found.number >= 0).tolist() == [0, 40]


TEXTS = ["The quick brown fox jumps over the lazy dog"] * 2 + ["the quick brown fox jumps over the lazy dog."]
OTHERS = ["An entirely different sentence about something", "", "And a third one, which shares nothing with those"]


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]])
def test_copies_of_texts_in_any_order_and_batches(batch: int, order: list[int]) -> None:
    texts = [*TEXTS, *OTHERS]
    read = [texts[row] for row in order]
    codes = ContentCodes("text")
    for start in range(0, len(read), batch):
        codes.add(pa.table({"text": read[start : start + batch]}))
    digests = Strings([text.replace(" ", "")[:60] or "blank" for text in texts])
    # Row i of the canonical order was read as number order.index(i).
    found = codes.clusters(
        digests, np.array([order.index(row) for row in range(6)]), np.array([bool(t) for t in texts])
    )
    assert found.number.tolist() == [0, 0, 0, -1, -1, -1]
    assert found.distance[:2].tolist() == [0, 0]
    assert 0 < found.distance[2] <= 0.2


def test_rows_that_are_not_readable_have_no_copies() -> None:
    codes = ContentCodes("vector")
    codes.add(np.zeros((3, 4), np.float32))
    found = codes.clusters(Strings(["a", "a", "a"]), np.arange(3), np.zeros(3, bool))
    assert found.number.tolist() == [-1, -1, -1]
    codes.add(np.zeros((3, 4), np.float32))
    assert codes.clusters(Strings(["a", "a", "a"]), np.arange(3), np.array([True, False, True])).number.tolist() == [
        0,
        -1,
        0,
    ]
