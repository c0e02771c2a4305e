"""AdamW and SGD of torch.optim, without the import of torch.compile's machinery.

Building, stepping or saving an optimizer of torch.optim imports `torch._dynamo`, only to exclude these methods from
compilation. The import takes seconds in every process that trains, and nothing is compiled here. Both classes call the
undecorated methods, and compute bit-identical results.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

_Method: TypeAlias = Callable[..., Any]


def _unwrapped(method: _Method) -> _Method:
    """Return the function below its decorators. A decorator without `__wrapped__` stays, and costs only the import."""
    while hasattr(method, "__wrapped__"):
        method = method.__wrapped__
    return method


def _step_of(optimizer: type[torch.optim.Optimizer]) -> _Method:
    step = _unwrapped(optimizer.step)

    @functools.wraps(step)
    def step_without_gradients(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> object:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, closure)

    return step_without_gradients


class _Uncompiled:
    """The first base of a subclass of a torch.optim optimizer."""

    add_param_group = _unwrapped(torch.optim.Optimizer.add_param_group)
    state_dict = _unwrapped(torch.optim.Optimizer.state_dict)
    load_state_dict = _unwrapped(torch.optim.Optimizer.load_state_dict)
    zero_grad = _unwrapped(torch.optim.Optimizer.zero_grad)


class AdamW(_Uncompiled, torch.optim.AdamW):
    """`torch.optim.AdamW` without decorators."""

    step = _step_of(torch.optim.AdamW)


class SGD(_Uncompiled, torch.optim.SGD):
    """`torch.optim.SGD` without decorators."""

    step = _step_of(torch.optim.SGD)
