"""Describes an encoder by building it once: its name, the digest of its weights, its input and its features."""

from __future__ import annotations

from pathlib import Path

from labelaudit.codec import JsonObject
from labelaudit.errors import ConfigError
from labelaudit.model.encoders.encoder_modules import EncoderModule, build_encoder, example_inputs, try_encoder
from labelaudit.model.encoders.encoder_names import SENTENCE_TRANSFORMERS
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.input_size import chosen_size, image_preprocessing
from labelaudit.model.encoders.recognition import recognise_architecture


def describe_encoder(
    setting: str,
    *,
    kind: str,
    image_size: tuple[int, int],
    kwargs: JsonObject,
    input_size: int | None,
    weights: Path | None,
    source: str | None,
) -> EncoderSpec:
    """Return the spec of an encoder that is not packaged, or that gets other weights.

    Args:
        setting: The name of an encoder, or the path or URL of weights.
        kind: "image" or "text".
        image_size: (height, width) of the images of the dataset, (0, 0) if unknown.
        kwargs: Arguments of the module.
        input_size: Size of the images that the config demands; None if the encoder's own size decides.
        weights: Local file or folder with its weights, if the config names one.
        source: Path or URL of these weights, as the config contains it.

    Raises:
        ConfigError: An argument, a file or the result of the module is wrong.
        StorageError: Weights cannot be downloaded.
    """
    name = _architecture(setting, weights, source)
    built = build_encoder(name, kind, kwargs, weights, input_size)
    if kind == "text":
        dim = try_encoder(built.module, name, example_inputs(kind, 0)).shape[1]
        size, preprocessing = 0, built.description
    else:
        size, dim = _size_and_dim(built, name, image_size, input_size)
        preprocessing = image_preprocessing(size, built.description)
    return EncoderSpec(
        name=name,
        kind=kind,
        weights=source,
        kwargs=kwargs,
        weights_sha256=built.weights_sha256,
        input_size=size,
        dim=dim,
        preprocessing=preprocessing,
    )


def _architecture(setting: str, weights: Path | None, source: str | None) -> str:
    """Return the name of an encoder, the same for the same weights in another place."""
    if weights is not None and weights.is_dir():
        # Not the name of a copy in the cache.
        return f"{SENTENCE_TRANSFORMERS}:{(source or str(weights)).rstrip('/').rpartition('/')[2]}"
    if weights is not None and setting == source:
        return recognise_architecture(weights)
    return setting


def _size_and_dim(
    built: EncoderModule, name: str, image_size: tuple[int, int], input_size: int | None
) -> tuple[int, int]:
    """Return the size of the images that an encoder gets, and the number of its features."""
    size = chosen_size(built.own_size, image_size, input_size)
    try:
        return size, try_encoder(built.module, name, example_inputs("image", size)).shape[1]
    except ConfigError:
        if input_size is not None or size == built.own_size:
            raise
        # Transformers accept only the size that they were trained on.
        own = built.own_size
        return own, try_encoder(built.module, name, example_inputs("image", own)).shape[1]
