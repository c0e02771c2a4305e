from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.folds import assign_folds
from labelaudit.errors import DatasetError
from labelaudit.strings import Strings


def _ids(count):
    return Strings([f"id-{index}" for index in range(count)])


@st.composite
def _grouped_datasets(draw):
    """Labels and groups such that each class is in at least `folds` groups of one row, plus mixed groups."""
    folds = draw(st.integers(2, 5))
    num_classes = draw(st.integers(2, 4))
    labels = [label for label in range(num_classes) for _ in range(folds)]
    groups = [f"single-{index}" for index in range(len(labels))]
    extra = draw(st.lists(st.tuples(st.integers(-1, num_classes - 1), st.integers(0, 12)), max_size=60))
    labels += [label for label, _ in extra]
    groups += [f"group-{group}" for _, group in extra]
    return np.array(labels, dtype=np.int64), Strings(groups), folds


@given(dataset=_grouped_datasets(), seed=st.integers(0, 1000))
def test_each_scored_row_is_in_one_fold_per_repeat_and_groups_stay_together(dataset, seed):
    labels, groups, folds = dataset
    result = assign_folds(labels, groups, _ids(len(labels)), folds=folds, repeats=2, seed=seed)
    assert result.shape == (2, len(labels))
    assert result.dtype == np.int16
    for repeat, fold_of in enumerate(result):
        scored = labels >= 0
        assert np.all(fold_of[~scored] == -1)
        assert np.all(fold_of[scored] // folds == repeat)
        for group in set(groups[scored]):
            rows = groups.find([group])
            assert len(set(fold_of[rows][scored[rows]])) == 1
        for label in set(labels[scored]):
            assert len(set(fold_of[labels == label])) >= 2


@given(
    sizes=st.lists(st.integers(5, 40), min_size=2, max_size=6),
    folds=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_single_rows_are_stratified_to_within_one_row(sizes, folds, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    ids = _ids(len(labels))
    fold_of = assign_folds(labels, ids, ids, folds=folds, repeats=1, seed=seed)[0]
    counts = np.zeros((len(sizes), folds), dtype=int)
    np.add.at(counts, (labels, fold_of), 1)
    assert np.all(counts.max(axis=1) - counts.min(axis=1) <= 1)
    assert np.ptp(counts.sum(axis=0)) <= 1


@given(dataset=_grouped_datasets(), order=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(dataset, order):
    labels, groups, folds = dataset
    ids = _ids(len(labels))
    expected = assign_folds(labels, groups, ids, folds=folds, repeats=2, seed=7)
    rows = list(range(len(labels)))
    order.shuffle(rows)
    shuffled = assign_folds(labels[rows], groups[rows], ids[rows], folds=folds, repeats=2, seed=7)
    np.testing.assert_array_equal(shuffled, expected[:, rows])


def test_names_of_groups_do_not_count_only_ids_do():
    labels = np.tile([0, 1], 30)
    groups = Strings(np.repeat([f"g{index}" for index in range(20)], 3))
    renamed = Strings([f"other {group}" for group in groups])
    first = assign_folds(labels, groups, _ids(60), folds=4, repeats=1, seed=0)
    np.testing.assert_array_equal(first, assign_folds(labels, renamed, _ids(60), folds=4, repeats=1, seed=0))


def test_seeds_and_repeats_give_other_folds():
    labels = np.tile([0, 1], 50)
    ids = _ids(100)
    result = assign_folds(labels, ids, ids, folds=5, repeats=2, seed=0)
    other = assign_folds(labels, ids, ids, folds=5, repeats=2, seed=1)
    assert not np.array_equal(result[0], result[1] - 5)
    assert not np.array_equal(result, other)


def test_large_groups_are_balanced_by_class():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 30, 60))
    labels = (groups % 3).astype(np.int64)  # each group is of one class
    names = Strings([f"g{group}" for group in groups])
    fold_of = assign_folds(labels, names, _ids(len(labels)), folds=4, repeats=1, seed=3)[0]
    counts = np.zeros((3, 4), dtype=int)
    np.add.at(counts, (labels, fold_of), 1)
    share = counts / counts.sum(axis=1, keepdims=True)
    assert np.abs(share - 0.25).max() < 0.06


def test_a_class_that_landed_in_one_fold_is_spread():
    # Two large groups of class 0 take a fold each; both small groups of class 1 contain rows of class 2 too.
    labels = np.array([0] * 20 + [1, 2] + [1, 2] + [2] * 4)
    groups = Strings(["a"] * 10 + ["b"] * 10 + ["c"] * 2 + ["d"] * 2 + ["e", "f", "g", "h"])
    for seed in range(20):
        fold_of = assign_folds(labels, groups, _ids(len(labels)), folds=2, repeats=1, seed=seed)[0]
        for label in range(3):
            assert set(fold_of[labels == label]) == {0, 1}


def test_entangled_groups_are_refused():
    # Each pair of three groups shares a class: two folds cannot part every pair.
    labels = np.array([0, 1, 0, 2, 1, 2])
    groups = Strings(["a", "a", "b", "b", "c", "c"])
    with pytest.raises(DatasetError, match=r"Class number \d \(2 examples\) cannot be spread"):
        assign_folds(labels, groups, _ids(6), folds=2, repeats=1, seed=0)


def test_no_scored_row_is_no_error():
    labels = np.full(3, -1)
    assert np.all(assign_folds(labels, _ids(3), _ids(3), folds=2, repeats=1, seed=0) == -1)


@pytest.mark.slow
@pytest.mark.parametrize("rows_per_group", [1, 2])
def test_many_rows_take_seconds(rows_per_group):
    ids = _ids(200_000)
    groups = Strings([f"g{index // rows_per_group}" for index in range(len(ids))])
    labels = np.random.default_rng(0).integers(0, 50, len(ids))
    start = time.process_time()
    fold_of = assign_folds(labels, groups, ids, folds=5, repeats=1, seed=0)[0]
    assert time.process_time() - start < 15
    assert np.ptp(np.bincount(fold_of)) < 100
