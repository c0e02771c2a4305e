from __future__ import annotations

import numpy as np
import pytest
import torch

from labelaudit.model.probe_scaling import Scaling


def test_both_scales_by_hand() -> None:
    """Deviations 1, 2 and 0: the common one is sqrt(5 / 2), because the constant feature does not count."""
    features = torch.tensor([[4.0, 1.0, 7.0], [6.0, 5.0, 7.0]])
    scaling = Scaling.of(features)
    assert scaling.mean.tolist() == [5, 3, 7]
    assert scaling.common == pytest.approx(2.5**0.5)
    scaled = scaling.apply_(features)
    alike = scaled * scaling.factors(is_standardised=False)
    assert alike[1].tolist() == pytest.approx([1 / 2.5**0.5, 2 / 2.5**0.5, 0])
    one_by_one = scaled * scaling.factors(is_standardised=True)
    assert one_by_one[1].tolist() == pytest.approx([1, 1, 0])


def test_rounding_of_float16_is_not_a_deviation() -> None:
    noise = np.random.default_rng(0).normal(size=(50, 1)) * 1e-4
    features = torch.from_numpy(np.concatenate([1_000 + noise, noise], axis=1)).float()
    scaling = Scaling.of(features)
    assert scaling.factors(is_standardised=False).tolist() == [0, 1]
    assert scaling.factors(is_standardised=True)[0] == 0


def test_constant_features_only() -> None:
    scaling = Scaling.of(torch.ones(5, 2))
    assert scaling.common == 1
    assert scaling.factors(is_standardised=True).tolist() == [0, 0]


def test_many_rows_are_read_in_blocks() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(3, 2, (10_000, 2)).astype(np.float32))
    scaled = Scaling.of(features).apply_(features)
    assert scaled.mean(0).tolist() == pytest.approx([0, 0], abs=1e-4)
    assert float(scaled.square().mean()) == pytest.approx(1, abs=1e-4)
