"""The size of the images that an encoder gets. Imports no torch."""

from __future__ import annotations

from labelaudit.errors import ConfigError

# Enlarging adds cost and no information, but networks that were trained on photographs need a minimum of positions.
MAX_ENLARGEMENT = 5
# Most networks halve the size five times.
STEP = 32
# Part of the key of features. Raise it if `labelaudit.data.images` decodes or fits images differently.
_DECODING = 1


def chosen_size(own: int, image_size: tuple[int, int], wanted: int | None) -> int:
    """Return the side of the square images that an encoder gets, in pixels.

    This is the encoder's own size. Small images are enlarged at most five times, to a multiple of 32 pixels.

    Args:
        own: The size that the encoder was trained on.
        image_size: (height, width) of the images of the dataset; 0 if unknown.
        wanted: `input_size` of the config, which decides alone; None if it is not set.
    """
    if wanted is not None:
        return wanted
    longer = max(image_size)
    if longer < 1:
        return own
    return min(own, max(STEP, longer * MAX_ENLARGEMENT // STEP * STEP))


def configured_size(encoder: str, kind: str | None, wanted: object) -> int | None:
    """Return the `input_size` of a config.

    Args:
        encoder: The name of the encoder, for messages.
        kind: The kind of data that it encodes; None if that is unknown.
        wanted: `model.encoder_kwargs.input_size`; None if it is not set.

    Raises:
        ConfigError: It is not a positive whole number, or the encoder is for texts.
    """
    if wanted is None:
        return None
    if kind == "text":
        raise ConfigError(
            f"model.encoder_kwargs.input_size is {wanted!r}, but {encoder!r} encodes texts, and only images have a "
            "size. Remove input_size."
        )
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise ConfigError(
            f"model.encoder_kwargs.input_size is {wanted!r}. Use the side of square images in pixels, such as 224."
        )
    return wanted


def image_preprocessing(size: int, scaling: str) -> str:
    """Describe what happens to an image before the encoder gets it."""
    return f"decoding {_DECODING}; RGB {size}x{size}; {scaling}"
