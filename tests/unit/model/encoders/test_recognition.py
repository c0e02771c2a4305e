"""The architecture of a file of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from labelaudit.errors import ConfigError
from labelaudit.model.encoders import recognition
from labelaudit.model.encoders.recognition import recognise_architecture


def saved(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None, num_classes=3)
    return module.state_dict()


def test_with_and_without_the_last_layer(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    assert recognise_architecture(saved(state, tmp_path / "a.pt")) == "torchvision:shufflenet_v2_x0_5"


def test_without_the_last_layer_all_networks_are_compared(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = recognition._networks()
    few = {name: every[f"torchvision:{name}"] for name in ("resnet18", "shufflenet_v2_x0_5", "regnet_x_400mf")}
    monkeypatch.setattr(recognition, "_networks", lambda: {f"torchvision:{name}": few[name] for name in few})
    monkeypatch.setattr(recognition, "_of_same_size", lambda state: [])
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert recognise_architecture(saved(headless, tmp_path / "a.pt")) == "torchvision:shufflenet_v2_x0_5"


def test_two_networks_that_fit_are_both_named(
    state: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = recognition._networks()["torchvision:shufflenet_v2_x0_5"]
    monkeypatch.setattr(recognition, "_networks", lambda: {"one": build, "other": build})
    monkeypatch.setattr(recognition, "_of_same_size", lambda state: [])
    with pytest.raises(ConfigError, match=r"fits one, other\. Name the architecture: model\.encoder: torchvision:<mod"):
        recognise_architecture(saved(state, tmp_path / "a.pt"))


def test_building_needs_no_memory() -> None:
    """Some networks have gigabytes of weights."""
    networks = recognition._networks()
    with recognition._WeightsWithoutMemory():
        module = networks["torchvision:regnet_y_128gf"]()
    assert all(parameter.is_meta for parameter in module.parameters())
