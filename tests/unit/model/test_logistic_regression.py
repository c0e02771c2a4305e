"""The solver of the probe against scikit-learn's, and the independence of the problems of a stack."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from labelaudit.errors import TrainingError
from labelaudit.model.logistic_regression import Directions, LinearModels, Problems, principal_directions, solve


def data(rows: int, width: int, classes: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated features with mean 0, and noisy classes."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(width, width)) * np.exp(-np.arange(width) / (width / 4))[:, None]
    features = generator.normal(size=(rows, width)) @ mixing
    targets = (features @ generator.normal(size=(width, classes)) + generator.gumbel(size=(rows, classes))).argmax(1)
    targets[:classes] = np.arange(classes)
    features = (features - features.mean(0)) / features.std(0)
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(targets)


def directions_of(features: torch.Tensor) -> Directions:
    return principal_directions(features, torch.ones(features.shape[1]))


def solved(
    features: torch.Tensor, targets: torch.Tensor, classes: int, penalties: list[float], excluded: list[int]
) -> LinearModels:
    parts = torch.arange(len(features)) % 5
    return solve(
        features,
        targets,
        classes,
        Problems(torch.tensor(penalties), torch.tensor(excluded)),
        parts=parts,
        directions=directions_of(features),
    )


@pytest.mark.parametrize(("rows", "width", "classes"), [(300, 20, 2), (300, 20, 5), (60, 100, 3)])
def test_solutions_are_those_of_scikit_learn(rows: int, width: int, classes: int) -> None:
    features, targets = data(rows, width, classes)
    penalties = [1.0, 10.0, 1_000.0]
    models = solved(features, targets, classes, penalties, [2, 2, 2])
    probabilities = models.logits(features).softmax(2)
    seen = torch.arange(rows) % 5 != 2
    for position, penalty in enumerate(penalties):
        # With two classes, scikit-learn has one weight vector instead of two that share it.
        strength = penalty / 2 if classes == 2 else penalty
        reference = LogisticRegression(C=1 / strength, tol=1e-8, max_iter=5_000).fit(features[seen], targets[seen])
        assert np.abs(reference.predict_proba(features) - probabilities[:, position].numpy()).max() < 1e-2


def test_problems_of_a_stack_do_not_affect_each_other() -> None:
    features, targets = data(200, 10, 3)
    stack = solved(features, targets, 3, [1.0, 100.0, 1.0], [-2, 0, 4]).logits(features)
    for position, (penalty, excluded) in enumerate([(1.0, -2), (100.0, 0), (1.0, 4)]):
        alone = solved(features, targets, 3, [penalty], [excluded]).logits(features)
        assert torch.allclose(stack[:, position], alone[:, 0], atol=1e-3)


def test_excluded_rows_do_not_matter() -> None:
    features, targets = data(200, 10, 3)
    changed = torch.where(torch.arange(200) % 5 == 2, (targets + 1) % 3, targets)
    first, second = (solved(features, labels, 3, [1.0], [2]) for labels in (targets, changed))
    assert torch.equal(first.weights, second.weights)


def test_a_large_penalty_gives_the_shares_of_the_classes() -> None:
    features, targets = data(400, 10, 4)
    probabilities = solved(features, targets, 4, [1e7], [-2]).logits(features)[:, 0].softmax(1)
    shares = torch.bincount(targets, minlength=4) / 400
    assert torch.allclose(probabilities, shares.expand(400, 4), atol=2e-3)


def test_factors_scale_the_features() -> None:
    features, targets = data(200, 10, 3)
    factors = torch.linspace(0, 2, 10)
    for rows in (slice(None), slice(0, 8)):  # with less rows than features too
        x, y = features[rows] - features[rows].mean(0), targets[rows]
        problems, parts = Problems(torch.tensor([2.0]), torch.tensor([-2])), torch.zeros(len(x), dtype=torch.int64)
        scaled = solve(x * factors, y, 3, problems, parts=parts, directions=directions_of(x * factors))
        found = solve(x, y, 3, problems, parts=parts, directions=principal_directions(x, factors))
        assert torch.allclose(found.logits(x), scaled.logits(x * factors), atol=1e-2)
        assert not found.weights[:, :, 0].any()


def test_directions_are_complete_if_there_are_enough_rows() -> None:
    features, _ = data(20, 10, 2)
    assert directions_of(features).are_complete
    assert not directions_of(features[:8] - features[:8].mean(0)).are_complete


def test_a_strong_penalty_takes_few_iterations() -> None:
    """The approximate Hessian is nearly exact there, so the first step nearly arrives."""
    features, targets = data(300, 40, 5)
    assert len(solved(features, targets, 5, [1e5], [-2]).objectives) <= 3


def test_constant_features_leave_the_shares_of_the_classes() -> None:
    _, targets = data(100, 5, 3)
    models = solved(torch.zeros(100, 5), targets, 3, [1.0], [-2])
    shares = torch.bincount(targets, minlength=3) / 100
    assert torch.allclose(models.biases[0].softmax(0), shares, atol=1e-3)
    assert len(models.objectives) < 20


def test_objectives_never_rise() -> None:
    features, targets = data(300, 40, 3)
    objectives = solved(features, targets, 3, [0.01], [-2]).objectives
    assert (np.diff(objectives) < 1e-5).all()


def test_features_that_are_not_finite_are_an_error() -> None:
    features, targets = data(100, 5, 2)
    directions = directions_of(features)
    features[3, 2] = torch.nan
    problems = Problems(torch.tensor([1.0]), torch.tensor([-2]))
    with pytest.raises(TrainingError, match=r"not finite in its first iteration\. Remove missing and extreme values"):
        solve(features, targets, 2, problems, parts=torch.zeros(100, dtype=torch.int64), directions=directions)


def test_each_iteration_is_reported() -> None:
    features, targets = data(100, 5, 2)
    reports: list[tuple[int, float]] = []
    models = solve(
        features,
        targets,
        2,
        Problems(torch.tensor([1.0]), torch.tensor([-2])),
        parts=torch.zeros(100, dtype=torch.int64),
        directions=directions_of(features),
        on_iteration=lambda iteration, loss: reports.append((iteration, loss)),
    )
    assert reports == list(enumerate(models.objectives, start=1))
