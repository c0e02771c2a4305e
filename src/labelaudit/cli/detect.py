"""`labelaudit detect`: audit out-of-fold probabilities from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelaudit.audit import audit_probabilities
from labelaudit.cli.options import given
from labelaudit.cli.outcome import show_audit
from labelaudit.config import build_config
from labelaudit.errors import ConfigError, DatasetError, IntegrityError
from labelaudit.pipeline.external_probabilities import ExternalProbabilities

# The sections of a config that --set can change here.
SECTIONS = ("detection", "gate", "report", "storage")
_ANNOTATION_COLUMNS = "dataset.annotation_columns."


@dataclass(frozen=True)
class DetectOptions:
    """The options of `labelaudit detect`; `label`, `id` and `pred_probs` name a column or a `.npy` file."""

    label: str | None
    id: str | None
    pred_probs: str | None
    annotations: str | None
    classes: str | None  # names separated by commas
    name: str | None
    version: str | None
    output: str | None
    filter: str
    slices: tuple[str, ...]
    set: tuple[str, ...]


def detect_command(file: str, options: DetectOptions, as_json: bool) -> None:
    """Check the probabilities, find label issues in them, and publish the audit."""
    probabilities = ExternalProbabilities(
        url=file,
        label=options.label,
        id=options.id,
        pred_probs=options.pred_probs,
        slices=options.slices,
        class_names=tuple(options.classes.split(",")) if options.classes else None,
    )
    settings = {
        "dataset": given(
            url=file,
            name=options.name,
            version=options.version,
            annotations=options.annotations,
            slices=options.slices or None,
        ),
        "detection": {"filter": options.filter},
        "output": given(url=options.output),
    }
    _check_sections(options.set)
    config = build_config(settings, overrides=options.set, source="the command line")
    try:
        audit = audit_probabilities(config, probabilities)
    except IntegrityError as error:
        # Here the probabilities are input, and bad input has its own exit code.
        raise DatasetError(str(error)) from error
    show_audit(audit, config.storage.options, as_json)


def _check_sections(overrides: Sequence[str]) -> None:
    """Raise `ConfigError` for a key that would have no effect."""
    for override in overrides:
        is_read = override.partition(".")[0].strip() in SECTIONS or override.strip().startswith(_ANNOTATION_COLUMNS)
        if not is_read:
            raise ConfigError(
                f"--set {override!r} has no effect: detect reads only the config sections {', '.join(SECTIONS)}. "
                "Remove it, or use `labelaudit run`."
            )
