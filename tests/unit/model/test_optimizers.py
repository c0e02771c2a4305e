"""Optimizers: what decays, what is frozen, which rate each parameter has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.optimizers import check_patterns, freeze, make_optimizer, set_learning_rate, start_training


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def made(module: nn.Module, optimizer: Any = "adamw", factors: Any = None, **options: Any) -> Any:
    return make_optimizer(module, optimizer, learning_rate=0.5, options=options, factors=factors or {})


def by_parameter(module: nn.Module, optimizer: Any, key: str) -> dict[str, Any]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {names[id(p)]: group[key] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.RMSprop])
def test_weights_decay_and_biases_and_normalisation_do_not(optimizer: Any) -> None:
    module = network()
    decays = by_parameter(module, made(module, optimizer, weight_decay=0.5), "weight_decay")
    assert decays == {"0.weight": 0.5, "0.bias": 0, "1.weight": 0, "1.bias": 0, "2.weight": 0.5, "2.bias": 0}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_names_have_a_small_decay_of_their_own(optimizer: str) -> None:
    module = network()
    decays = by_parameter(module, made(module, optimizer), "weight_decay")
    assert {name for name, decay in decays.items() if decay > 0} == {"0.weight", "2.weight"}


def test_a_class_keeps_its_own_defaults() -> None:
    module = network()
    decays = by_parameter(module, made(module, torch.optim.AdamW), "weight_decay")
    own = torch.optim.AdamW(network().parameters()).defaults["weight_decay"]
    dimensions = {name: parameter.ndim for name, parameter in module.named_parameters()}
    assert decays == {name: own if ndim > 1 else 0.0 for name, ndim in dimensions.items()}


def test_names_stand_for_classes() -> None:
    assert isinstance(made(network(), "adamw"), torch.optim.AdamW)
    sgd = made(network(), "sgd")
    assert isinstance(sgd, torch.optim.SGD)
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in sgd.param_groups)


def test_arguments_win_over_defaults() -> None:
    optimizer = made(network(), "sgd", momentum=0.5, nesterov=False)
    assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.5, False)}


def test_a_function_may_build_the_optimizer() -> None:
    def build(groups: list[dict[str, Any]], lr: float, speed: int) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=lr * speed)

    assert {group["lr"] for group in made(network(), build, speed=3).param_groups} == {1.5}


def test_every_parameter_is_in_one_group_and_frozen_ones_in_none() -> None:
    module = network()
    module[0].weight.requires_grad_(False)
    optimizer = made(module, factors={"0.*": 0.5, "1.weight": 0.1})
    assert by_parameter(module, optimizer, "factor") == {
        **{"0.bias": 0.5, "1.weight": 0.1, "1.bias": 1.0, "2.weight": 1.0, "2.bias": 1.0},
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 5


def test_the_first_pattern_counts_and_rates_are_shares() -> None:
    module = network()
    optimizer = made(module, factors={"*.bias": 0.0, "0.*": 0.25, "*": 2.0})
    set_learning_rate(optimizer, 0.4)
    assert by_parameter(module, optimizer, "lr") == {
        **{"0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.8, "1.bias": 0.0, "2.weight": 0.8, "2.bias": 0.0},
    }


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        ("adam", {}, r"optimizer 'adam' is unknown: use adamw, sgd.*, or a class of torch\.optim"),
        ("adamw", {"speed": 3}, r"optimizer 'adamw' does not take \{.*'speed': 3.*\}: .*speed"),
        ("adamw", {"lr": 3}, r"optimizer 'adamw' does not take \{.*'lr': 3.*\}: .*lr"),
        ("adamw", {"betas": (2.0, 0.9)}, r"optimizer 'adamw' does not take .*: Invalid beta"),
        ("adamw", {"weight_decay": -1.0}, r"optimizer 'adamw' does not take .*Invalid weight_decay"),
        (torch.optim.LBFGS, {"weight_decay": 0.1}, r"does not take .*: LBFGS"),
        (torch.optim.Rprop, {"weight_decay": 0.1}, r"does not take .*weight_decay"),
    ],
)
def test_wrong_optimizers_and_arguments_are_refused(optimizer: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(network(), optimizer, **options)


def test_with_nothing_to_train_there_is_no_optimizer() -> None:
    module = network()
    freeze(module, ["*"])
    with pytest.raises(ConfigError, match=r"no parameter of the module is left to train: freeze fewer"):
        made(module)


def test_freezing_takes_gradients_from_what_matches() -> None:
    module = network()
    freeze(module, ["0.*", "*.bias"])
    assert {name for name, p in module.named_parameters() if p.requires_grad} == {"1.weight", "2.weight"}


def test_patterns_tell_capital_letters_apart() -> None:
    with pytest.raises(ConfigError, match=r"frozen: 'Weight' matches no parameter of the module\. It has weight, bias"):
        freeze(nn.Linear(2, 2), ["Weight"])


def test_a_long_module_is_listed_in_part() -> None:
    module = nn.Sequential(*[nn.Linear(1, 1) for _ in range(9)])
    with pytest.raises(ConfigError, match=r"learning_rate_factors: 'x\*' matches no parameter .*3\.bias and 10 more\."):
        check_patterns("learning_rate_factors", {"x*": 1.0}, module)


def test_layers_that_are_frozen_as_a_whole_stay_out_of_training() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(), nn.BatchNorm1d(2)).eval()
    module[1].weight.requires_grad_(False)
    freeze(module, ["3.*"])
    start_training(module)
    assert [layer.training for layer in module] == [True, True, True, False]
    module[3].requires_grad_(True)
    start_training(module)
    assert module[3].training
