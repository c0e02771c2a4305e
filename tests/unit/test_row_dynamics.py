"""The mean of the training dynamics of several trainings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.row_dynamics import Dynamics, MeanDynamics


def dynamics_of(curves: np.ndarray) -> Dynamics:
    """Return dynamics from the probabilities (epochs, rows) of given labels. Margins and epochs are derived simply."""
    values = curves.mean(0), curves.mean(0), curves.std(0), curves.max(0)
    return Dynamics(*(part.astype(np.float32) for part in values))


@given(st.integers(0, 2**16), st.integers(1, 6), st.integers(1, 8))
def test_the_spread_is_that_of_all_epochs_together(seed: int, trainings: int, epochs: int) -> None:
    curves = np.random.default_rng(seed).random((trainings, epochs, 5))
    mean = MeanDynamics(5)
    for training in curves:
        mean.add(dynamics_of(training))
    found = mean.result()
    np.testing.assert_allclose(found.spread, curves.reshape(-1, 5).std(0), atol=1e-6)
    np.testing.assert_allclose(found.p_given, curves.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(found.margin, curves.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(found.epochs, curves.max(1).mean(0), atol=1e-6)


def test_each_row_is_averaged_over_the_trainings_that_saw_it() -> None:
    mean = MeanDynamics(4)
    mean.add(dynamics_of(np.array([[0.2, 0.4]])), np.array([2, 0]))
    mean.add(dynamics_of(np.array([[0.6, 1.0]])), np.array([2, 3]))
    found = mean.result()
    np.testing.assert_allclose(found.p_given, [0.4, np.nan, 0.4, 1.0], atol=1e-6)
    # Two trainings that were certain of different things are spread.
    np.testing.assert_allclose(found.spread, [0, np.nan, 0.2, 0], atol=1e-6)
    assert all(values.dtype == np.float32 for values in found.columns().values())


def test_rows_are_picked_from_all_columns() -> None:
    found = dynamics_of(np.array([[0.2, 0.4, 0.6]])).rows(np.array([True, False, True]))
    assert len(found) == 2
    np.testing.assert_allclose(found.p_given, [0.2, 0.6])
