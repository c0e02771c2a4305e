"""One fold of each kind on small data: its result, what is fitted on which rows, and errors."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from cleanlab.rank import get_label_quality_scores
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from labelaudit.errors import TrainingError
from labelaudit.model.fold import (
    FoldData,
    FoldFit,
    FoldInputs,
    encode,
    fit_fold,
    frequent_ngrams,
    network_kwargs,
    pixel_statistics,
    rehearse_fold,
)
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.ngrams import hash_texts
from labelaudit.model.recipes import Recipe, choose_recipe


def digits(rows: int = 700) -> tuple[ImageInputs, np.ndarray]:
    data = load_digits()
    pixels, labels = (data.images[:rows] * 15).astype(np.uint8)[..., None], data.target[:rows]
    return ImageInputs(pixels, np.arange(len(labels))), labels


def texts() -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(0)
    words = [["goal", "match", "team"], ["market", "shares", "bank"], ["planet", "orbit", "star"]]
    labels = rng.integers(0, 3, 90)
    return hash_texts(" ".join(rng.choice([*words[k], "the", "a"], 8)) for k in labels), labels


def table() -> tuple[pd.DataFrame, np.ndarray]:
    data = load_iris(as_frame=True)
    frame = data.data.assign(colour=np.where(data.target == 0, "blue", "red"))
    frame.iloc[::9, 1] = np.nan
    return frame, data.target.to_numpy()


def vectors() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return data.data[:600].astype(np.float32), data.target[:600]


ARRAYS = ("pred_probs", "dynamics")
KINDS = {"image": digits, "text": texts, "vector": vectors, "table": table}


def fold_of(
    kind: str, inputs: FoldInputs, labels: np.ndarray, epochs: int = 2, recipe: Recipe | None = None, **options: Any
) -> tuple[FoldFit, np.ndarray]:
    data = fold_data(kind, inputs, labels)
    recipe = recipe or recipe_for(data, epochs=epochs)
    return fit_fold(data, recipe, **{"device": "cpu", "seed": 3, **options}), data.held_out_rows


def fold_data(kind: str, inputs: FoldInputs, labels: np.ndarray) -> FoldData:
    train, held_out = next(StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels))
    return FoldData(kind, inputs, labels, int(labels.max()) + 1, train, held_out)


def recipe_for(data: FoldData, **settings: Any) -> Recipe:
    shape = data.inputs.shape[1:]
    return choose_recipe(
        data.kind, rows=len(data.train_rows), num_classes=data.num_classes, input_shape=shape, **settings
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_fold_of_each_kind(kind: str) -> None:
    inputs, labels = KINDS[kind]()
    calls: list[tuple[int, int, float]] = []
    fit, held_out = fold_of(kind, inputs, labels, epochs=8, on_epoch=lambda *state: calls.append(state))
    assert fit.pred_probs.dtype == np.float32
    assert fit.pred_probs.shape == (len(held_out), labels.max() + 1)
    assert np.isfinite(fit.pred_probs).all()
    np.testing.assert_allclose(fit.pred_probs.sum(axis=1, dtype=np.float64), 1, atol=1e-6)
    assert (fit.pred_probs.argmax(axis=1) == labels[held_out]).mean() > 0.5
    total = fit.epochs * fit.members
    assert [state[:2] for state in calls] == [(n + 1, total) for n in range(total)]
    assert fit.training_loss == fit.losses[-1]
    assert (fit.device, fit.seed, fit.threads) == ("cpu", 3, torch.get_num_threads())
    json.dumps({name: value for name, value in vars(fit).items() if name not in ARRAYS}, allow_nan=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fold_repeats_itself_bit_by_bit_and_its_seed_matters(kind: str) -> None:
    inputs, labels = KINDS[kind]()
    first, again, other = (fold_of(kind, inputs, labels, seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.pred_probs, again.pred_probs)
    assert not np.array_equal(first.pred_probs, other.pred_probs)
    for name, values in first.dynamics.columns().items():
        np.testing.assert_array_equal(values, again.dynamics.columns()[name])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_training_labels_are_learned_last(kind: str) -> None:
    inputs, labels = KINDS[kind]()
    data = fold_data(kind, inputs, labels)
    is_wrong = np.arange(len(labels)) % 15 == 0
    given = np.where(is_wrong, (labels + 1) % (labels.max() + 1), labels)
    fit = fit_fold(replace(data, labels=given), recipe_for(data, epochs=8), device="cpu", seed=3)
    assert len(fit.dynamics) == len(data.train_rows)
    right, wrong = (fit.dynamics.rows(is_wrong[data.train_rows] == value) for value in (False, True))
    assert np.median(wrong.margin) < np.median(right.margin)
    assert np.median(wrong.p_given) < np.median(right.p_given)
    assert wrong.epochs.mean() > right.epochs.mean()
    for name, low, high in (("p_given", 0, 1), ("spread", 0, 0.5), ("epochs", 0, 1)):
        values = fit.dynamics.columns()[name]
        assert values.min() >= low
        assert values.max() <= high


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_held_out_rows_are_never_used(kind: str) -> None:
    inputs, labels = KINDS[kind]()
    expected, held_out = fold_of(kind, inputs, labels)
    data = fold_data(kind, inputs, labels)
    hidden = labels.copy()
    hidden[held_out] = -1
    fit = fit_fold(replace(data, labels=hidden), recipe_for(data, epochs=2), device="cpu", seed=3)
    np.testing.assert_array_equal(fit.pred_probs, expected.pred_probs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rehearsal_returns_random_probabilities_of_the_same_shape(kind: str) -> None:
    inputs, labels = KINDS[kind]()
    data = fold_data(kind, inputs, labels)
    recipe = recipe_for(data)
    drawn = rehearse_fold(data, recipe, device="cpu")
    fit = fit_fold(data, replace(recipe, epochs=1), device="cpu")
    assert (drawn.shape, drawn.dtype) == (fit.pred_probs.shape, fit.pred_probs.dtype)
    np.testing.assert_allclose(drawn.sum(axis=1), 1, atol=1e-6)
    with pytest.raises(TrainingError, match=r"1 of (4|11) classes have no training row"):
        rehearse_fold(replace(data, num_classes=data.num_classes + 1), recipe, device="cpu")


@pytest.mark.parametrize(("side", "images"), [(16, 50), (64, 13), (200, 4)])
def test_fewer_of_large_images_are_whitened(monkeypatch: pytest.MonkeyPatch, side: int, images: int) -> None:
    """At most 50 images here, and as many pixels as 13 of 64x64 have; four are the fewest."""
    seen: list[int] = []

    def filters(shown: torch.Tensor, *, count: int, size: int) -> torch.Tensor:
        seen.append(len(shown))
        return torch.zeros(count, shown.shape[1], size, size)

    monkeypatch.setattr("labelaudit.model.fold.whitening_filters", filters)
    monkeypatch.setattr("labelaudit.model.fold._WHITENED_ROWS", 50)
    monkeypatch.setattr("labelaudit.model.fold._WHITENED_PIXELS", 13 * 64 * 64)
    recipe = choose_recipe("image", rows=100, num_classes=2, input_shape=(1, side, side))
    shown = ImageInputs(np.zeros((200, side, side, 1), np.uint8), np.arange(200))
    network_kwargs(recipe, FoldData("image", shown, np.zeros(200, int), 1, np.arange(200), np.arange(0)))
    assert seen == [images]


def test_the_order_of_held_out_rows_is_the_order_of_the_result() -> None:
    inputs, labels = table()
    recipe = choose_recipe("table", rows=100, num_classes=3, input_shape=(5,), epochs=2)
    data = FoldData("table", inputs, labels, 3, np.arange(0, 150, 2), np.arange(1, 150, 2))
    straight = fit_fold(data, recipe, device="cpu").pred_probs
    reverse = fit_fold(replace(data, held_out_rows=data.held_out_rows[::-1]), recipe, device="cpu").pred_probs
    np.testing.assert_allclose(reverse[::-1], straight, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_fitted_on_held_out_rows(kind: str) -> None:
    """Changed held-out inputs do not change predictions of other rows."""
    inputs, labels = KINDS[kind]()
    _, held_out = next(StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels))
    others = held_out[5:]
    expected = fold_of(kind, inputs, labels)[0].pred_probs[:5]
    changed = _with_other_rows(inputs, others)
    np.testing.assert_allclose(fold_of(kind, changed, labels)[0].pred_probs[:5], expected, atol=1e-6)


def _with_other_rows(inputs: FoldInputs, rows: np.ndarray) -> FoldInputs:
    if isinstance(inputs, ImageInputs):
        pixels = inputs.pixels.copy()
        pixels[rows] = 255 - pixels[rows]
        return ImageInputs(pixels, inputs.positions)
    if isinstance(inputs, pd.DataFrame):
        changed = inputs.copy()
        changed.iloc[rows, 0] = 1e6
        changed.iloc[rows, 4] = "violet"
        return changed
    if isinstance(inputs, np.ndarray):
        changed = inputs.copy()
        changed[rows] = 1e6
        return changed
    dense = inputs.tolil()
    dense[rows] = 7.0 * (sparse.random(len(rows), inputs.shape[1], 1e-4, random_state=0) > 0)
    return dense.tocsr()


def test_inputs_are_not_changed() -> None:
    for kind, make in KINDS.items():
        inputs, labels = make()
        before = make()[0]
        fold_of(kind, inputs, labels)
        if isinstance(inputs, ImageInputs):
            np.testing.assert_array_equal(inputs.pixels, before.pixels)
        elif isinstance(inputs, pd.DataFrame):
            pd.testing.assert_frame_equal(inputs, before)
        elif isinstance(inputs, np.ndarray):
            np.testing.assert_array_equal(inputs, before)
        else:
            assert (inputs != before).nnz == 0


def test_memory_maps_are_enough(tmp_path: Path) -> None:
    inputs, labels = digits()
    inputs.pixels.tofile(tmp_path / "pixels.bin")
    mapped = np.memmap(tmp_path / "pixels.bin", np.uint8, "r", shape=inputs.pixels.shape)
    expected = fold_of("image", inputs, labels)[0].pred_probs
    np.testing.assert_array_equal(
        fold_of("image", ImageInputs(mapped, inputs.positions), labels)[0].pred_probs, expected
    )
    counts, classes = texts()
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(counts, name))
    arrays = tuple(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr"))
    read_only = sparse.csr_matrix(arrays, shape=counts.shape, copy=False)
    np.testing.assert_array_equal(
        fold_of("text", read_only, classes)[0].pred_probs, fold_of("text", counts, classes)[0].pred_probs
    )


def test_a_class_without_training_rows_is_an_error() -> None:
    inputs, labels = table()
    recipe = choose_recipe("table", rows=100, num_classes=3, input_shape=(5,))
    with pytest.raises(TrainingError, match=r"In this fold, 1 of 3 classes have no training row \(first: class 2\)"):
        fit_fold(FoldData("table", inputs, labels, 3, np.arange(100), np.arange(100, 150)), recipe)


def _recipe(kind: str) -> Recipe:
    return choose_recipe(kind, rows=100, num_classes=3, input_shape=(1, 8, 8))


def test_members_are_averaged() -> None:
    inputs, labels = table()
    recipe = choose_recipe("table", rows=120, num_classes=3, input_shape=(5,), epochs=2)
    one, two = (fold_of("table", inputs, labels, recipe=replace(recipe, members=count))[0] for count in (1, 2))
    assert len(one.losses) == len(two.losses) == 2
    assert not np.array_equal(one.pred_probs, two.pred_probs)


def test_pixel_statistics_are_those_of_the_training_rows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), np.uint8)
    images, rows = ImageInputs(pixels, np.arange(50)[::-1].copy()), np.arange(0, 50, 3)
    mean, std = pixel_statistics(images, rows)
    seen = pixels[images.positions[rows]].reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, seen.mean(axis=0))
    np.testing.assert_allclose(std, seen.std(axis=0))
    assert pixel_statistics(images, rows[::-1]) == (mean, std)


def test_a_constant_channel_is_only_shifted() -> None:
    mean, std = pixel_statistics(ImageInputs(np.full((2, 3, 3, 1), 51, np.uint8), np.arange(2)), np.arange(2))
    assert mean == pytest.approx([0.2])
    assert std == pytest.approx([1 / 255])


def test_frequent_ngrams_by_hand() -> None:
    counts = sparse.csr_matrix([[1, 5, 0, 1, 0], [1, 0, 0, 1, 0], [1, 0, 2, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1]])
    assert frequent_ngrams(counts, limit=10).tolist() == [0, 3]
    assert frequent_ngrams(counts, limit=1).tolist() == [0]


def test_inverse_frequencies_come_from_training_rows() -> None:
    counts, labels = texts()
    data = FoldData("text", counts, labels, 3, np.arange(60), np.arange(60, 90))
    train, held_out, dataset = encode(data, seed=0)
    assert dataset is None
    assert train.shape[0] == 60
    assert held_out.shape == (30, train.shape[1])
    np.testing.assert_allclose(sparse.linalg.norm(train, axis=1), 1, rtol=1e-5)


def test_threads_and_seed_decide_not_the_process_history() -> None:
    inputs, labels = digits()
    first = fold_of("image", inputs, labels)[0]
    fold_of("table", *table())
    torch.rand(11)
    np.testing.assert_array_equal(fold_of("image", inputs, labels)[0].pred_probs, first.pred_probs)
    assert asdict(replace(first, seconds=0.0, pred_probs=np.empty(0)))["members"] >= 1


def test_a_fold_does_not_copy_pixels() -> None:
    pixels = np.zeros((4000, 32, 32, 3), np.uint8)
    inputs, labels = ImageInputs(pixels, np.arange(4000)), np.arange(4000) % 2
    recipe = replace(_recipe("image"), epochs=1, batch_size=500, network_kwargs={"widths": (2, 2)})
    tracemalloc.start()
    fit_fold(FoldData("image", inputs, labels, 2, np.arange(500), np.arange(500, 600)), recipe, device="cpu")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes / 2


def average_precision(kind: str, inputs: FoldInputs, labels: np.ndarray, wrong: np.ndarray, folds: int = 5) -> float:
    num_classes = int(labels.max()) + 1
    pred_probs = np.empty((len(labels), num_classes))
    parts = StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)
    for number, (train, held_out) in enumerate(parts):
        data = FoldData(kind, inputs, labels, num_classes, train, held_out)
        fit = fit_fold(data, recipe_for(data), device="cpu", seed=number)
        pred_probs[held_out] = fit.pred_probs
    return float(average_precision_score(wrong, -get_label_quality_scores(labels, pred_probs)))


def real(path: Path) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    data = pq.read_table(path).to_pandas()
    names = sorted(set(data["label"]))
    return data, data["label"].map(names.index).to_numpy(), (data["label"] != data["true_label"]).to_numpy()


@pytest.mark.slow
def test_wrong_genres_of_real_songs_rank_first(shared_data: Path) -> None:
    data, labels, wrong = real(shared_data / "music-genre-700.parquet")
    assert average_precision("table", data.filter(like="feature"), labels, wrong) > 0.66


@pytest.mark.slow
def test_wrong_topics_of_real_news_rank_first(shared_data: Path) -> None:
    data, labels, wrong = real(shared_data / "agnews-human-5k.parquet")
    assert average_precision("text", hash_texts(data["text"]), labels, wrong) > 0.51


@pytest.mark.slow
def test_planted_errors_among_digits_rank_first() -> None:
    inputs, labels = digits(rows=1797)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(labels)) < 0.06
    noisy = np.where(wrong, (labels + rng.integers(1, 10, len(labels))) % 10, labels)
    assert average_precision("image", inputs, noisy, wrong, folds=3) > 0.98


WORDS_OF_TOPICS = (("好吃的面条", "米饭", "辣椒酱", "早餐店"), ("手机屏幕", "电池", "软件更新", "处理器"))


def test_wrong_topics_of_sentences_without_spaces_rank_first() -> None:
    generator = np.random.default_rng(0)
    topics = np.arange(200) % 2
    fillers = list("的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动")
    sentences = [
        "".join(
            [
                *generator.choice(fillers, 12),
                *generator.choice(WORDS_OF_TOPICS[topic], 2),
                *generator.choice(fillers, 6),
            ]
        )
        for topic in topics
    ]
    wrong = np.isin(np.arange(200), generator.choice(200, 12, replace=False))
    assert average_precision("text", hash_texts(sentences), np.where(wrong, 1 - topics, topics), wrong) > 0.9
