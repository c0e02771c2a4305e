"""Which views an audit trains, and the encoder of those that need features."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from labelaudit.config import AuditConfig
from labelaudit.data.columns import Columns
from labelaudit.errors import ConfigError
from labelaudit.model.encoders.choose import check_encoder_setting, choose_encoder, missing_encoder_note
from labelaudit.model.encoders.encoder_names import AUTO, NONE, weights_to_fetch
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.pipeline.encoder_weights import local_weights
from labelaudit.schemas import VIEWS, ViewName

ON_FEATURES: tuple[ViewName, ...] = ("probe", "neighbours")
# Kinds of data for which there are encoders.
_ENCODED_KINDS = ("image", "text")


@dataclass(frozen=True)
class ViewChoice:
    """The views of an audit without any `auto`.

    Attributes:
        names: in the order of `schemas.VIEWS`.
        encoder: what gives them features; None if they need none, or if the inputs are vectors.
        notes: sentences for people.
    """

    names: tuple[ViewName, ...]
    encoder: EncoderSpec | None
    notes: tuple[str, ...] = ()


def check_view_settings(config: AuditConfig) -> None:
    """Check what can be known of views and encoder before the dataset is read.

    Raises:
        ConfigError: the encoder is unknown, something that it needs is missing, or no view uses it.
    """
    model = config.model
    if model.views != "auto" and not set(model.views) & set(ON_FEATURES):
        _check_unused(config)
        _check_kwargs_are_used(config, "model.views names only the network, which uses no encoder")
    if model.encoder == NONE:
        _check_kwargs_are_used(config, "model.encoder is none")
    check_encoder_setting(model.encoder, model.encoder_kwargs)


def choose_views(config: AuditConfig, columns: Columns) -> ViewChoice:
    """Return the views of an audit.

    `auto` means the network, and probe and neighbours too if there is an encoder. Vectors are features already.

    Args:
        config: one that `check_view_settings` accepts.
        columns: of the dataset.

    Raises:
        ConfigError: the views that the config names need an encoder, and there is none; or the encoder does not fit the
            kind of data, or cannot be used.
    """
    wanted = config.model.views
    names = VIEWS if wanted == "auto" else tuple(name for name in VIEWS if name in wanted)
    on_features = tuple(name for name in names if name in ON_FEATURES)
    if columns.kind == "vector":
        if config.model.encoder not in (AUTO, NONE):
            raise ConfigError(
                f"model.encoder is {config.model.encoder}, but the inputs are vectors, which need no encoder. "
                "Remove model.encoder, or name other inputs with dataset.input."
            )
        _check_kwargs_are_used(config, "the inputs are vectors, which need no encoder")
        return ViewChoice(ON_FEATURES if wanted == "auto" else names, None)
    if not on_features:
        return ViewChoice(names, None)
    encoder = _encoder(config, columns)
    if encoder is not None:
        return ViewChoice(names, encoder)
    missing = missing_encoder_note(columns.kind) if config.model.encoder == AUTO else None
    _check_kwargs_are_used(config, f"model.encoder is {config.model.encoder}, and there is no encoder")
    if wanted != "auto":
        reason = missing or _why_none(config, columns)
        raise ConfigError(f"model.views names {on_features[0]}, which needs features of an encoder. {reason}")
    return ViewChoice(("network",), None, (missing,) if missing else ())


def _check_unused(config: AuditConfig) -> None:
    if config.model.encoder not in (AUTO, NONE):
        raise ConfigError(
            f"model.encoder is {config.model.encoder}, but model.views names only the network, which uses no encoder. "
            "Add probe to model.views, or remove model.encoder."
        )


def _check_kwargs_are_used(config: AuditConfig, reason: str) -> None:
    if config.model.encoder_kwargs:
        raise ConfigError(f"model.encoder_kwargs has no effect, because {reason}. Remove it, or name an encoder.")


def _encoder(config: AuditConfig, columns: Columns) -> EncoderSpec | None:
    model = config.model
    if model.encoder == AUTO and columns.kind not in _ENCODED_KINDS:
        return None
    with configured_weights(config) as weights:
        return choose_encoder(
            model.encoder,
            kind=columns.kind,
            image_size=(columns.image_side, columns.image_side),
            kwargs=model.encoder_kwargs,
            weights=weights,
        )


def configured_weights(config: AuditConfig) -> AbstractContextManager[Path | None]:
    """Return the weights that the config names on this machine; None if it names none."""
    url = weights_to_fetch(config.model.encoder, config.model.encoder_kwargs)
    return nullcontext() if url is None else local_weights(url, config.storage.options, config.limits.cache)


def _why_none(config: AuditConfig, columns: Columns) -> str:
    if config.model.encoder == NONE:
        return "model.encoder is none. Choose an encoder, or remove the view."
    return f"There is no encoder for the kind {columns.kind}. Remove the view."
