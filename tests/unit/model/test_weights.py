"""Files of tensors: read as such, and never as code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.weights import load_weights, read_weights

REMEDY = r"Use a state dict, saved with safetensors\.torch\.save_file or torch\.save\(module\.state_dict\(\), path\)"


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code from a weights file",))


def network(outputs: int = 2, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))


def saved(module: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(module.state_dict(), str(path))
    else:
        torch.save(module.state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth", "weights"])
def test_a_state_dict_is_restored(name: str, tmp_path: Path) -> None:
    trained, fresh = network(seed=1), network()
    path = saved(trained, tmp_path / name)
    assert read_weights(path).keys() == trained.state_dict().keys()
    load_weights(fresh, path)
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])


def test_a_layer_of_any_size_can_be_skipped(tmp_path: Path) -> None:
    path, fresh = saved(network(outputs=9, seed=1), tmp_path / "weights.pt"), network()
    head = fresh[2].weight.detach().clone()
    load_weights(fresh, path, skip_layer="2")
    assert torch.equal(fresh[0].weight, network(seed=1)[0].weight)
    assert torch.equal(fresh[2].weight, head)
    with pytest.raises(ConfigError, match=r"belongs to another network"):
        load_weights(network(), path, skip_layer="0")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (network(outputs=9), r"belongs to another network \(size mismatch for 2\.bias: .*\)"),
        (
            network()[:2],
            r"belongs to another network: 2 entries are missing and 0 are unknown\. Use weights that were saved from",
        ),
        (
            nn.Sequential(*network(), nn.Linear(2, 2)),
            r"belongs to another network: 0 entries are missing and 2 are unknown",
        ),
    ],
)
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_weights_of_another_module_are_refused(module: nn.Module, message: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_weights(network(), saved(module, tmp_path / name))


@pytest.mark.parametrize(
    "content", [network(), torch.zeros(3), {"0.weight": np.zeros(3)}, [torch.zeros(3)], {"0.weight": 3}, Harmful()]
)
def test_other_contents_than_a_dict_of_tensors_are_refused(
    content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=rf"weights\.pt' cannot be loaded \(.*\)\. {REMEDY}"):
        read_weights(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_files_that_are_broken_missing_or_pickled_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    for content in (None, b"", b"no weights", pickle.dumps(Harmful())):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"{name}' cannot be loaded \(.*\)\. {REMEDY}"):
            read_weights(path)
    assert capsys.readouterr().out == ""
