"""Views are calibrated and blended by their evidence, and no label decides its own mixture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection.blending import (
    BlendMeasures,
    FoldViews,
    MixedFold,
    Mixture,
    fit_mixtures,
    fit_pool,
)
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.errors import LabelauditError

FOLDS = 5


def predictions(labels: np.ndarray, classes: int, skill: float, seed: int) -> np.ndarray:
    """Return calibrated probabilities (n, K) of a view that knows `skill` logits more about the right class."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    return softmax(skill * logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)


def folds_of(views: list[np.ndarray], repeats: int = 1) -> list[FoldViews]:
    rows = np.arange(len(views[0]))
    return [
        FoldViews(
            repeat * FOLDS + fold,
            repeat,
            rows[rows % FOLDS == fold],
            tuple(ArrayBlocks(view[rows % FOLDS == fold]) for view in views),
        )
        for repeat in range(repeats)
        for fold in range(FOLDS)
    ]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, 2000)


def test_equal_evidence_gives_equal_weights(labels: np.ndarray) -> None:
    views = [predictions(labels, 4, 1.5, seed) for seed in (1, 2)]
    for mixture in fit_mixtures(folds_of(views), labels).values():
        assert mixture.weights == pytest.approx((0.5, 0.5), abs=0.06)
        assert mixture.view_sharpness == pytest.approx((1.0, 1.0), abs=0.15)


def test_independent_views_together_are_surer_than_each(labels: np.ndarray) -> None:
    """Evidence of independent views adds, and the log loss falls below that of the best view and of the mean."""
    views = [predictions(labels, 4, 1.5, seed) for seed in (1, 2)]
    measures = BlendMeasures(labels, FOLDS, 2)
    for fold, mixture in zip(folds_of(views), fit_mixtures(folds_of(views), labels).values(), strict=True):
        assert 1.7 < mixture.sharpness < 2.2
        for _ in MixedFold(fold, mixture, measures).blocks():
            pass
    mean_loss = -np.log(np.mean(views, axis=0)[np.arange(len(labels)), labels]).sum()
    assert measures.losses[-1] < min(mean_loss, *measures.losses[:-1])


def test_a_view_that_is_too_sure_of_itself_weighs_less(labels: np.ndarray) -> None:
    """A view whose errors depend on those of the other one, which it repeats with noise, adds little."""
    good = predictions(labels, 4, 2.0, 1)
    echo = softmax(np.log(good) + np.random.default_rng(5).normal(size=good.shape))
    for mixture in fit_mixtures(folds_of([good, echo]), labels).values():
        assert mixture.weights[0] > 0.7


def test_a_view_that_knows_nothing_changes_nothing(labels: np.ndarray) -> None:
    good = predictions(labels, 4, 2.0, 1)
    noise = softmax(np.random.default_rng(3).normal(size=(len(labels), 4)))
    mixtures = fit_mixtures(folds_of([good, noise]), labels)
    for mixture in mixtures.values():
        mixed = mixture.mixed(mixture.calibrated([good, noise]))
        assert np.abs(mixed - good).mean() < 0.02


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 4.0])
def test_the_temperature_of_a_view_is_found(labels: np.ndarray, sharpness: float) -> None:
    right = predictions(labels, 4, 1.5, 1)
    distorted = softmax(np.log(right) / sharpness)
    mixtures = fit_mixtures(folds_of([distorted, predictions(labels, 4, 1.5, 2)]), labels)
    for mixture in mixtures.values():
        assert mixture.view_sharpness[0] == pytest.approx(sharpness, rel=0.1)
        calibrated = np.exp(mixture.calibrated([distorted, distorted])[0])
        assert np.abs(calibrated - right).max() < 0.05


def test_labels_of_a_fold_do_not_decide_its_mixture(labels: np.ndarray) -> None:
    views = [predictions(labels, 4, skill, seed) for skill, seed in ((2.0, 1), (1.5, 2))]
    changed = labels.copy()
    changed[::FOLDS] = (changed[::FOLDS] + 1) % 4  # all labels of fold 0
    before, after = (fit_mixtures(folds_of(views), given) for given in (labels, changed))
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_each_repeat_has_mixtures_of_its_own(labels: np.ndarray) -> None:
    views = [predictions(labels, 4, 1.5, seed) for seed in (1, 2)]
    mixtures = fit_mixtures(folds_of(views, repeats=2), labels)
    assert sorted(mixtures) == list(range(2 * FOLDS))
    assert mixtures[0] == mixtures[FOLDS]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(1 / 16, 16), min_size=2, max_size=3),
    st.floats(1 / 16, 16),
    st.integers(2, 6),
    st.integers(0, 2**32 - 1),
)
def test_a_blend_is_a_distribution(view_sharpness: list[float], sharpness: float, classes: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(len(view_sharpness)))
    mixture = Mixture(tuple(view_sharpness), tuple(weights), sharpness)
    views = [generator.dirichlet(np.full(classes, 0.1), 20).astype(np.float32) for _ in view_sharpness]
    calibrated = mixture.calibrated(views)
    mixed = mixture.mixed(calibrated)
    assert mixed.dtype == np.float32
    assert np.isfinite(mixed).all()
    assert mixed.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    for before, after in zip(views, calibrated, strict=True):
        # A temperature never changes which class is the most probable.
        assert (np.take_along_axis(after, before.argmax(axis=1)[:, None], 1)[:, 0] >= after.max(axis=1) - 1e-5).all()


def test_a_blend_by_hand() -> None:
    views = [np.array([[0.8, 0.2]], np.float32), np.array([[0.5, 0.5]], np.float32)]
    # (0.8, 0.2) to the power of 2 * 3/4, and 1 for both classes: 0.8^1.5 : 0.2^1.5 = 8 : 1.
    mixture = Mixture((1.0, 1.0), (0.75, 0.25), 2.0)
    assert mixture.mixed(mixture.calibrated(views)) == pytest.approx(np.array([[8 / 9, 1 / 9]]), abs=1e-6)


def test_weights_by_hand() -> None:
    # Two views with a probability of 80 % that is right in 80 % of rows, independently of each other: log-odds add.
    sure, unsure = np.log([0.8, 0.2]), np.log([0.2, 0.8])
    first = [sure] * 80 + [unsure] * 20
    second = [sure] * 64 + [unsure] * 16 + [sure] * 16 + [unsure] * 4
    weights, sharpness = fit_pool([np.array(rows, np.float32) for rows in (first, second)], np.zeros(100, np.int64))
    assert weights == pytest.approx([0.5, 0.5], abs=1e-3)
    assert sharpness == pytest.approx(2.0, abs=0.02)


def test_a_copy_of_a_view_changes_nothing(labels: np.ndarray) -> None:
    view = predictions(labels, 4, 2.0, 1)
    for mixture in fit_mixtures(folds_of([view, view]), labels).values():
        assert mixture.sharpness == pytest.approx(1.0, abs=0.1)
        assert mixture.mixed(mixture.calibrated([view, view])) == pytest.approx(view, abs=0.05)


def test_measures_count_what_views_predict() -> None:
    given = np.array([0, 0, 0, 1])
    certain = np.eye(3, dtype=np.float32)
    one, two, three = certain[[0, 1, 1, 2]], certain[[0, 1, 2, 2]], certain[[1, 1, 0, 2]]
    fold = FoldViews(0, 0, np.arange(4), (ArrayBlocks(one), ArrayBlocks(two), ArrayBlocks(three)))
    measures = BlendMeasures(given, 1, 3)
    mixed = MixedFold(fold, Mixture((1.0, 1.0, 1.0), (1.0, 0.0, 0.0), 1.0), measures)
    (block,) = mixed.blocks()
    assert block.pred_probs == pytest.approx(one, abs=1e-6)
    # Row 0: one view says 1. Row 1: all say 1. Row 2: one says 1, one says 2. Row 3: all say 2.
    assert measures.views_agree.tolist() == [1, 3, 1, 3]
    assert measures.confirmed.tolist() == [2, 2, 2]
    assert measures.agreeing.tolist() == [[1, 1, 1, 1]]


def test_views_must_list_rows_in_one_order() -> None:
    class Reversed(ArrayBlocks):
        def blocks(self):  # type: ignore[no-untyped-def]
            for block in super().blocks():
                yield type(block)(block.positions[::-1], block.pred_probs[::-1])

    view = np.full((4, 2), 0.5, np.float32)
    fold = FoldViews(3, 0, np.arange(4), (ArrayBlocks(view), Reversed(view)))
    with pytest.raises(LabelauditError, match=r"The views of fold 3 list its rows in different orders\."):
        list(fold.blocks())
