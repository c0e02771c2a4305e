"""Estimated seconds of a fold. `benchmarks/estimate.py` compares them with the seconds that a fold takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from labelaudit.errors import ConfigError
from labelaudit.model import estimate as module
from labelaudit.model.estimate import estimate_seconds
from labelaudit.model.recipes import choose_recipe
from labelaudit.model.training import batch_count

SHAPES = {"image": (3, 16, 16), "text": (2**18,), "vector": (64,), "table": (20,)}


class StepClock:
    """Measures a fit as the given seconds per step after a start of 2 seconds, and predictions as 1 second."""

    def __init__(self, *per_step: float) -> None:
        self.per_step = list(per_step)

    def seconds(self, work: Callable[[], object]) -> float:
        work()
        if not isinstance(work, partial):
            return 1.0
        seconds = self.per_step.pop(0) if len(self.per_step) > 1 else self.per_step[0]
        return 2.0 + seconds * work.args[0]


@pytest.mark.parametrize("kind", SHAPES)
def test_an_estimate_is_the_sum_of_steps_and_predictions(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds", StepClock(0.5).seconds)
    recipe = replace(choose_recipe(kind, rows=400, num_classes=3, input_shape=SHAPES[kind]), epochs=10, members=2)
    shape = {"num_classes": 3, "input_shape": SHAPES[kind], "device": "cpu"}
    found = estimate_seconds(recipe, kind=kind, rows=400, held_out=100, **shape)
    steps = 10 * batch_count(400, min(recipe.batch_size, 400))
    assert found == pytest.approx(2 * (steps * 0.5 + 100 * 1.0 / 512))


def test_a_busy_machine_never_gives_an_estimate_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # The long fit is measured first, so here the short one seems to take longer.
    monkeypatch.setattr(module, "_seconds", StepClock(0.01, 5.0).seconds)
    recipe = replace(choose_recipe("vector", rows=400, num_classes=3, input_shape=(64,)), epochs=10, members=1)
    shape = {"num_classes": 3, "input_shape": (64,), "device": "cpu"}
    assert estimate_seconds(recipe, kind="vector", rows=400, held_out=0, **shape) > 1


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


def test_threads_are_as_before_after_an_estimate() -> None:
    before = torch.get_num_threads()
    recipe = choose_recipe("table", rows=30, num_classes=2, input_shape=(4,))
    estimate_seconds(
        recipe, kind="table", rows=30, held_out=9, num_classes=2, input_shape=(4,), device="cpu", threads=1
    )
    assert torch.get_num_threads() == before
