"""Muon: momentum whose every matrix is made orthogonal before it is a step.

Method: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. It reaches in a third of the
epochs what SGD does on small image networks. `torch.optim.Muon` takes matrices alone, and imports torch.compile's
machinery, which takes seconds in every worker (`labelaudit.model.torch_optimizers`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from labelaudit.model.device import computes_bfloat16

# Quintic polynomial that pulls singular values towards 1, steep at 0 (from the reference above).
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_EPSILON = 1e-7


class Muon:
    """Steps of orthogonalised momentum for hidden weights, and of Nesterov momentum for all else.

    Used as an optimizer of torch.optim is, through `param_groups`, `step()` and its state dict. A group says with
    `hidden` which of the two it gets, and has its own `lr` and `weight_decay` (decoupled).

    Args:
        groups: dicts with `params` and `hidden`; what they have beside is kept.
        lr, weight_decay: of groups that have none of their own.
        momentum, nesterov_momentum: of hidden weights, and of all else.
        iterations: of the orthogonalisation (Newton-Schulz).
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.6,
        nesterov_momentum: float = 0.9,
        iterations: int = 4,
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum if group["hidden"] else nesterov_momentum,
                **group,
            }
            for group in groups
        ]
        if not weight_decay >= 0:
            raise ValueError(f"weight_decay {weight_decay} must not be negative")
        self._iterations = iterations
        self._velocities = [
            [torch.zeros_like(parameter) for parameter in group["params"]] for group in self.param_groups
        ]

    def state_dict(self) -> dict[str, Any]:
        """Momentum, and the settings of the groups without their parameters."""
        groups = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        return {"velocities": self._velocities, "groups": groups, "iterations": self._iterations}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the momentum of a `state_dict`; the settings stay as they are."""
        for live, kept in zip(self._velocities, state_dict["velocities"], strict=True):
            torch._foreach_copy_(live, kept)

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group, velocities in zip(self.param_groups, self._velocities, strict=True):
            used = [(p, v) for p, v in zip(group["params"], velocities, strict=True) if p.grad is not None]
            if not used:
                continue
            parameters, moving = [p for p, _ in used], [v for _, v in used]
            gradients = [p.grad for p in parameters]
            torch._foreach_mul_(moving, group["momentum"])
            torch._foreach_add_(moving, gradients)
            updates = list(torch._foreach_add(gradients, moving, alpha=group["momentum"]))
            if group["hidden"]:
                updates = _orthogonal(updates, self._iterations)
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def _orthogonal(updates: list[torch.Tensor], iterations: int) -> list[torch.Tensor]:
    """Each update (out, ...), as a matrix with `out` rows, orthogonalised; those of one shape together."""
    by_shape: dict[torch.Size, list[int]] = {}
    for number, update in enumerate(updates):
        by_shape.setdefault(update.shape, []).append(number)
    result = list(updates)
    for shape, numbers in by_shape.items():
        matrices = orthogonalise(torch.stack([updates[number].flatten(1) for number in numbers]), iterations)
        for number, matrix in zip(numbers, matrices, strict=True):
            result[number] = matrix.view(shape)
    return result


def orthogonalise(matrices: torch.Tensor, iterations: int) -> torch.Tensor:
    """About U V^T of each of the matrices (N, rows, columns) = U S V^T, float32, by Newton-Schulz iterations.

    Singular values come near 1, within a factor of about 0.7 to 1.2 unless they are tiny.
    """
    dtype = torch.bfloat16 if computes_bfloat16(matrices.device) else torch.float32
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + _EPSILON)
    for _ in range(iterations):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=_CUBIC, alpha=_QUINTIC)
        x = torch.baddbmm(x, polynomial, x, beta=_LINEAR)
    return (x.mT if tall else x).to(matrices.dtype)
