"""Layers of modules by position and by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.layers import last_layer, named_layer

NETWORK = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.Linear(2, 3), nn.ReLU()))


def test_the_last_layer_is_a_linear_one_or_a_1x1_convolution() -> None:
    assert last_layer(NETWORK) == ("1.0", NETWORK[1][0])
    convolutions = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 2, 1), nn.ReLU())
    assert last_layer(convolutions) == ("1", convolutions[1])
    alone = nn.Linear(2, 3)
    assert last_layer(alone) == ("", alone)


@pytest.mark.parametrize(
    "module", [nn.ReLU(), nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 2, 3)), nn.Sequential(nn.Conv1d(1, 2, 1))]
)
def test_without_such_a_layer_there_is_an_error(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=rf"{type(module).__name__} has no last linear layer or 1x1 convolution"):
        last_layer(module)


def test_layers_have_the_names_that_torch_gives_them() -> None:
    for name, layer in NETWORK.named_modules():
        assert named_layer(NETWORK, name) is layer


@pytest.mark.parametrize("name", ["head", "2", "1.0.weight", "1.", "forward"])
def test_unknown_names_are_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"the module has no layer '{name}'\. It has 0, 1, 1\.0, 1\.1\."):
        named_layer(NETWORK, name)
    with pytest.raises(ConfigError, match=r"It has no layers\."):
        named_layer(nn.ReLU(), name)


def test_many_names_are_listed_in_part() -> None:
    with pytest.raises(ConfigError, match=r"It has 0, 1, .*, 10, 11 and 8 more\."):
        named_layer(nn.Sequential(*[nn.ReLU() for _ in range(20)]), "x")


def test_a_parameter_is_no_layer() -> None:
    module = nn.Module()
    module.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(ConfigError, match=r"the module has no layer 'scale'"):
        named_layer(module, "scale")
