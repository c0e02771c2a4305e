"""Muon: an optimizer that makes the momentum of each weight matrix orthogonal before each step.

Method: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. On small image networks it needs
a third of the epochs of SGD. `torch.optim.Muon` accepts only matrices, and it imports torch.compile's machinery, which
takes seconds in every worker (see `labelaudit.model.torch_optimizers`).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from labelaudit.model.aliases import ParamGroup, State
from labelaudit.model.device import computes_bfloat16
from labelaudit.model.layers import last_layer

# Options of the parameter group of one parameter.
GroupOptions = dict[str, float | bool]

# Quintic polynomial that pulls singular values towards 1 and is steep at 0 (from the paper above).
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_EPSILON = 1e-7
# Orthogonal steps have the same size for any gradient, so other parameters need another share of the learning rate.
_OTHER_FACTOR = 0.2


class Muon:
    """An optimizer with orthogonal steps for hidden weights, and Nesterov momentum for all other parameters.

    It has the interface of torch.optim: `param_groups`, `step()` and a state dict. The entry `hidden` of a group
    selects one of the two kinds of steps. A group may have its own `lr` and `weight_decay` (decoupled).

    Args:
        groups: Dicts with `params` and `hidden`. Other entries are kept.
        lr: Learning rate of groups that have none.
        weight_decay: Weight decay of groups that have none.
        momentum: Momentum of hidden weights.
        nesterov_momentum: Momentum of other parameters.
        iterations: Iterations of the orthogonalisation (Newton-Schulz).
    """

    def __init__(
        self,
        groups: Iterable[ParamGroup],
        lr: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.6,
        nesterov_momentum: float = 0.9,
        iterations: int = 4,
    ) -> None:
        self.param_groups: list[ParamGroup] = [
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

    @staticmethod
    def group_options(module: nn.Module, weight_decay: float) -> dict[str, GroupOptions]:
        """Return the options of the group of each parameter, by its name.

        Hidden are all weights except those of the last layer and of embeddings.

        Raises:
            ConfigError: The module has no last layer.
        """
        layers: list[tuple[str, nn.Module]] = [last_layer(module)]
        layers += [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
        outer = {f"{name}.weight".lstrip(".") for name, _ in layers}
        hidden: GroupOptions = {"hidden": True, "weight_decay": weight_decay}
        other: GroupOptions = {"hidden": False, "weight_decay": 0.0, "factor": _OTHER_FACTOR}
        return {
            name: hidden if parameter.ndim > 1 and name not in outer else other
            for name, parameter in module.named_parameters()
        }

    def state_dict(self) -> State:
        """Return the momentum, and the settings of the groups without their parameters."""
        groups = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        return {"velocities": self._velocities, "groups": groups, "iterations": self._iterations}

    @torch.no_grad()
    def load_state_dict(self, state_dict: State) -> None:
        """Restore the momentum from a `state_dict`; settings do not change."""
        for current, saved in zip(self._velocities, state_dict["velocities"], strict=True):
            torch._foreach_copy_(current, saved)

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group, velocities in zip(self.param_groups, self._velocities, strict=True):
            used = [(p, v) for p, v in zip(group["params"], velocities, strict=True) if p.grad is not None]
            if not used:
                continue
            parameters, momenta = [p for p, _ in used], [v for _, v in used]
            gradients = [p.grad for p in parameters]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            updates = list(torch._foreach_add(gradients, momenta, alpha=group["momentum"]))
            if group["hidden"]:
                updates = _orthogonal(updates, self._iterations)
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def _orthogonal(updates: list[torch.Tensor], iterations: int) -> list[torch.Tensor]:
    """Orthogonalise each update (out, ...) as a matrix with `out` rows. Equal shapes are processed together."""
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
    """Return about U V^T for each of the matrices (N, rows, columns) = U S V^T, by Newton-Schulz iterations.

    Singular values come close to 1, within a factor of about 0.7 to 1.2, unless they are tiny.

    Returns:
        (N, rows, columns), in the dtype of `matrices`.
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
