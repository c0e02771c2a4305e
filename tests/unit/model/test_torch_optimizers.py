"""Our AdamW and SGD against those of torch.optim: the same bytes, without torch.compile's machinery."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from labelaudit.model import torch_optimizers

PAIRS = [
    (torch_optimizers.AdamW, torch.optim.AdamW, {"weight_decay": 0.01, "fused": True}),
    (torch_optimizers.AdamW, torch.optim.AdamW, {"amsgrad": True, "foreach": False}),
    (torch_optimizers.SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "fused": True}),
    (torch_optimizers.SGD, torch.optim.SGD, {"maximize": True, "foreach": True}),
]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))


def backward(module: nn.Module, step: int) -> None:
    inputs = torch.randn(11, 5, generator=torch.Generator().manual_seed(step))
    module.zero_grad()
    module(inputs).square().mean().backward()


def bytes_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> bytes:
    sink = io.BytesIO()
    state = optimizer.state_dict()
    torch.save([[tensor.detach() for tensor in module.parameters()], state["state"], state["param_groups"]], sink)
    return sink.getvalue()


@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)
def test_the_same_bytes_as_torch(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    found = []
    for build in (ours, theirs):
        module = network()
        optimizer = build(module.parameters(), lr=0.1, **options)
        for step in range(5):
            backward(module, step)
            optimizer.step()
        again = build(module.parameters(), lr=0.1, **options)
        again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        backward(module, 5)
        again.step()
        found.append(bytes_of(module, again))
    assert found[0] == found[1]


@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)
def test_steps_leave_no_gradients_and_closures_have_them(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    module = network()
    optimizer = ours(module.parameters(), lr=0.1, **options)

    def closure() -> float:
        assert torch.is_grad_enabled()
        backward(module, 0)
        return 0.5

    assert optimizer.step(closure) == 0.5
    assert torch.is_grad_enabled()
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in module.parameters())


def test_hooks_are_called() -> None:
    module = network()
    optimizer = torch_optimizers.SGD(module.parameters(), lr=0.1)
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    backward(module, 0)
    optimizer.step()
    assert called == ["before", "after"]


def test_copies_and_pickles_continue() -> None:
    module = network()
    optimizer = torch_optimizers.AdamW(module.parameters(), lr=0.1)
    backward(module, 0)
    optimizer.step()
    # Together, so that the copy's optimizer has the copy's parameters.
    copies = [copy.deepcopy((module, optimizer)), pickle.loads(pickle.dumps((module, optimizer)))]
    for trained, stepping in [(module, optimizer), *copies]:
        backward(trained, 1)
        stepping.step()
    for copied, stepping in copies:
        assert type(stepping) is torch_optimizers.AdamW
        assert bytes_of(copied, stepping) == bytes_of(module, optimizer)
