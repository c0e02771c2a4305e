"""TorchClassifier inside scikit-learn's tools and cleanlab's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from cleanlab.classification import CleanLearning
from cleanlab.filter import find_label_issues
from scipy.stats import uniform
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, RandomizedSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from support.toys import Normed, X, Y, own, same_weights, small


def pipeline() -> Any:
    return make_pipeline(StandardScaler(), small(epochs=15))


def test_a_grid_search_over_nested_arguments_in_a_pipeline() -> None:
    grid = {
        "torchclassifier__module__hidden": [(2,), (32,)],
        "torchclassifier__optimizer__weight_decay": [1e-4, 1.0],
    }
    search = GridSearchCV(pipeline(), grid, cv=3, error_score="raise").fit(X, Y)
    assert search.best_score_ > 0.6
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    assert search.predict_proba(X).shape == (120, 3)
    best = search.best_estimator_[-1]
    assert best.get_params()["module__hidden"] == search.best_params_["torchclassifier__module__hidden"]
    assert best.module_.layers[1].out_features == best.get_params()["module__hidden"][0]


def test_a_randomized_search_over_arguments_never_given_before() -> None:
    search = RandomizedSearchCV(
        own(Normed),
        {"learning_rate": uniform(0.001, 0.1), "optimizer__weight_decay": uniform(0, 1), "optimizer": ["adamw", "sgd"]},
        n_iter=4,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(X, Y)
    assert (
        search.best_estimator_.get_params()["optimizer__weight_decay"] == search.best_params_["optimizer__weight_decay"]
    )


@pytest.mark.slow
def test_candidates_side_by_side_in_two_processes_find_what_one_finds() -> None:
    grid = {"module__hidden": [(2,), (4,)]}
    alone, side_by_side = (
        GridSearchCV(small(dataset=X), grid, cv=2, n_jobs=jobs, error_score="raise").fit(np.arange(120), Y)
        for jobs in (1, 2)
    )
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], side_by_side.cv_results_["mean_test_score"])
    assert same_weights(alone.best_estimator_, side_by_side.best_estimator_)


def planted() -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Return points, labels with 15 errors, and a mask of these errors."""
    points, labels = make_classification(300, 6, n_informative=5, n_redundant=0, class_sep=2.5, random_state=1)
    wrong = np.random.default_rng(0).choice(300, 15, replace=False)
    labels[wrong] = 1 - labels[wrong]
    return points, labels, set(wrong.tolist())


def test_clean_learning_finds_planted_errors() -> None:
    points, labels, wrong = planted()
    issues = CleanLearning(small(epochs=15), cv_n_folds=3, seed=0).find_label_issues(points, labels)
    assert len(set(np.flatnonzero(issues["is_label_issue"])) & wrong) >= 11


def test_clean_learning_trains_on_the_remaining_rows() -> None:
    points, labels, _ = planted()
    cleaned = CleanLearning(small(epochs=15), cv_n_folds=3, seed=0).fit(points, labels)
    assert cleaned.predict(points).shape == (300,)
    assert cleaned.clf.score(points, labels) > 0.8


def test_cleanlab_finds_planted_errors_in_probabilities_out_of_fold() -> None:
    points, labels, wrong = planted()
    found = cross_val_predict(small(epochs=15), points, labels, cv=3, method="predict_proba")
    issues = find_label_issues(labels, found, return_indices_ranked_by="self_confidence", n_jobs=1)
    assert len(set(issues.tolist()) & wrong) >= 11


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba", "decision_function", "predict"])
def test_every_method_works_out_of_fold(method: str) -> None:
    found = cross_val_predict(small(), X, Y, cv=3, method=method)
    assert found.shape == ((120,) if method == "predict" else (120, 3))


def test_several_scores_with_labels_that_are_names() -> None:
    names = np.array(["no", "yes"])[(Y > 0).astype(int)]
    scores = cross_validate(small(), X, names, cv=3, scoring=["accuracy", "roc_auc", "neg_log_loss"])
    assert (scores["test_roc_auc"] > 0.5).all()
    assert np.isfinite(scores["test_neg_log_loss"]).all()


def test_members_of_a_bag_have_seeds_of_their_own() -> None:
    bag = BaggingClassifier(small(random_state=None), n_estimators=3, bootstrap=False, random_state=0).fit(X, Y)
    seeds = {member.random_state for member in bag.estimators_}
    assert len(seeds) == 3
    assert not same_weights(bag.estimators_[0], bag.estimators_[1])
    again = BaggingClassifier(small(random_state=None), n_estimators=3, bootstrap=False, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(bag.predict_proba(X), again.predict_proba(X))


def test_a_bag_of_some_rows_and_columns() -> None:
    bag = BaggingClassifier(small(), n_estimators=3, max_samples=0.5, max_features=0.5, random_state=0).fit(X, Y)
    assert {member.n_features_in_ for member in bag.estimators_} == {3}
    assert bag.predict_proba(X).shape == (120, 3)


def test_calibration_and_votes() -> None:
    calibrated = CalibratedClassifierCV(small(), cv=3).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(1), 1, atol=1e-6)
    votes = VotingClassifier([("torch", small(epochs=15)), ("linear", LogisticRegression())], voting="soft").fit(X, Y)
    assert votes.score(X, Y) > 0.6


def test_features_of_a_fitted_network_feed_another_estimator() -> None:
    model = make_pipeline(small(epochs=20).set_output(transform="pandas"), LogisticRegression()).fit(X, Y)
    assert list(model[-1].feature_names_in_) == [f"torchclassifier{number}" for number in range(8)]
    assert model.score(X, Y) > 0.6


def test_names_of_columns_go_through_a_pipeline() -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = pipeline().fit(frame, Y)
    assert model.feature_names_in_.tolist() == list("abcdef")
    assert not hasattr(model[-1], "feature_names_in_")


def test_groups_and_weights_are_routed_through_a_search() -> None:
    row_weights, groups = np.linspace(1, 2, 120), np.arange(120) // 4
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = small(early_stopping=True).set_fit_request(sample_weight=True, groups=True)
        classifier.set_score_request(sample_weight=True)
        model = make_pipeline(StandardScaler(), classifier)
        model[0].set_fit_request(sample_weight=False)
        search = GridSearchCV(model, {"torchclassifier__epochs": [2]}, cv=GroupKFold(2), error_score="raise")
        search.fit(X, Y, sample_weight=row_weights, groups=groups)
    scaled = StandardScaler().fit_transform(X)
    by_hand = small(early_stopping=True, epochs=2).fit(scaled, Y, sample_weight=row_weights, groups=groups)
    assert same_weights(search.best_estimator_[-1], by_hand)
    assert not same_weights(by_hand, small(early_stopping=True, epochs=2).fit(scaled, Y))
