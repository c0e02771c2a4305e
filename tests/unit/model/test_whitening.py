"""Whitening filters: responses to patches are uncorrelated, with unit variance, and come in pairs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from labelaudit.model.whitening import whitening_filters


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Smooth noise: neighbouring pixels and channels are similar, as in photographs."""
    noise = torch.randn(60, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    return functional.avg_pool2d(noise + noise.mean(1, keepdim=True), 3, stride=1)


def responses(images: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """(filters, patches), less their mean."""
    values = functional.conv2d(images, filters, stride=2).transpose(0, 1).flatten(1)
    return values - values.mean(1, keepdim=True)


def test_responses_are_uncorrelated_with_nearly_unit_variance(images: torch.Tensor) -> None:
    filters = whitening_filters(images, count=16, size=4)[:8]
    values = responses(images, filters)
    covariance = values @ values.T / values.shape[1]
    off_diagonal = covariance - covariance.diag().diag()
    assert float(off_diagonal.abs().max()) < 1e-3
    assert float((covariance.diag() - 1).abs().max()) < 0.1


def test_each_filter_has_its_negative(images: torch.Tensor) -> None:
    filters = whitening_filters(images, count=10, size=3)
    assert filters.shape == (10, 3, 3, 3)
    assert torch.equal(filters[5:], -filters[:5])


def test_there_are_no_more_filters_than_directions(images: torch.Tensor) -> None:
    assert len(whitening_filters(images[:, :1], count=64, size=4)) == 2 * 16


def test_images_without_any_contrast_give_finite_filters() -> None:
    assert bool(whitening_filters(torch.ones(4, 1, 8, 8), count=8, size=3).isfinite().all())
