from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.model.inner_parts import inner_parts


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 200), classes=st.integers(1, 30), members=st.integers(1, 4))
def test_groups_stay_together_and_every_class_can_be_learned(seed: int, rows: int, classes: int, members: int) -> None:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, rows)
    groups = generator.integers(0, max(1, rows // members), rows)
    parts = inner_parts(targets, groups, seed=seed)
    for group in np.unique(groups):
        assert len(np.unique(parts[groups == group])) == 1
    for part in range(5):
        assert set(targets) == set(targets[parts != part])


def test_classes_have_equal_shares_in_all_parts() -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 10])
    parts = inner_parts(targets, None, seed=0)
    counts = np.stack([np.bincount(targets[parts == part], minlength=3) for part in range(5)])
    assert (counts == [20, 10, 2]).all()


def test_many_rows_need_few_parts() -> None:
    def held_out(rows: int) -> tuple[int, int]:
        parts = inner_parts(np.arange(rows) % 2, None, seed=0)
        return len(np.unique(parts[parts >= 0])), int((parts >= 0).sum())

    assert held_out(3_000) == (5, 3_000)
    assert held_out(10_000) == (2, 4_000)
    assert held_out(40_000) == (1, 8_000)
    assert held_out(200_000) == (1, 10_000)


def test_the_seed_decides_the_parts() -> None:
    targets = np.arange(100) % 4
    assert np.array_equal(inner_parts(targets, None, seed=1), inner_parts(targets, None, seed=1))
    assert not np.array_equal(inner_parts(targets, None, seed=1), inner_parts(targets, None, seed=2))


def test_classes_in_one_group_are_never_held_out() -> None:
    targets = np.array([0, 0, 1, 1, 1, 1, 1, 1, 2])
    groups = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7])
    parts = inner_parts(targets, groups, seed=0)
    assert (parts[[0, 1, 8]] == -1).all()
    assert (parts[2:8] >= 0).all()
