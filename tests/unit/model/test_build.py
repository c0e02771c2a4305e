"""From names in a config to modules: ours, torchvision's and the user's, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.build import build_network, replace_head
from labelaudit.model.networks import MLP, Ngrams, SmallResNet

IMAGE = (3, 16, 16)

OWN_NETWORKS = """
import torch
from torch import nn

NUMBER = 3

def build(num_classes, input_shape, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), num_classes))

class Brightness(nn.Module):
    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.num_classes = num_classes
    def forward(self, images):
        return images.mean((1, 2, 3))[:, None].expand(-1, self.num_classes)

def no_module(num_classes, input_shape):
    return "a network"
"""


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "own_networks.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_networks"
    sys.modules.pop("own_networks", None)


@pytest.mark.parametrize(
    ("name", "shape", "expected"), [("cnn", IMAGE, SmallResNet), ("mlp", (5,), MLP), ("ngrams", (9,), Ngrams)]
)
def test_own_names(name: str, shape: tuple[int, ...], expected: type[nn.Module]) -> None:
    assert isinstance(build_network(name, num_classes=4, input_shape=shape), expected)


def test_arguments_reach_the_network() -> None:
    network = build_network("mlp", num_classes=4, input_shape=(5,), network_kwargs={"hidden": [7]})
    assert [tuple(p.shape) for p in network.parameters()] == [(7, 5), (7,), (4, 7), (4,)]


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'mlp' cannot be called with .* model.kwargs \{'depth': 3\}: .*depth"):
        build_network("mlp", num_classes=4, input_shape=(5,), network_kwargs={"depth": 3})


def test_a_users_function(own_networks: str) -> None:
    network = build_network(f"{own_networks}:build", num_classes=4, input_shape=(5,), network_kwargs={"width": 9})
    assert network(torch.zeros(2, 5)).shape == (2, 4)


def test_a_users_network_gets_pixels_between_0_and_1(own_networks: str) -> None:
    network = build_network(f"{own_networks}:Brightness", num_classes=2, input_shape=IMAGE)
    white = torch.full((1, *IMAGE), 255, dtype=torch.uint8)
    torch.testing.assert_close(network(white), torch.ones(1, 2))
    torch.testing.assert_close(network(white // 5), torch.full((1, 2), 0.2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.nets:build", r"cannot be imported: No module named 'no_such_package'.*my_package.nets:build"),
        ("own_networks:missing", r"'own_networks:missing' cannot be imported: .*missing"),
        ("own_networks:NUMBER", r"'own_networks:NUMBER' is a int\. Name a function or a class"),
        ("own_networks:no_module", r"returned a str, not a torch.nn.Module"),
        (":build", r"':build' cannot be imported"),
        ("resnet", r"Network 'resnet' is unknown\..* Use one of cnn, mlp, ngrams, torchvision:resnet18"),
        ("ngram", r"Network 'ngram' is unknown\. Did you mean 'ngrams'\?"),
        ("torchvision:resnet5", r"'torchvision:resnet5' is unknown\. Did you mean 'resnet\d+'\? Use one of alexnet"),
    ],
)
def test_wrong_names_are_refused(own_networks: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(name, num_classes=4, input_shape=IMAGE)


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_gets_a_new_head_and_normalised_pixels(channels: int) -> None:
    network = build_network("torchvision:resnet18", num_classes=5, input_shape=(channels, 32, 32)).eval()
    pixels = torch.randint(0, 256, (2, channels, 32, 32), dtype=torch.uint8)
    assert network(pixels).shape == (2, 5)
    torch.testing.assert_close(network[0].mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert network[1].fc.out_features == 5


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_heads_of_other_families(name: str) -> None:
    network = build_network(f"torchvision:{name}", num_classes=5, input_shape=(3, 64, 64)).eval()
    assert network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 5)


def test_torchvision_accepts_its_own_arguments_and_names_others() -> None:
    build_network("torchvision:resnet18", num_classes=2, input_shape=IMAGE, network_kwargs={"zero_init_residual": True})
    with pytest.raises(ConfigError, match=r"torchvision:resnet18 does not accept model.kwargs \{'depth': 3\}"):
        build_network("torchvision:resnet18", num_classes=2, input_shape=IMAGE, network_kwargs={"depth": 3})


def test_unknown_weights_name_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"weights name 'IMAGENET1K_V3' of torchvision:resnet18 is unknown\. Did you mean"
    ):
        build_network(
            "torchvision:resnet18", num_classes=2, input_shape=IMAGE, network_kwargs={"weights": "IMAGENET1K_V3"}
        )


def test_weights_from_a_file_fill_all_but_the_head(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pt"
    torch.manual_seed(1)
    trained = build_network("torchvision:resnet18", num_classes=1000, input_shape=IMAGE)[1]
    torch.save(trained.state_dict(), path)
    torch.manual_seed(2)
    loaded = build_network(
        "torchvision:resnet18", num_classes=3, input_shape=IMAGE, network_kwargs={"weights": str(path)}
    )[1]
    assert torch.equal(loaded.conv1.weight, trained.conv1.weight)
    assert loaded.fc.out_features == 3


def test_weights_of_another_network_and_other_files_are_refused(tmp_path: Path) -> None:
    wrong, broken = tmp_path / "wrong.pt", tmp_path / "broken.pt"
    torch.save(nn.Linear(2, 2).state_dict(), wrong)
    broken.write_bytes(b"no weights")
    for path, message in (
        (wrong, r"wrong.pt' belongs to another network: \d+ entries are missing and 2 are unknown"),
        (broken, r"broken.pt' cannot be loaded \(.*torch.save\(module.state_dict\(\), path\)"),
        (tmp_path / "none.pt", r"none.pt' cannot be loaded \(.*No such file"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_network(
                "torchvision:resnet18", num_classes=2, input_shape=IMAGE, network_kwargs={"weights": str(path)}
            )


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code from a weights file",))


def test_weights_files_cannot_run_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "harmful.pt"
    torch.save({"conv1.weight": Harmful()}, path)
    with pytest.raises(ConfigError, match=r"harmful.pt' cannot be loaded"):
        build_network("torchvision:resnet18", num_classes=2, input_shape=IMAGE, network_kwargs={"weights": str(path)})
    assert capsys.readouterr().out == ""


def test_a_module_without_a_linear_layer_has_no_head() -> None:
    with pytest.raises(ConfigError, match=r"Sequential has no last linear layer or 1x1 convolution"):
        replace_head(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), 4)
    with pytest.raises(ConfigError, match=r"Sequential has no last linear layer"):
        replace_head(nn.Sequential(nn.ReLU()), 4)


def test_initial_weights_come_from_the_global_generator() -> None:
    weights = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        weights.append(build_network("mlp", num_classes=2, input_shape=(3,)).state_dict()["layers.1.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
