"""scikit-learn's own suite for estimators, over small networks on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.features import TorchFeatures
from labelaudit.model.networks import MLP

# One batch contains all rows of a check, and rounding is below its tolerance of 1e-7: rows with weights are then
# the same as rows that are repeated.
EXACT = TorchClassifier(MLP, module__hidden=(32,), epochs=60, batch_size=1000, precision="float64", device="cpu")
USUAL = TorchClassifier(MLP, module__hidden=(32,), epochs=20, batch_size=32, device="cpu")

# What scikit-learn excuses itself from, for the same reason.
PIPELINE = "scikit-learn's Pipeline puts fitted steps into its parameter `steps`"
BATCHES = "repeated rows fall into other batches (scikit-learn tries this on its MLPClassifier with lbfgs alone)"
EXCUSED = {
    "check_estimators_overwrite_params": PIPELINE,
    "check_dont_overwrite_parameters": PIPELINE,
}
EXCUSED_OF_BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": BATCHES,
    "check_sample_weight_equivalence_on_sparse_data": BATCHES,
}


class Squares(nn.Module):
    """Features without weights: each number and its square."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x**2], dim=1)


@parametrize_with_checks([EXACT, TorchFeatures(Squares)])
def test_scikit_learn_check(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([make_pipeline(FunctionTransformer(), EXACT)])
def test_scikit_learn_check_of_a_pipeline(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    _check(estimator, check, EXCUSED)


@pytest.mark.slow
@parametrize_with_checks([USUAL])
def test_scikit_learn_check_of_small_batches(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    _check(estimator, check, EXCUSED_OF_BATCHES)


def _check(estimator: BaseEstimator, check: Callable[[BaseEstimator], None], excused: dict[str, str]) -> None:
    name = getattr(check, "func", check).__name__
    if name in excused:
        pytest.skip(excused[name])
    check(estimator)
