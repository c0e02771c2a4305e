"""The inner split: classes on both sides, groups on one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.errors import ConfigError, InputError
from labelaudit.model.splits import validation_split


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    fraction=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80)
def test_classes_keep_their_shares_and_every_row_has_a_side(counts: list[int], fraction: float, seed: int) -> None:
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 2, counts))
    try:
        training, validating = validation_split(targets, fraction, groups=None, seed=seed)
    except InputError:
        several = [count for count in counts if count > 1]
        held_out = round(fraction * sum(several))
        assert held_out < max(len(several), 1) or sum(several) - held_out < len(several)
        return
    assert sorted([*training, *validating]) == list(range(len(targets)))
    assert (np.diff(training) > 0).all()
    assert (np.diff(validating) > 0).all()
    assert set(targets[training]) == set(targets)
    several = sum(count for count in counts if count > 1)
    # A class that would be held out as a whole gets a row back.
    assert round(fraction * several) - len(counts) <= len(validating) <= round(fraction * several)
    for label, count in enumerate(counts):
        share = (targets[validating] == label * 2).sum()
        assert share == 0 if count == 1 else abs(share - fraction * count) < len(counts) + 1


@given(data=st.data(), seed=st.integers(0, 1000), fraction=st.floats(0.05, 0.5))
@settings(max_examples=80)
def test_rows_of_a_group_stay_on_one_side(data: st.DataObject, seed: int, fraction: float) -> None:
    rows = data.draw(st.integers(2, 60))
    targets = np.array(data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    groups = np.array(data.draw(st.lists(st.integers(0, 12), min_size=rows, max_size=rows)))
    try:
        training, validating = validation_split(targets, fraction, groups=groups, seed=seed)
    except InputError:
        # Whichever groups are held out (at least those of one part), some class has no row left.
        lone = any(len(set(groups[targets == label])) == 1 for label in set(targets))
        assert lone or len(set(groups)) < 2 or len(set(groups)) <= 2 * len(set(targets))
        return
    assert len(validating) > 0
    assert sorted([*training, *validating]) == list(range(rows))
    assert not set(groups[training]) & set(groups[validating])
    assert set(targets[training]) == set(targets)


def test_a_share_of_the_groups_is_held_out() -> None:
    targets, groups = np.arange(200) % 2, np.arange(200) // 4
    _, validating = validation_split(targets, 0.2, groups=groups, seed=0)
    assert len(validating) == 40
    assert np.bincount(targets[validating]).tolist() == [20, 20]


def test_seeds_repeat_and_differ() -> None:
    targets = np.arange(100) % 3
    for groups in (None, np.arange(100) // 2):
        first, again, other = (validation_split(targets, 0.2, groups=groups, seed=seed)[1] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_groups_have_any_type() -> None:
    targets, numbers = np.arange(40) % 2, np.arange(40) // 4
    expected = validation_split(targets, 0.2, groups=numbers, seed=0)
    for groups in (numbers.astype(str), numbers.astype(float), numbers.astype(str).astype(object)):
        for found, side in zip(validation_split(targets, 0.2, groups=groups, seed=0), expected, strict=True):
            np.testing.assert_array_equal(found, side)


def test_a_class_of_one_row_or_one_group_is_trained_on() -> None:
    targets = np.r_[np.zeros(20, int), np.ones(20, int), 2]
    assert 40 in validation_split(targets, 0.2, groups=None, seed=0)[0]
    groups = np.r_[np.arange(40) // 4, 99]
    assert 40 in validation_split(targets, 0.2, groups=groups, seed=0)[0]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=rf"validation_fraction is {fraction}\. Set it to a value between 0 and 1"):
        validation_split(np.arange(10) % 2, fraction, groups=None, seed=0)


@pytest.mark.parametrize(
    ("targets", "fraction"), [([0, 1] * 4, 0.1), ([0, 1] * 4, 0.95), ([0, 1, 2], 0.5), ([], 0.5), ([0], 0.5)]
)
def test_too_few_rows_are_refused(targets: list[int], fraction: float) -> None:
    with pytest.raises(InputError, match=rf"cannot hold out {fraction:g} of {len(targets)} rows with every class"):
        validation_split(np.array(targets, int), fraction, groups=None, seed=0)


@pytest.mark.parametrize("groups", [[0, 0, 0, 0], [0, 1, 0, 1]])
def test_too_few_groups_are_refused(groups: list[int]) -> None:
    with pytest.raises(InputError, match=rf"some of the {len(set(groups))} groups and keep every class in training"):
        validation_split(np.array([0, 1, 0, 1]), 0.25, groups=np.array(groups), seed=0)
