"""What the settings `model.encoder` and `model.encoder_kwargs` mean. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from labelaudit.model.aliases import Kwargs
from labelaudit.model.encoders.packaged_encoders import PACKAGED

AUTO, NONE = "auto", "none"
TORCHVISION, TIMM, OPEN_CLIP = "torchvision", "timm", "open_clip"
SENTENCE_TRANSFORMERS = "sentence-transformers"
# Prefix of a setting -> package that it needs.
LIBRARIES = {
    TORCHVISION: "torchvision",
    TIMM: "timm",
    OPEN_CLIP: "open_clip",
    SENTENCE_TRANSFORMERS: "sentence_transformers",
}
_WEIGHTS = {".safetensors", ".pt", ".pth"}
# Files that make a folder one of sentence-transformers.
_MARKS = ("modules.json", "config.json")


def weights_to_fetch(setting: str, kwargs: Kwargs) -> str | None:
    """Return the path or URL of weights that must be on this machine before an encoder is chosen or loaded.

    Args:
        setting: `model.encoder`.
        kwargs: `model.encoder_kwargs`.

    Returns:
        A local path (of a file or folder) or a URL, as the config contains it; None if there is nothing to fetch.
    """
    weights = kwargs.get("weights")
    prefix, _, rest = setting.partition(":")
    if isinstance(weights, str) and (is_weights_path(weights) or prefix == SENTENCE_TRANSFORMERS):
        return weights
    if prefix == SENTENCE_TRANSFORMERS and (rest.startswith((".", "/", "~")) or is_model_folder(Path(rest))):
        return rest
    if is_weights_path(setting):
        return setting
    return None


def is_named(setting: str) -> bool:
    """Return whether a setting is `auto`, `none`, a packaged encoder, or one of a library. Files cannot hide them."""
    prefix, _, rest = setting.partition(":")
    return setting in (AUTO, NONE) or setting in PACKAGED or (prefix in LIBRARIES and bool(rest))


def is_weights_path(text: str) -> bool:
    """Return whether a text is the path or URL of weights: it has their suffix, or it contains a slash."""
    if is_named(text):
        return False
    return PurePosixPath(text).suffix in _WEIGHTS or "/" in text or is_model_folder(Path(text))


def is_model_folder(path: Path) -> bool:
    """Return whether a path is a local folder with a model of sentence-transformers."""
    return path.is_dir() and any((path / name).is_file() for name in _MARKS)


def is_user_code(setting: str) -> bool:
    """Return whether a text has the form `my_package.encoders:build`."""
    return re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", setting) is not None
