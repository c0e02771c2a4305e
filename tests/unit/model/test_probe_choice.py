from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from labelaudit.model import probe_choice
from labelaudit.model.logistic_regression import LinearModels, Problems, solve
from labelaudit.model.probe_choice import Choice, Trainer, choose
from labelaudit.model.probe_scaling import Scaling
from tests.support.feature_folds import clusters


def trainer_of(parts: torch.Tensor, *, distance: float = 0.5) -> tuple[Trainer, Scaling]:
    features, labels = clusters(len(parts), 6, 3, distance=distance)
    tensor = torch.from_numpy(features).float()
    scaling = Scaling.of(tensor)
    return Trainer(scaling.apply_(tensor), torch.from_numpy(labels), 3, parts, lambda *_: None), scaling


def test_the_strongest_penalty_within_one_standard_error_is_chosen() -> None:
    choices = [
        Choice(False, penalty=penalty, temperature=1.0, loss=loss, error=error, rows=9)
        for penalty, loss, error in [(100.0, 0.9, 0.5), (10.0, 0.55, 0.1), (3.0, 0.5, 0.1), (1.0, 0.52, 0.1)]
    ]
    assert probe_choice._strongest(choices).penalty == 10
    assert probe_choice._strongest([replace(choice, error=0.01) for choice in choices]).penalty == 3


def test_no_model_is_trained_twice_and_weak_penalties_only_if_they_may_win(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[float, int]] = []

    def counted(*args: Any, **options: Any) -> LinearModels:
        problems: Problems = args[3]
        trained.extend(zip(problems.penalties.tolist(), problems.excluded.tolist(), strict=True))
        return solve(*args, **options)

    monkeypatch.setattr(probe_choice, "solve", counted)
    trainer, scaling = trainer_of(torch.arange(90) % 3)
    found, _ = choose(trainer, scaling)
    assert found.rows == 90
    counts = Counter(trained)
    # Both scales are tried on the first part, and one of them on the others.
    assert {count for (_, part), count in counts.items() if part == 0} <= {1, 2}
    assert {count for (_, part), count in counts.items() if part > 0} == {1}
    tried = [penalty / 6 for penalty, part in trained if part == 1]
    assert tried == pytest.approx([1_000, 100, 30, 10, 3, 1, 0.3])


def test_held_out_rows_do_not_affect_their_logits() -> None:
    parts = torch.arange(90) % 5
    trainer, scaling = trainer_of(parts)
    changed = Trainer(
        trainer.features, torch.where(parts == 1, 2, trainer.targets), 3, trainer.parts, trainer.on_iteration
    )
    _, directions = choose(trainer, scaling)
    # Each part in a stack of its own: products of other sizes are rounded differently on some CPUs.
    first, second = (
        [each.held_out_logits([10.0, 1.0], [part], directions)[0] for part in (0, 1)] for each in (trainer, changed)
    )
    assert torch.equal(first[1], second[1])
    assert not torch.allclose(first[0], second[0], atol=0.01)


def test_small_stacks_give_the_same_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, scaling = trainer_of(torch.arange(90) % 5)
    _, directions = choose(trainer, scaling)
    together = trainer.held_out_logits([10.0, 1.0], [0, 1, 2], directions)
    monkeypatch.setitem(probe_choice._MAX_WEIGHTS, "cpu", 1)
    alone = trainer.held_out_logits([10.0, 1.0], [0, 1, 2], directions)
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_the_temperature_comes_from_the_first_part() -> None:
    trainer, scaling = trainer_of(torch.where(torch.arange(90) < 30, 0, -1))
    choice, directions = choose(trainer, scaling)
    found = trainer.with_temperature(replace(choice, is_standardised=True, temperature=9.0), directions)
    # Both are exact to about 1 %. How they are rounded depends on the number of penalties in the stack.
    measured = {name: getattr(found, name) for name in ("temperature", "loss", "error")}
    assert measured == pytest.approx({name: getattr(choice, name) for name in measured}, rel=0.01)
    assert found == replace(choice, is_standardised=True, **measured)
    nothing, _ = trainer_of(torch.full((90,), -1))
    assert nothing.with_temperature(choice, directions) is choice
