"""Builds the module that an encoder's name stands for, with its weights, and describes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.device import seeded
from labelaudit.model.encoders.bert import read_minilm
from labelaudit.model.encoders.encoder_names import OPEN_CLIP, SENTENCE_TRANSFORMERS, TIMM, TORCHVISION
from labelaudit.model.encoders.image_modules import (
    ImageModule,
    read_lite0,
    read_open_clip,
    read_timm,
    read_torchvision,
)
from labelaudit.model.encoders.packaged_encoders import LITE0, MINILM, PACKAGED, check_packaged_kwargs
from labelaudit.model.encoders.text_modules import read_sentence_transformer
from labelaudit.model.encoders.weights_digest import state_sha256
from labelaudit.model.networks import UnitPixels
from labelaudit.model.user_modules import code_sha256, import_callable
from labelaudit.model.weights import load_weights

_LIBRARIES: dict[str, Callable[[str, Path | None, Kwargs], ImageModule]] = {
    TORCHVISION: read_torchvision,
    TIMM: read_timm,
    OPEN_CLIP: read_open_clip,
}
# For user code that does not say which size it expects.
_USUAL_SIZE = 224


@dataclass(frozen=True)
class EncoderModule:
    """A frozen module with its weights.

    Attributes:
        module: From uint8 images (B, 3, S, S), or from a list of texts, to features (B, d).
        own_size: S of the images that it was made for; 0 for texts.
        description: What happens to the input, in words.
        weights_sha256: Digest of the weights, and of the code if it is the user's.
    """

    module: nn.Module
    own_size: int
    description: str
    weights_sha256: str


def build_encoder(name: str, kind: str, kwargs: Kwargs, weights: Path | None, size: int | None) -> EncoderModule:
    """Return an encoder with its weights, in eval mode on the CPU.

    Args:
        name: The encoder without `auto`, as in `EncoderSpec.name`.
        kind: "image" or "text".
        kwargs: Its arguments, without `input_size`, and without `weights` if that is a file.
        weights: A local file or folder with its weights; None for those of its package or library.
        size: Side of the images that it will get; None for its own size.

    Raises:
        ConfigError: A name, an argument or a file is wrong, or a package is missing.
        StorageError: Weights cannot be downloaded.
    """
    prefix, _, rest = name.partition(":")
    with seeded(0, torch.device("cpu")):  # parts without published weights are the same on all machines
        if prefix in PACKAGED:
            built = _packaged(name, kwargs, weights, size)
        elif prefix in _LIBRARIES:
            built = _of_image(_LIBRARIES[prefix](rest, weights, kwargs))
        elif prefix == SENTENCE_TRANSFORMERS:
            model = read_sentence_transformer(rest, weights, kwargs)
            digest = state_sha256(model.state_dict(), model.vocabulary())
            built = EncoderModule(model, 0, model.description(), digest)
        else:
            built = _of_user(name, kind, kwargs, weights)
    built.module.eval().requires_grad_(False)
    return built


def _packaged(name: str, kwargs: Kwargs, weights: Path | None, size: int | None) -> EncoderModule:
    packaged = PACKAGED[name]
    check_packaged_kwargs(name, kwargs)
    if name == MINILM:
        return EncoderModule(read_minilm(packaged.weights_file()), 0, "", packaged.weights_sha256())
    assert name == LITE0
    image = read_lite0(weights or packaged.weights_file(), size=size)
    if weights is not None:
        return _of_image(image)
    return EncoderModule(image.module, image.own_size, image.scaling, packaged.weights_sha256())


def _of_image(image: ImageModule) -> EncoderModule:
    return EncoderModule(image.module, image.own_size, image.scaling, state_sha256(image.module.state_dict()))


def _of_user(name: str, kind: str, kwargs: Kwargs, weights: Path | None) -> EncoderModule:
    factory = import_callable(name, subject="Encoder", example="my_package.encoders:build")
    try:
        module = factory(**kwargs)
    except TypeError as error:
        raise ConfigError(
            f"Encoder {name!r} cannot be called with model.encoder_kwargs {dict(kwargs)}: {error}. Change "
            "model.encoder_kwargs, or the parameters of the function."
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"Encoder {name!r} returned a {type(module).__name__}, not a torch.nn.Module. Change what it returns."
        )
    if weights is not None:
        load_weights(module, weights)
    digest = state_sha256(module.state_dict(), code_sha256(name) or "")
    if kind == "text":
        return EncoderModule(module, 0, f"as {name} does", digest)
    size = getattr(module, "input_size", _USUAL_SIZE)
    own = size if isinstance(size, int) else _USUAL_SIZE
    return EncoderModule(nn.Sequential(UnitPixels(), module), own, "pixel / 255", digest)


def example_inputs(kind: str, size: int, rows: int = 2) -> torch.Tensor | list[str]:
    """Return inputs to try an encoder with: grey images (rows, 3, S, S) uint8, or short texts."""
    if kind == "text":
        return ["A short text.", "Another one, which is a little longer."][:rows]
    noise = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, size, size, 3), dtype=torch.uint8, generator=noise).permute(0, 3, 1, 2)


def try_encoder(module: nn.Module, name: str, inputs: torch.Tensor | list[str]) -> torch.Tensor:
    """Return the features of a few inputs.

    Raises:
        ConfigError: The encoder fails, or its output is not a matrix with one row per input.
    """
    try:
        with torch.inference_mode():
            features = module(inputs)
    except Exception as error:  # from a library or from user code
        shape = f"a batch of shape {tuple(inputs.shape)}" if isinstance(inputs, torch.Tensor) else "a list of texts"
        reason = re.sub(r"\s+", " ", str(error)).strip()[:200] or type(error).__name__
        raise ConfigError(
            f"Encoder {name!r} fails on {shape}: {reason}. Set model.encoder_kwargs: {{input_size: <pixels>}} to a "
            "size that it accepts, or correct its code."
        ) from error
    return checked_features(features, name, len(inputs))


def checked_features(features: object, name: str, rows: int) -> torch.Tensor:
    """Return what a module returned, if it is a matrix of numbers with one row per input.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(features, torch.Tensor) and features.ndim == 2 and len(features) == rows and features.shape[1]:
        return features
    if isinstance(features, torch.Tensor):
        found = f"a tensor of shape {tuple(features.shape)}"
    else:
        found = f"a {type(features).__name__}"
    raise ConfigError(
        f"Encoder {name!r} returned {found} for {rows} inputs. Its module must return a tensor of shape (inputs, "
        "features)."
    )
