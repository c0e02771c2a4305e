"""AdamW and SGD of torch.optim, without the import of torch.compile's machinery.

Building, stepping or saving an optimizer of torch.optim imports `torch._dynamo`, only to tell torch.compile to leave
these methods alone. That import takes seconds in every process that trains, and nothing is compiled here. Both classes
call the methods below that wrapping, and compute the same to the last bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


def _unwrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    """The function below its decorators. One that does not tell what it wraps stays, and only costs the import."""
    while hasattr(method, "__wrapped__"):
        method = method.__wrapped__
    return method


def _step_of(optimizer: type[torch.optim.Optimizer]) -> Callable[..., Any]:
    step = _unwrapped(optimizer.step)

    @functools.wraps(step)
    def step_without_gradients(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, closure)

    return step_without_gradients


class _Uncompiled:
    """Stands before an optimizer of torch.optim among the bases."""

    add_param_group = _unwrapped(torch.optim.Optimizer.add_param_group)
    state_dict = _unwrapped(torch.optim.Optimizer.state_dict)
    load_state_dict = _unwrapped(torch.optim.Optimizer.load_state_dict)
    zero_grad = _unwrapped(torch.optim.Optimizer.zero_grad)


class AdamW(_Uncompiled, torch.optim.AdamW):
    """`torch.optim.AdamW`, as this module says."""

    step = _step_of(torch.optim.AdamW)


class SGD(_Uncompiled, torch.optim.SGD):
    """`torch.optim.SGD`, as this module says."""

    step = _step_of(torch.optim.SGD)
