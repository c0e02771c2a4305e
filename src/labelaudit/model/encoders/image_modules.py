"""Image encoders of torchvision, timm, open_clip and the packaged EfficientNet-Lite0, without their class scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import nn

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.encoders.optional_packages import require_package
from labelaudit.model.encoders.packaged_encoders import LITE0, LITE0_SCALING
from labelaudit.model.encoders.text_modules import not_downloaded
from labelaudit.model.layers import last_layer
from labelaudit.model.networks import Pixels
from labelaudit.model.weights import load_weights
from labelaudit.text import unknown_name

_T = TypeVar("_T")

# The published weights of these expect another scaling, which this argument adds.
_RESCALING = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class ImageModule:
    """A module from uint8 images (B, 3, S, S) to features (B, d), and the images that it expects.

    Attributes:
        own_size: S of the images that it was trained on.
        scaling: What it does with pixels, in words.
    """

    module: nn.Module
    own_size: int
    scaling: str


class _MapNetwork(Protocol):
    """What is used of `efficientnet_lite_pytorch.EfficientNet`."""

    def extract_features(self, images: torch.Tensor) -> torch.Tensor: ...


class _Lite0(nn.Module):
    network: _MapNetwork

    def __init__(self, network: _MapNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.extract_features(images).mean((2, 3))


def read_lite0(weights: Path, *, size: int | None) -> ImageModule:
    """Return EfficientNet-Lite0, whose features are the means over all positions.

    Args:
        weights: A file with its weights.
        size: Side of the images; None for its own size.
    """
    package = require_package("efficientnet_lite_pytorch", LITE0)
    # Paddings depend on the size.
    network = package.EfficientNet.from_name(LITE0, image_size=size or 224)
    load_weights(network, weights, skip_layer="_fc")
    network._fc = nn.Identity()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, _with_padding_inside(layer))
    scaled = Pixels((127 / 255,) * 3, (128 / 255,) * 3)
    return ImageModule(nn.Sequential(scaled, _Lite0(network)), 224, LITE0_SCALING)


def _with_padding_inside(layer: nn.Conv2d) -> nn.Module:
    """Return a convolution without a separate step of padding, if the padding is the same on all sides."""
    left, right, top, bottom = getattr(layer.static_padding, "padding", (0,) * 4)
    is_even = left == right == top == bottom
    with torch.device("meta"):
        convolution = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size[0],  # the kernels of this network are square
            layer.stride[0],
            left if is_even else 0,
            groups=layer.groups,
            bias=layer.bias is not None,
        )
    convolution.load_state_dict(layer.state_dict(), assign=True)
    return convolution if is_even else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), convolution)


def read_torchvision(name: str, weights: Path | None, kwargs: Kwargs) -> ImageModule:
    """Return a classification network of torchvision without its last layer.

    Args:
        name: Name in torchvision.models.
        weights: A local file; None for published weights, which are downloaded if they are not in torch's cache.
        kwargs: Arguments of the network. `weights` is the name of published weights, by default the newest.

    Raises:
        ConfigError: A name or argument is unknown, or the file belongs to another network.
        StorageError: The weights cannot be downloaded.
    """
    models = require_package("torchvision", f"torchvision:{name}").models
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(unknown_name(f"The encoder 'torchvision:{name}'", name, known))
    published = models.get_model_weights(name)
    wanted = kwargs.get("weights")
    if wanted is not None and wanted not in published.__members__:
        names = list(published.__members__)
        raise ConfigError(unknown_name(f"The weights name {wanted!r} of torchvision:{name}", str(wanted), names))
    chosen = published.DEFAULT if wanted is None else published[wanted]
    options = {key: value for key, value in kwargs.items() if key != "weights"}
    if weights is None:
        what = f"{chosen} from {chosen.url}"
        module = _built(f"torchvision:{name}", what, lambda: models.get_model(name, weights=chosen, **options))
    else:
        rescaling = {"transform_input": True, "init_weights": False} if name in _RESCALING else {}
        module = _built(
            f"torchvision:{name}", None, lambda: models.get_model(name, weights=None, **{**rescaling, **options})
        )
    head = last_layer(module)[0]
    if weights is not None:
        load_weights(module, weights, skip_layer=head)
    parent, _, child = head.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    transforms = chosen.transforms()
    return _standardised(module, int(transforms.crop_size[0]), transforms.mean, transforms.std)


def read_timm(name: str, weights: Path | None, kwargs: Kwargs) -> ImageModule:
    """Return a network of timm without its last layer; arguments as for `read_torchvision`."""
    encoder = f"timm:{name}"
    timm = require_package("timm", encoder)
    if not name.startswith("hf") and not timm.is_model(name):
        raise ConfigError(unknown_name(f"The encoder {encoder!r}", name, timm.list_models()))
    what = None if weights else f"{name!r} of the Hugging Face Hub"
    module = _built(encoder, what, lambda: timm.create_model(name, pretrained=weights is None, **kwargs))
    config = timm.data.resolve_model_data_config(module)
    if weights is not None:
        head = module.get_classifier()
        names = [known for known, layer in module.named_modules() if layer is head and known]
        load_weights(module, weights, skip_layer=next(iter(names), None))
    module.reset_classifier(0)
    return _standardised(module, int(config["input_size"][-1]), config["mean"], config["std"])


def read_open_clip(name: str, weights: Path | None, kwargs: Kwargs) -> ImageModule:
    """Return the image encoder of a network of open_clip.

    Args:
        name: Name of the architecture.
        weights: A local file with the weights of the whole network; None for published ones.
        kwargs: Arguments of `open_clip.create_model`. `pretrained` is the tag of published weights.

    Raises:
        ConfigError: The name, the tag or an argument is unknown, or the file belongs to another network.
        StorageError: The weights cannot be downloaded.
    """
    encoder = f"open_clip:{name}"
    package = require_package("open_clip", encoder)
    if name not in package.list_models():
        raise ConfigError(unknown_name(f"The encoder {encoder!r}", name, package.list_models()))
    tag = kwargs.get("pretrained")
    tags = package.list_pretrained_tags_by_model(name)
    if weights is None and tag not in tags:
        subject = f"The tag {tag!r} in encoder_kwargs.pretrained of encoder {encoder!r}"
        raise ConfigError(unknown_name(subject, str(tag), tags))
    options = {key: value for key, value in kwargs.items() if key != "pretrained"}
    what = None if weights else f"{name} {tag}"
    source = None if weights else tag
    network = _built(encoder, what, lambda: package.create_model(name, pretrained=source, **options))
    if weights is not None:
        load_weights(network, weights)
    visual = network.visual
    size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    return _standardised(visual, size, visual.image_mean, visual.image_std)


def _standardised(module: nn.Module, size: int, mean: Sequence[float], std: Sequence[float]) -> ImageModule:
    means, stds = (", ".join(f"{value:.4g}" for value in values) for values in (mean, std))
    scaling = f"(pixel / 255 - ({means})) / ({stds})"
    return ImageModule(nn.Sequential(Pixels(tuple(mean), tuple(std)), module), size, scaling)


def _built(encoder: str, download: str | None, build: Callable[[], _T]) -> _T:
    """Call a function of a library that builds a network, and that downloads its weights if `download` says which."""
    try:
        return build()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The encoder {encoder!r} does not accept model.encoder_kwargs: {error}. Change model.encoder_kwargs."
        ) from error
    except Exception as error:  # of several libraries: no network, no such file, a damaged download
        if download is None:
            raise
        raise StorageError(not_downloaded(encoder, download, error)) from error
