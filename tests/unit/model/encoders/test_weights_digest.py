"""Digests of weights depend on names, dtypes, shapes and bytes, and on nothing else."""

from __future__ import annotations

import torch

from labelaudit.model.encoders.weights_digest import state_sha256


def test_the_order_and_the_layout_in_memory_do_not_matter() -> None:
    first = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}
    second = {"b": torch.tensor(3), "a": torch.arange(6.0).view(2, 3).T.contiguous().T}
    assert state_sha256(first) == state_sha256(second)
    assert len(state_sha256({})) == 64


def test_every_change_matters() -> None:
    base = torch.arange(6.0).view(2, 3)
    states = [
        {"a": base},
        {"b": base},
        {"a": base.view(3, 2)},
        {"a": base.double()},
        {"a": base.bfloat16()},
        {"a": base + 1},
        {"a": base, "b": torch.zeros(0)},
    ]
    digests = {*map(state_sha256, states), state_sha256(states[0], "code")}
    assert len(digests) == len(states) + 1
