"""Estimated seconds of a fold against the seconds that it took."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelaudit.errors import ConfigError
from labelaudit.model.estimate import estimate_seconds
from labelaudit.model.fold import FoldData, fit_fold
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.recipes import choose_recipe

SHAPES = {"image": (3, 16, 16), "text": (2**18,), "vector": (64,), "table": (20,)}


@pytest.mark.parametrize("kind", SHAPES)
def test_an_estimate_grows_with_epochs_and_members(kind: str) -> None:
    recipe = choose_recipe(kind, rows=400, num_classes=3, input_shape=SHAPES[kind])
    recipe = replace(recipe, epochs=10, members=1)

    def estimate(epochs: int, members: int) -> float:
        return estimate_seconds(
            replace(recipe, epochs=epochs, members=members),
            kind=kind,
            rows=400,
            held_out=100,
            num_classes=3,
            input_shape=SHAPES[kind],
            device="cpu",
        )

    assert 0 < estimate(10, 1) < estimate(2000, 10)


def test_many_classes_and_few_rows_can_be_estimated() -> None:
    recipe = choose_recipe("table", rows=30, num_classes=100, input_shape=(4,))
    seconds = estimate_seconds(
        recipe, kind="table", rows=30, held_out=10, num_classes=100, input_shape=(4,), device="cpu"
    )
    assert 0 < seconds < 60


def test_an_estimate_raises_the_errors_of_a_fold() -> None:
    recipe = choose_recipe("image", network="torchvision:resnet5", rows=9, num_classes=2, input_shape=(3, 8, 8))
    with pytest.raises(ConfigError, match=r"'torchvision:resnet5' is unknown"):
        estimate_seconds(recipe, kind="image", rows=9, held_out=3, num_classes=2, input_shape=(3, 8, 8))


@pytest.mark.slow
def test_an_estimate_is_right_within_a_factor_of_two() -> None:
    labels = np.arange(2000) % 10
    images = ImageInputs(np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), np.uint8), np.arange(2000))
    recipe = choose_recipe("image", rows=1600, num_classes=10, input_shape=(3, 32, 32), epochs=5)
    expected = estimate_seconds(
        recipe, kind="image", rows=1600, held_out=400, num_classes=10, input_shape=(3, 32, 32), device="cpu"
    )
    started = time.perf_counter()
    data = FoldData("image", images, labels, 10, np.arange(1600), np.arange(1600, 2000))
    fit_fold(data, recipe, device="cpu")
    assert 0.5 < (time.perf_counter() - started) / expected < 2


def test_threads_are_as_before_after_an_estimate() -> None:
    before = torch.get_num_threads()
    recipe = choose_recipe("table", rows=30, num_classes=2, input_shape=(4,))
    estimate_seconds(
        recipe, kind="table", rows=30, held_out=9, num_classes=2, input_shape=(4,), device="cpu", threads=1
    )
    assert torch.get_num_threads() == before
