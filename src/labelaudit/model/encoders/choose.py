"""Replaces the setting `model.encoder` by the encoder that it stands for.

The packaged encoders are chosen without importing torch, because a command that finds a finished audit must be fast.
"""

from __future__ import annotations

from pathlib import Path

from labelaudit.codec import JsonObject
from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.encoders.encoder_names import (
    LIBRARIES,
    OPEN_CLIP,
    SENTENCE_TRANSFORMERS,
    TIMM,
    TORCHVISION,
    is_user_code,
    is_weights_path,
    weights_to_fetch,
)
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.packaged_encoders import MINILM, PACKAGED, available_encoder, packaged_spec
from labelaudit.text import unknown_name

AUTO, NONE = "auto", "none"
_KINDS = ("image", "text")
_NOTES = {
    "image": "No image encoder is installed, so the network learns from these images alone. Install one with "
    "pip install 'labelaudit[encoders]' to find more label errors.",
    "text": "No text encoder is installed, so the network learns from these texts alone. Install one with "
    "pip install 'labelaudit[encoders]' to find more label errors.",
}


def choose_encoder(
    setting: str, *, kind: str, image_size: tuple[int, int], kwargs: Kwargs, weights: Path | None
) -> EncoderSpec | None:
    """Return the encoder that a config stands for; None if there is none.

    Args:
        setting: `model.encoder`.
        kind: The kind of data: "image", "text", "table", ...
        image_size: (height, width) of the images of the dataset, (0, 0) if unknown; not used for texts.
        kwargs: `model.encoder_kwargs`.
        weights: Local copy of what `weights_to_fetch` returns.

    Raises:
        ConfigError: The encoder is unknown or for another kind of data; its weights or arguments do not fit; or a
            package is missing.
        StorageError: Weights that the config names cannot be downloaded.
    """
    name = available_encoder(kind) if setting == AUTO else setting
    if name is None or name == NONE:
        return None
    fetched = weights_to_fetch(name, kwargs)
    _check_name(name)
    _check_kind(name, kind, fetched, weights)
    local = _local(name, fetched, weights)
    if name in PACKAGED and local is None:
        return packaged_spec(name, image_size=image_size, kwargs=kwargs)
    from labelaudit.model.encoders.describe import describe_encoder  # imports torch

    return describe_encoder(
        name,
        kind=kind,
        image_size=image_size,
        kwargs=_plain_kwargs(kwargs, local),
        input_size=kwargs.get("input_size"),
        weights=local,
        source=fetched,
    )


def missing_encoder_note(kind: str) -> str | None:
    """Return a sentence for reports if `auto` finds no encoder for a kind of data that could use one; else None."""
    return _NOTES.get(kind) if available_encoder(kind) is None else None


def _check_name(name: str) -> None:
    prefix, _, rest = name.partition(":")
    is_of_library = prefix in LIBRARIES and bool(rest)
    if name in PACKAGED or is_of_library or is_weights_path(name) or (is_user_code(name) and prefix not in LIBRARIES):
        return
    examples = [*PACKAGED, AUTO, NONE, *(f"{library}:<model>" for library in LIBRARIES)]
    raise ConfigError(
        f"{unknown_name(f'model.encoder {name!r}', name, examples)} It may also be the path or URL of weights, or your "
        "own code, such as my_package.encoders:build."
    )


def _check_kind(name: str, kind: str, fetched: str | None, weights: Path | None) -> None:
    """Check that an encoder is for a kind of data."""
    if kind not in _KINDS:
        raise ConfigError(
            f"model.encoder is {name!r}, but the rows of kind {kind!r} need no encoder. Remove model.encoder, or set "
            "it to none."
        )
    prefix = name.partition(":")[0]
    if name in PACKAGED:
        made_for = PACKAGED[name].kind
    elif prefix in (TORCHVISION, TIMM, OPEN_CLIP):
        made_for = "image"
    elif prefix == SENTENCE_TRANSFORMERS:
        made_for = "text"
    elif fetched == name:
        made_for = "text" if (weights or Path(name)).is_dir() else "image"
    else:
        made_for = kind  # the user's code may be for either
    if made_for != kind:
        raise ConfigError(
            f"model.encoder {name!r} is for the kind {made_for!r}, but the rows are of kind {kind!r}. Choose an "
            f"encoder for this kind, or set model.encoder to auto."
        )


def _local(name: str, fetched: str | None, weights: Path | None) -> Path | None:
    """Return the path on this machine of weights that the config names; None if it names none."""
    if fetched is None:
        return None
    if name == MINILM:
        raise ConfigError(
            f"The encoder {MINILM!r} does not know model.encoder_kwargs weights. Set model.encoder to "
            "sentence-transformers:<folder> for a model of your own."
        )
    path = weights if weights is not None else Path(fetched).expanduser()
    if not path.exists():
        raise ConfigError(
            f"The weights {fetched!r} of model.encoder do not exist on this machine. Check the path; it may also be a "
            "URL that all workers can read."
        )
    return path


def _plain_kwargs(kwargs: Kwargs, local: Path | None) -> JsonObject:
    """Return the arguments of the module: all but the size of its images and the place of its weights."""
    left_out = {"input_size"} if local is None else {"input_size", "weights"}
    return {key: value for key, value in kwargs.items() if key not in left_out}
