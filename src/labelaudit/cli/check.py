"""`labelaudit check`: what a dataset version contains, and what its audit would do."""

from __future__ import annotations

from dataclasses import asdict

from labelaudit.cli.console import show, show_json
from labelaudit.cli.dataset_options import DatasetOptions
from labelaudit.cli.options import config_from
from labelaudit.errors import DatasetError
from labelaudit.local.machine import local_slots
from labelaudit.pipeline.check import AuditSeconds, CheckedDataset, check_dataset

# A longer list of classes does not help a reader.
SHOWN_CLASSES = 40
WIDTH = 14  # of the names in front of the values


def check_command(target: str, options: DatasetOptions, as_json: bool, *, estimate: bool) -> None:
    """Print what the dataset contains and, with `estimate`, the time and memory that its audit needs.

    Raises:
        DatasetError: The dataset cannot be audited.
    """
    config = config_from(target, options)
    slots = local_slots(config)
    measure: AuditSeconds | None = None
    if estimate:
        # Imported late, because torch takes longer to import than a small dataset takes to check.
        from labelaudit.pipeline.audit_time import audit_seconds

        measure = audit_seconds
    found = check_dataset(config, parallel=len(slots), threads=slots[0].threads, audit_seconds=measure)
    if as_json:
        show_json(asdict(found))
    else:
        _print(found)
    if found.problem is not None:
        raise DatasetError(found.problem)


def _line(name: str, value: object) -> None:
    show(f"{name:<{WIDTH}} {value}")


def _print(found: CheckedDataset) -> None:
    _line("dataset", f"{found.dataset}, version {found.version}")
    _line("files", f"{found.files:,} ({found.bytes / 1e6:,.1f} MB), {found.format}, kind {found.kind}")
    _line("fingerprint", found.fingerprint)
    _line("columns", ", ".join(f"{name}: {value}" for name, value in found.columns.items()))
    for guess in found.guesses:
        _line("guess", guess)
    for warning in found.warnings:
        _line("warning", warning)
    _print_rows(found)
    if found.views is not None:
        _print_plan(found)


def _print_rows(found: CheckedDataset) -> None:
    _line("rows", f"{found.examples:,}")
    for status, rows in found.statuses.items():
        if rows:
            _line("", f"{rows:,} {status}")
    for row in found.first_rows:
        _line("", row)
    for note in found.annotations:
        _line("annotations", note)
    for left in found.left_out:
        _line("left out", left.sentence)
    _line("classes", f"{len(found.classes):,}")
    for name, rows in list(found.classes.items())[:SHOWN_CLASSES]:
        _line("", f"{rows:,} {name}")
    if len(found.classes) > SHOWN_CLASSES:
        _line("", f"and {len(found.classes) - SHOWN_CLASSES:,} more")


def _print_plan(found: CheckedDataset) -> None:
    _line("views", ", ".join(found.views or ()))
    if found.encoder is not None:
        _line("encoder", found.encoder)
    if found.network is not None:
        _line("network", f"{found.network}, {found.epochs} epochs, batches of {found.batch_size:,}")
    _line("folds", f"{found.folds}, {found.parallel} at a time, {found.threads} CPU threads each")
    if found.expected_seconds is None or found.expected_memory_bytes is None:
        _line("time, memory", "not measured: --estimate trains for a few steps and reports both")
        return
    _line("time", f"about {max(1, found.expected_seconds):,.0f} s of encoding and training")
    allowed = (found.memory_limit_bytes or 0) / 1e9
    _line("memory", f"about {found.expected_memory_bytes / 1e9:,.1f} GB of {allowed:,.1f} GB")
