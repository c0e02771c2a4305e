from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.model.temperature import fit_temperature, probabilities_at


@pytest.mark.parametrize("true_share", [0.6, 0.75, 0.9])
def test_two_classes_get_the_share_of_right_rows(true_share: float) -> None:
    """With logits (1, 0) for all rows, the best probability of the first class is its share."""
    rows = 1_000
    targets = (torch.arange(rows) >= true_share * rows).long()
    temperature = fit_temperature(torch.tensor([[1.0, 0.0]]).repeat(rows, 1), targets)
    share = (true_share * rows + 0.5) / (rows + 1)  # one more row is half right
    assert temperature == pytest.approx(1 / math.log(share / (1 - share)), rel=1e-4)


def test_no_rows_change_nothing() -> None:
    assert fit_temperature(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)) == 1.0


def test_the_temperature_stays_in_its_bounds() -> None:
    logits = torch.tensor([[0.1, 0.0]]).repeat(10, 1)
    assert fit_temperature(logits, torch.zeros(10, dtype=torch.int64)) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits, torch.ones(10, dtype=torch.int64)) == pytest.approx(20, rel=1e-3)


def test_ten_rows_that_are_right_do_not_make_predictions_certain() -> None:
    logits = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
    temperature = fit_temperature(logits, torch.zeros(10, dtype=torch.int64))
    assert probabilities_at(logits, temperature)[0, 0] == pytest.approx(10.5 / 11, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), factor=st.floats(0.5, 2))
def test_scaled_logits_get_a_scaled_temperature(seed: int, factor: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(200, 4, generator=generator)
    targets = torch.distributions.Categorical(logits=logits).sample()
    assert fit_temperature(logits * factor, targets) == pytest.approx(
        fit_temperature(logits, targets) * factor, rel=1e-3
    )


def test_probabilities_are_a_distribution() -> None:
    probabilities = probabilities_at(torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]), 0.5)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(1), torch.ones(2), atol=1e-6)
