"""Read a dataset version and say what an audit would do, without training or publishing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import psutil

from labelaudit.audits.comparison import find_predecessor
from labelaudit.audits.published import open_audit
from labelaudit.config import AuditConfig
from labelaudit.data.annotations import AnswerTable
from labelaudit.data.columns import Columns
from labelaudit.data.dataset import Examples
from labelaudit.data.left_out import left_out_of_examples
from labelaudit.detection.class_shares import compare_classes, differences_in_words, labeled_rows
from labelaudit.errors import DatasetError, LabelauditError
from labelaudit.findings import LeftOut
from labelaudit.memory import peak_bytes
from labelaudit.model.recipes import Recipe
from labelaudit.pipeline.answers_of_rows import find_answers, join_answers
from labelaudit.pipeline.plan import Scan, divide_and_choose, find_columns, scan_dataset
from labelaudit.pipeline.view_choice import ViewChoice, check_view_settings, choose_views
from labelaudit.report.duplicates import KNOWN_COLUMNS, duplicates_in_words, duplicates_table
from labelaudit.report.quality_tables import (
    PLACE_COLUMNS,
    first_ids,
    quality_found,
    quality_in_words,
    quality_table,
)
from labelaudit.schemas import CLASSES, Status
from labelaudit.text import listing
from labelaudit.versions.discover import choose_version, open_version
from labelaudit.versions.named import audited_name, open_output

# Returns the seconds of encoding and training, as `labelaudit.pipeline.audit_time.audit_seconds` does.
AuditSeconds = Callable[[AuditConfig, Scan, Examples, Recipe, ViewChoice, int, int], float]
# Rows shown for each status: enough to see a pattern.
SHOWN_ROWS = 3


@dataclass(frozen=True)
class CheckedDataset:
    """What was found, in the order in which it is shown.

    If nothing can be audited, `problem` gives the reason, and the fields after it are None. `expected_seconds` and
    `expected_memory_bytes` are also None if they were not measured.
    """

    dataset: str
    version: str
    fingerprint: str
    files: int
    bytes: int
    format: str
    kind: str
    columns: dict[str, str]
    guesses: tuple[str, ...]
    warnings: tuple[str, ...]
    examples: int
    statuses: dict[str, int]
    left_out: tuple[LeftOut, ...]
    first_rows: tuple[str, ...]  # of each status but `scored`
    classes: dict[str, int]
    problem: str | None
    views: tuple[str, ...] | None = None
    encoder: str | None = None  # None also if no view needs one
    network: str | None = None  # None also if no view is the network
    epochs: int | None = None
    batch_size: int | None = None
    folds: int | None = None
    parallel: int | None = None
    threads: int | None = None
    expected_seconds: float | None = None
    expected_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    annotations: tuple[str, ...] = ()  # sentences on the answers of annotators


def check_dataset(
    config: AuditConfig, *, parallel: int, threads: int, audit_seconds: AuditSeconds | None = None
) -> CheckedDataset:
    """Read and check a version, and plan its audit.

    Args:
        parallel, threads: folds that would train at a time, and CPU threads of each.
        audit_seconds: measures how long the audit takes; None measures neither time nor memory, and imports no torch
            for the packaged encoders.

    Raises:
        DatasetError: the dataset cannot be read at all.
        ConfigError: the encoder cannot be used.
    """
    check_view_settings(config)
    config = choose_version(config)
    source = open_version(config)
    columns = find_columns(source, config)
    # Before the rows are read, which may take long.
    choice = choose_views(config, columns)
    # The inputs are not cached: an audit reads the dataset again.
    answers = find_answers(config, columns)
    scanned = scan_dataset(source, columns, config, answers, keeps_inputs=False)
    found = _scanned(config, scanned, answers)
    try:
        rows, recipe = divide_and_choose(scanned, config)
    except DatasetError as error:
        return replace(found, problem=str(error))
    planned = _with_plan(found, config, rows.examples, recipe, choice, parallel, threads)
    if answers is not None:
        try:
            joined = join_answers(answers, rows, rows.examples.class_names)
        except DatasetError as error:
            return replace(planned, problem=str(error))
        planned = replace(planned, annotations=(*joined.notes, *answers.notes))
    planned = replace(planned, warnings=(*planned.warnings, *_class_changes(config, planned, rows.examples)))
    if audit_seconds is None:
        return planned
    return replace(
        planned,
        expected_seconds=audit_seconds(config, scanned, rows.examples, recipe, choice, parallel, threads),
        # This process read the dataset and trained for a few steps, as the audit and each of its workers will.
        expected_memory_bytes=(parallel + 1) * peak_bytes(),
    )


def _scanned(config: AuditConfig, scanned: Scan, answers: AnswerTable | None) -> CheckedDataset:
    """Return what was found before the audit is planned."""
    examples, name = scanned.examples, audited_name(config)
    return CheckedDataset(
        dataset=name.name,
        version=name.version or examples.fingerprint[:12],
        fingerprint=examples.fingerprint,
        files=scanned.files,
        bytes=scanned.bytes,
        format=scanned.columns.format,
        kind=scanned.columns.kind,
        columns=_columns(scanned.columns, examples),
        guesses=(*scanned.columns.guesses, *(() if answers is None else answers.guesses)),
        warnings=(*scanned.warnings, *_about_copies(examples), *_about_quality(scanned)),
        examples=len(examples.label),
        statuses=examples.status_counts(),
        left_out=(*scanned.columns.left_out, *left_out_of_examples(examples)),
        first_rows=_first_rows(examples),
        classes=examples.all_class_counts(),
        problem=None,
    )


def _about_copies(examples: Examples) -> tuple[str, ...]:
    table = duplicates_table(examples.select(KNOWN_COLUMNS), examples.cluster, examples.copy_distance)
    return duplicates_in_words(table, is_published=False)


def _about_quality(scanned: Scan) -> tuple[str, ...]:
    quality = scanned.quality
    places = scanned.examples.select(PLACE_COLUMNS)
    table = quality_table(places, quality.position, quality.issue, quality.value, quality.limit)
    found = quality_found(table, quality.normal, quality.relations)
    return quality_in_words(found, scanned.columns.kind, first_ids(table, SHOWN_ROWS))


def _with_plan(
    found: CheckedDataset,
    config: AuditConfig,
    examples: Examples,
    recipe: Recipe,
    choice: ViewChoice,
    parallel: int,
    threads: int,
) -> CheckedDataset:
    if "network" in choice.names:
        found = replace(found, network=recipe.network, epochs=recipe.epochs, batch_size=recipe.batch_size)
    of_columns = [left for left in found.left_out if left.kind in ("file", "column")]
    return replace(
        found,
        statuses=examples.status_counts(),
        left_out=(*of_columns, *left_out_of_examples(examples)),
        first_rows=_first_rows(examples),
        warnings=(*found.warnings, *choice.notes),
        views=choice.names,
        encoder=None if choice.encoder is None else choice.encoder.sentence,
        folds=_total_folds(config),
        parallel=parallel,
        threads=threads,
        memory_limit_bytes=config.limits.memory or int(psutil.virtual_memory().available),
    )


def _class_changes(config: AuditConfig, found: CheckedDataset, examples: Examples) -> tuple[str, ...]:
    """Return sentences on classes that are new, gone or changed in share since the previous audit, if there is one."""
    try:
        store = open_output(config)
        is_versioned = config.dataset.has_version_in_url
        before = find_predecessor(store, found.dataset, found.version, has_version_in_url=is_versioned)
        audit = None if before is None else open_audit(store, before.folder)
        if audit is None:
            return ()
        classes_before = labeled_rows(audit.table("classes.parquet", CLASSES))
    except LabelauditError as error:
        return (f"The classes are not compared with those of the previous audit. {error}",)
    is_labeled = np.isin(examples.status.astype(str), (Status.SCORED.value, Status.RARE_CLASS.value))
    counts = Counter(examples.given_label[is_labeled])
    now = {name: counts[name] for name in found.classes if counts[name]}
    return tuple(differences_in_words(compare_classes(classes_before, now), audit.version))


def _total_folds(config: AuditConfig) -> int:
    return config.cross_validation.folds * config.cross_validation.repeats


def _columns(columns: Columns, examples: Examples) -> dict[str, str]:
    slices = [
        f"{name} ({len(values.names):,} {'value' if len(values.names) == 1 else 'values'})"
        for name, values in examples.slices.items()
    ]
    return {
        "label": columns.label or ("the majority of the annotations" if columns.is_voted else "the folder"),
        "id": columns.id or ("the path" if columns.format == "image_folder" else "a hash of the content"),
        "input": listing(columns.inputs) or "the files",
        **({"group": columns.group} if columns.group else {}),
        **({"slices": listing(slices, shown=len(slices))} if slices else {}),
    }


def _first_rows(examples: Examples) -> tuple[str, ...]:
    """Return the first rows of each status except `scored`, with the reason."""
    lines = []
    for status in Status:
        if status is Status.SCORED:
            continue
        for row in np.flatnonzero(examples.status == status.value)[:SHOWN_ROWS]:
            reason = f": {examples.problem[row]}" if examples.problem[row] else ""
            place = f"{examples.file[row]} row {examples.row[row]}"
            lines.append(f"{status.value}: {examples.example_id[row]} ({place}){reason}")
    return tuple(lines)
