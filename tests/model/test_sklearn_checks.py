"""scikit-learn's own suite for estimators, over a small network on the CPU."""

from __future__ import annotations

from collections.abc import Callable

from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.networks import MLP


@parametrize_with_checks(
    [TorchClassifier(MLP, module_kwargs={"hidden": (32,)}, epochs=20, batch_size=32, device="cpu")]
)
def test_scikit_learn_check(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)
