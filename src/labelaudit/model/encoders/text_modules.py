"""Text encoders of the package sentence-transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.encoders.optional_packages import require_package

# Copies of the weights for other libraries.
_OTHER_FORMATS = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.tflite", "coreml/*")


@runtime_checkable
class _Configured(Protocol):
    """A layer of sentence-transformers, which knows its settings."""

    def get_config_dict(self) -> dict[str, object]: ...


class _Tokenizer(Protocol):
    def get_vocab(self) -> dict[str, int]: ...


class _Model(Protocol):
    """What is used of `sentence_transformers.SentenceTransformer`, which is a module."""

    max_seq_length: int
    tokenizer: _Tokenizer

    def __call__(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]: ...
    def tokenize(self, texts: list[str]) -> dict[str, torch.Tensor]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def children(self) -> Iterator[nn.Module]: ...


class SentenceEncoder(nn.Module):
    """A model of sentence-transformers as a module from a list of texts to features."""

    model: _Model

    def __init__(self, model: _Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, texts: list[str]) -> torch.Tensor:
        prepare = getattr(self.model, "preprocess", None) or self.model.tokenize
        device = next(self.model.parameters()).device
        inputs = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in prepare(texts).items()
        }
        features: torch.Tensor = self.model(inputs)["sentence_embedding"]
        return features

    def description(self) -> str:
        """Describe how a text becomes features, apart from the weights."""
        layers = {
            type(layer).__name__: layer.get_config_dict() if isinstance(layer, _Configured) else {}
            for layer in list(self.model.children())[1:]  # the first one is the network, which the weights identify
        }
        settings = json.dumps(layers, sort_keys=True, default=str)
        return f"truncated to {self.model.max_seq_length} tokens; {settings}"

    def vocabulary(self) -> str:
        """Return the vocabulary as text; the features depend on it as on the weights."""
        return repr(sorted(self.model.tokenizer.get_vocab().items()))


def read_sentence_transformer(name: str, folder: Path | None, kwargs: Kwargs) -> SentenceEncoder:
    """Return a model from a local folder, or from the Hugging Face Hub.

    Args:
        name: The part of `model.encoder` after "sentence-transformers:".
        folder: A local folder; None to download the model, if it is not in the local cache of the hub.
        kwargs: Arguments of `SentenceTransformer`.

    Raises:
        ConfigError: The package is missing, or the folder does not contain such a model.
        StorageError: The model cannot be downloaded.
    """
    encoder = f"sentence-transformers:{name}"
    package = require_package("sentence_transformers", encoder)
    if kwargs.get("trust_remote_code"):
        raise ConfigError(
            f"The encoder {encoder!r} has trust_remote_code in model.encoder_kwargs, but downloaded code is never "
            "executed. Install the code as a package, and name its function as my_package.encoders:build."
        )
    place = folder or _downloaded(encoder, name)
    try:
        model = package.SentenceTransformer(str(place), device="cpu", local_files_only=True, **kwargs)
    except Exception as error:  # many types, of three libraries
        raise ConfigError(
            f"The folder {str(place)!r} of encoder {encoder!r} cannot be loaded ({_first_line(error)}). Use a folder "
            "that SentenceTransformer.save wrote, with weights as safetensors, and check model.encoder_kwargs."
        ) from error
    return SentenceEncoder(model)


def _downloaded(encoder: str, name: str) -> Path:
    hub = require_package("huggingface_hub", encoder)
    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        return Path(hub.snapshot_download(repository, ignore_patterns=list(_OTHER_FORMATS)))
    except Exception as error:  # of several libraries: no network, no such name, no permission
        raise StorageError(not_downloaded(encoder, f"{repository!r} of the Hugging Face Hub", error)) from error


def not_downloaded(encoder: str, what: str, error: Exception) -> str:
    """Return the message for a model that is not in the local cache and cannot be downloaded."""
    return (
        f"The weights of encoder {encoder!r} cannot be downloaded: {what} ({_first_line(error)}). Check the name and "
        "the network, or download the weights elsewhere and set model.encoder_kwargs: {weights: <path or URL>}."
    )


def _first_line(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    return text[:200] or type(error).__name__
