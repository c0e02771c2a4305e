"""Optimizers by name or class, with frozen parameters and learning rates per layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.layers import last_layer
from labelaudit.model.muon import Muon
from labelaudit.model.torch_optimizers import SGD, AdamW
from labelaudit.text import listing


class Optimizer(Protocol):
    """What training needs of an optimizer; those of torch.optim have it."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


# The fused kernels exist for CPU and CUDA; on small networks they take a third of a step less.
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
    "adamw": (AdamW, {"weight_decay": 1e-4, "fused": True}),
    "sgd": (SGD, {"weight_decay": 1e-4, "momentum": 0.9, "nesterov": True, "fused": True}),
    "muon": (Muon, {"weight_decay": 0.1}),
}
# Muon's steps have the same size whatever the gradient, so that the rest takes another share of the learning rate.
_BESIDE_MUON = 0.2


def make_optimizer(
    module: nn.Module,
    optimizer: str | Callable[..., Optimizer],
    *,
    learning_rate: float,
    options: Mapping[str, Any],
    factors: Mapping[str, float],
) -> Optimizer:
    """An optimizer of the parameters of `module` that need gradients.

    Weights decay; biases and normalisation (one dimension or none) do not, and with "muon" neither do the last
    layer and embeddings. Each parameter group has a
    `factor` of the learning rate.

    Args:
        optimizer: "adamw", "sgd" (Nesterov momentum 0.9), "muon" (for the weights of hidden layers; the rest gets
            Nesterov momentum at a fifth of the learning rate), or a torch.optim.Optimizer class.
        options: arguments of the optimizer, such as `weight_decay`; they win over the defaults.
        factors: patterns of parameter names (`fnmatch`) and factors of their learning rate; the first counts.

    Raises:
        ConfigError: the optimizer is unknown or does not take the options, a pattern matches no parameter,
            or nothing is left to train.
    """
    check_patterns("learning_rate_factors", factors, module)
    build, defaults = _resolve(optimizer)
    settings = {**defaults, **options}
    decay = settings.get("weight_decay", _default(build, "weight_decay"))
    beside = _beside_hidden(module) if build is Muon else frozenset()
    tells_weights = build is Muon or bool(decay)  # else one group, which is faster than two
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            factor = next((value for pattern, value in factors.items() if fnmatchcase(name, pattern)), 1.0)
            is_weight = tells_weights and parameter.ndim > 1 and name not in beside
            groups.setdefault((factor, is_weight), []).append(parameter)
    if not groups:
        raise ConfigError("no parameter of the module is left to train: freeze fewer.")
    try:
        built = build(
            [_group(build, parameters, factor, is_weight, decay) for (factor, is_weight), parameters in groups.items()],
            lr=learning_rate,
            **settings,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer {optimizer!r} does not take {settings}: {error}.") from error
    required = [p for p in inspect.signature(built.step).parameters.values() if p.default is p.empty]
    if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in required):
        raise ConfigError(f"optimizer {optimizer!r} computes the loss itself, several times a step: use another one.")
    return built


def _default(build: Callable[..., Optimizer], argument: str) -> Any:
    parameter = inspect.signature(build).parameters.get(argument)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _group(
    build: Callable[..., Optimizer], parameters: list[nn.Parameter], factor: float, is_weight: bool, decay: float | None
) -> dict[str, Any]:
    group: dict[str, Any] = {"params": parameters, "factor": factor}
    if decay is not None:
        group["weight_decay"] = decay if is_weight else 0.0
    if build is Muon:
        group |= {"hidden": is_weight, "factor": factor if is_weight else factor * _BESIDE_MUON}
    return group


def _beside_hidden(module: nn.Module) -> frozenset[str]:
    """Names of the weights that are no matrices of a hidden layer: those of the last layer and of embeddings."""
    layers: list[tuple[str, nn.Module]] = [last_layer(module)]
    layers += [(n, layer) for n, layer in module.named_modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)]
    return frozenset(f"{name}.weight".lstrip(".") for name, _ in layers)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Give every parameter group `learning_rate` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]


def forget_gradients(optimizer: Optimizer) -> None:
    """What `optimizer.zero_grad()` does, without its profiling, which takes as long as a small layer."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def freeze(module: nn.Module, patterns: Sequence[str]) -> None:
    """Take gradients from the parameters whose names match one of `patterns` (`fnmatch`).

    Raises `ConfigError` where a pattern matches none.
    """
    check_patterns("frozen", patterns, module)
    for name, parameter in module.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def start_training(module: nn.Module) -> None:
    """Training mode, but not for layers with statistics all of whose parameters are frozen: so are these."""
    module.train()
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        keeps_statistics = next(layer.buffers(recurse=False), None) is not None
        if own and keeps_statistics and not any(parameter.requires_grad for parameter in own):
            layer.eval()


def check_patterns(setting: str, patterns: Sequence[str] | Mapping[str, float], module: nn.Module) -> None:
    """Raise `ConfigError` where a pattern matches the name of no parameter."""
    names = [name for name, _ in module.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"{setting}: {pattern!r} matches no parameter of the module. It has {listing(names, shown=8)}."
            )


def _resolve(
    optimizer: str | Callable[..., Optimizer],
) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
    if callable(optimizer):
        return optimizer, {}
    if optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"optimizer {optimizer!r} is unknown: use {', '.join(OPTIMIZERS)}, or a class of torch.optim."
        )
    return OPTIMIZERS[optimizer]
