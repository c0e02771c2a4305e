from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.data.noise import plant_noise
from labelaudit.errors import ConfigError


@given(
    labels=st.lists(st.integers(-1, 4), max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_exactly_the_asked_share_becomes_another_valid_class(labels, share, seed):
    given_labels = np.array(labels, dtype=np.int64)
    noisy, is_flipped = plant_noise(given_labels, share=share, num_classes=5, seed=seed)
    assert is_flipped.sum() == round(share * (given_labels >= 0).sum())
    np.testing.assert_array_equal(noisy != given_labels, is_flipped)
    assert np.all((noisy[is_flipped] >= 0) & (noisy[is_flipped] < 5))
    assert np.all(noisy[given_labels < 0] == -1)


def test_the_seed_decides_and_the_labels_given_stay_untouched():
    labels = np.zeros(100, dtype=np.int64)
    first, _ = plant_noise(labels, share=0.3, num_classes=3, seed=1)
    again, _ = plant_noise(labels, share=0.3, num_classes=3, seed=1)
    other, _ = plant_noise(labels, share=0.3, num_classes=3, seed=2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not labels.any()
    assert set(np.unique(first)) == {0, 1, 2}


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ConfigError, match=r"The noise share 1\.5 is out of range"):
        plant_noise(np.zeros(3, dtype=np.int64), share=1.5, num_classes=2, seed=0)


def test_one_class_is_refused():
    with pytest.raises(ConfigError, match="at least 2 classes, but there are 1"):
        plant_noise(np.zeros(3, dtype=np.int64), share=0.5, num_classes=1, seed=0)
