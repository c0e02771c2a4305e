"""`labelaudit detect`: audit probabilities that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from labelaudit.audit import audit_probabilities
from labelaudit.cli.options import given
from labelaudit.cli.outcome import show_audit
from labelaudit.config import build_config
from labelaudit.errors import ConfigError, DatasetError, IntegrityError
from labelaudit.pipeline.external_probabilities import ExternalProbabilities

# Of a config, what can be set besides the options.
SECTIONS = ("gate", "report", "storage")


def detect_command(file: str, options: Mapping[str, Any], as_json: bool) -> None:
    """Check the probabilities, find label issues in them, and publish the audit."""
    probabilities = ExternalProbabilities(
        url=file,
        label=options["label"] or "label",
        id=options["id_column"],
        pred_probs=options["pred_probs"],
        class_names=tuple(options["classes"].split(",")) if options["classes"] else None,
    )
    settings = {
        "dataset": given(url=file, name=options["name"], version=options["dataset_version"]),
        "detection": {"filter": options["filter_by"]},
        "output": given(url=options["output"]),
    }
    config = build_config(settings, overrides=_applicable(options["overrides"]), source="the command line")
    try:
        audit = audit_probabilities(config, probabilities)
    except IntegrityError as error:
        # Here the probabilities are the input, not our own work: bad input has its own exit code.
        raise DatasetError(str(error)) from error
    show_audit(audit, config.storage.options, as_json)


def _applicable(overrides: Iterable[str]) -> list[str]:
    """Raises `ConfigError` for a key that would change nothing here."""
    for override in overrides:
        if override.partition(".")[0].strip() not in SECTIONS:
            raise ConfigError(f"--set {override!r}: detect reads {', '.join(SECTIONS)}; nothing is trained here.")
    return list(overrides)
