"""Optimizers by name or class, with frozen parameters and learning rates per layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs, ParamGroup, State
from labelaudit.model.muon import GroupOptions, Muon
from labelaudit.model.torch_optimizers import SGD, AdamW
from labelaudit.text import listing


class Optimizer(Protocol):
    """The part of the interface of torch.optim that training uses."""

    param_groups: list[ParamGroup]

    def step(self) -> object: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state_dict: State) -> object: ...


# Fused kernels exist for CPU and CUDA. On small networks a step takes a third less time.
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], Kwargs]] = {
    "adamw": (AdamW, {"weight_decay": 1e-4, "fused": True}),
    "sgd": (SGD, {"weight_decay": 1e-4, "momentum": 0.9, "nesterov": True, "fused": True}),
    "muon": (Muon, {"weight_decay": 0.1}),
}


def make_optimizer(
    module: nn.Module,
    optimizer: str | Callable[..., Optimizer],
    *,
    learning_rate: float,
    options: Kwargs,
    factors: Mapping[str, float],
) -> Optimizer:
    """Return an optimizer for the parameters of `module` that need gradients.

    Weight decay applies to weights, not to biases and normalisation (parameters with at most one dimension). With
    "muon" it does not apply to the last layer and embeddings either. Each parameter group has a `factor`, its share of
    the learning rate.

    Args:
        optimizer: "adamw", "sgd" (Nesterov momentum 0.9), "muon" (for the weights of hidden layers; other parameters
            get Nesterov momentum at a fifth of the learning rate), or a torch.optim.Optimizer class. A class may have
            a `group_options` of its own, as `Muon` does.
        options: Arguments of the optimizer, such as `weight_decay`. They override the defaults.
        factors: Factors of the learning rate by pattern of parameter names (`fnmatch`). The first match applies.

    Raises:
        ConfigError: The optimizer is unknown or does not accept the options, a pattern matches no parameter, or no
            parameter is trainable.
    """
    check_patterns("learning_rate_factors", factors, module)
    build, defaults = _resolve(optimizer)
    settings = {**defaults, **options}
    weight_decay = settings.get("weight_decay", _default(build, "weight_decay"))
    options_of = getattr(build, "group_options", _decay_weights)(module, weight_decay)
    # Parameters with the same options share a group, because fewer groups are faster.
    groups: dict[tuple[tuple[str, float | bool], ...], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            own = options_of[name]
            factor = next((value for pattern, value in factors.items() if fnmatchcase(name, pattern)), 1.0)
            group = {**own, "factor": factor * own.get("factor", 1.0)}
            groups.setdefault(tuple(group.items()), []).append(parameter)
    if not groups:
        raise ConfigError(
            "The module has no parameter left to train. Freeze fewer parameters, or use a module with parameters."
        )
    try:
        built = build(
            [{"params": parameters, **dict(group)} for group, parameters in groups.items()],
            lr=learning_rate,
            **settings,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"Optimizer {optimizer!r} does not accept {settings}: {error}. Change the optimizer__ arguments."
        ) from error
    required = [p for p in inspect.signature(built.step).parameters.values() if p.default is p.empty]
    if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in required):
        raise ConfigError(
            f"Optimizer {optimizer!r} computes the loss itself, several times per step. Use another optimizer."
        )
    return built


def _default(build: Callable[..., Optimizer], argument: str) -> object:
    parameter = inspect.signature(build).parameters.get(argument)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _decay_weights(module: nn.Module, weight_decay: float | None) -> dict[str, GroupOptions]:
    if weight_decay is None:
        return {name: {} for name, _ in module.named_parameters()}
    return {
        name: {"weight_decay": weight_decay if parameter.ndim > 1 else 0.0}
        for name, parameter in module.named_parameters()
    }


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of each parameter group to `learning_rate` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]


def clear_gradients(optimizer: Optimizer) -> None:
    """Do what `optimizer.zero_grad()` does, without its profiling, which takes as long as a small layer."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def freeze(module: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude from training the parameters whose names match one of `patterns` (`fnmatch`).

    Raises:
        ConfigError: A pattern matches no parameter.
    """
    check_patterns("frozen", patterns, module)
    for name, parameter in module.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def set_training_mode(module: nn.Module) -> None:
    """Put `module` into training mode, except layers with statistics whose parameters are all frozen."""
    module.train()
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        keeps_statistics = next(layer.buffers(recurse=False), None) is not None
        if own and keeps_statistics and not any(parameter.requires_grad for parameter in own):
            layer.eval()


def check_patterns(setting: str, patterns: Sequence[str] | Mapping[str, float], module: nn.Module) -> None:
    """Check that each pattern matches the name of a parameter.

    Raises:
        ConfigError: A pattern matches none.
    """
    names = [name for name, _ in module.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"Pattern {pattern!r} in {setting} matches no parameter of the module. "
                f"Use names such as {listing(names, shown=8)}."
            )


def _resolve(
    optimizer: str | Callable[..., Optimizer],
) -> tuple[Callable[..., Optimizer], Kwargs]:
    if callable(optimizer):
        return optimizer, {}
    if optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"Optimizer {optimizer!r} is unknown. Use {', '.join(OPTIMIZERS)}, or a class of torch.optim."
        )
    return OPTIMIZERS[optimizer]
