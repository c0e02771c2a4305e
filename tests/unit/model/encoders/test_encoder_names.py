"""What must be fetched before an encoder is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelaudit.model.encoders.encoder_names import is_user_code, weights_to_fetch


@pytest.mark.parametrize(
    ("setting", "kwargs", "expected"),
    [
        ("auto", {}, None),
        ("minilm", {}, None),
        ("torchvision:resnet50", {}, None),
        ("torchvision:resnet50", {"weights": "IMAGENET1K_V1"}, None),
        ("torchvision:resnet50", {"weights": "s3://models/r.pt"}, "s3://models/r.pt"),
        ("timm:resnet50.a1_in1k", {"weights": "r.safetensors"}, "r.safetensors"),
        ("timm:hf_hub:someone/model", {}, None),
        ("efficientnet-lite0", {"weights": "mine.pth"}, "mine.pth"),
        ("s3://models/r.pt", {}, "s3://models/r.pt"),
        ("weights/r.safetensors", {}, "weights/r.safetensors"),
        ("models/text", {}, "models/text"),
        ("sentence-transformers:all-MiniLM-L6-v2", {}, None),
        ("sentence-transformers:someone/model", {}, None),
        ("sentence-transformers:./model", {}, "./model"),
        ("sentence-transformers:someone/model", {"weights": "model"}, "model"),
        ("my_package.encoders:build", {"weights": "a.pt"}, "a.pt"),
        ("my_package.encoders:build", {"weights": 3}, None),
    ],
)
def test_weights_to_fetch(setting: str, kwargs: dict[str, object], expected: str | None) -> None:
    assert weights_to_fetch(setting, kwargs) == expected


def test_folders_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights_to_fetch("model", {}) is None
    Path("model").mkdir()
    assert weights_to_fetch("model", {}) is None
    Path("model/modules.json").touch()
    assert weights_to_fetch("model", {}) == "model"
    assert weights_to_fetch("sentence-transformers:model", {}) == "model"


@pytest.mark.parametrize("setting", ["auto", "none", "minilm", "efficientnet-lite0", "torchvision:resnet18"])
def test_a_folder_with_the_name_of_an_encoder_is_not_taken_for_weights(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(setting).mkdir()
    Path(setting, "config.json").touch()
    assert weights_to_fetch(setting, {}) is None


def test_names_of_user_code() -> None:
    assert is_user_code("my_package.encoders:build")
    assert not any(map(is_user_code, ("a", "a:", ":b", "a b:c", "s3://a:b", "1a:b", "a:b:c")))
