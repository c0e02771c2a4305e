from __future__ import annotations

import numpy as np
import pytest

from labelaudit.model import standardize
from labelaudit.model.standardize import standardized

ROWS = np.array([[1.0, 5.0, 10.0], [3.0, 5.0, 10.0], [100.0, 7.0, 10.0]], np.float32)


def test_training_rows_alone_decide_on_mean_and_deviation() -> None:
    train, held_out = standardized(ROWS, np.array([0, 1]), np.array([2]))
    assert train.tolist() == [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    # The second number does not vary in the training rows.
    assert held_out.tolist() == [[98.0, 2.0, 0.0]]
    assert train.dtype == held_out.dtype == np.float32
    assert ROWS[0, 0] == 1.0


@pytest.mark.parametrize("at_once", [1, 700, 2**20])
def test_the_parts_do_not_matter(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(standardize, "_SUMMED", at_once)
    vectors = np.random.default_rng(0).normal(3, 2, (500, 7)).astype(np.float32)
    train, held_out = standardized(vectors, np.arange(400), np.arange(400, 500))
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-5)
    mean, std = vectors[:400].astype(float).mean(axis=0), vectors[:400].astype(float).std(axis=0)
    np.testing.assert_allclose(held_out, (vectors[400:] - mean) / std, atol=1e-5)


def test_a_constant_number_far_from_zero_is_not_blown_up() -> None:
    vectors = np.full((1000, 2), 0.1, np.float32)
    train, held_out = standardized(vectors, np.arange(900), np.arange(900, 1000))
    assert np.abs(train).max() < 1e-6
    assert np.abs(held_out).max() < 1e-6
