"""`labelaudit review …`: samples, files to fill, verdicts, and the status of a review."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from labelaudit.audits.published import PublishedAudit
from labelaudit.cli.console import say, show, show_json
from labelaudit.cli.options import config_from
from labelaudit.config_files import is_config_file
from labelaudit.errors import ConfigError, ReviewError
from labelaudit.findings import Estimate
from labelaudit.reviews.audit_review import (
    SHOWN_DISAGREEMENTS,
    ReviewStatus,
    add_drafts,
    audit_to_review,
    draw_by_flag,
    draw_sample,
    status,
)
from labelaudit.reviews.clean_labels import CleaningEffect, CleaningRules
from labelaudit.reviews.files import FILLABLE, ExportKind, clean_file, export, format_of, read_filled, sample_file
from labelaudit.reviews.sampling import DEFAULT_SEED, PREVIEWED_ROWS
from labelaudit.reviews.verdicts import Verdict
from labelaudit.shares import percent
from labelaudit.storage.layout import dataset_folder
from labelaudit.storage.uploads import complete_file
from labelaudit.versions.named import audited_name


@dataclass(frozen=True)
class AuditTarget:
    """The audit that a command is about."""

    audit: str  # URL of an audit, a version or a dataset; or a config, for the latest audit of its dataset
    config: str | None = None  # a config whose storage.options apply

    def open(self) -> PublishedAudit:
        """Return the audit.

        Raises:
            ConfigError: if there is no such audit.
            ReviewError: if it cannot be reviewed.
        """
        if not is_config_file(self.audit):
            return audit_to_review(self.audit, config_from(self._config()).storage.options if self.config else None)
        if self.config is not None:
            raise ConfigError(f"AUDIT {self.audit} is a config already. Remove --config.")
        config = config_from(self.audit)
        folder = dataset_folder(audited_name(config).name)
        return audit_to_review(f"{config.output.url.rstrip('/')}/{folder}", config.storage.options)

    def _config(self) -> str:
        if self.config is None or not is_config_file(self.config):
            raise ConfigError(f"--config {self.config} is not a config. Name a .yaml file.")
        return self.config


class ByFlag(NamedTuple):
    """How many flagged and other rows to draw; None if not said."""

    flagged: int | None
    unflagged: int | None


# Classes that an export lists.
LISTED_CLASSES = 10
# Rows of a sample, unless the user gives another number.
DEFAULT_ROWS = 200


@dataclass(frozen=True)
class OutputFile:
    """The file that a command writes."""

    output: str
    format: str | None
    overwrite: bool

    def path(self) -> Path:
        """Return its path.

        Raises:
            ReviewError: if the file exists and must not be replaced.
        """
        path = Path(self.output)
        if path.exists() and not self.overwrite:
            raise ReviewError(f"{path} exists already. Name another file, or replace it with --overwrite.")
        return path


def sample_command(
    target: AuditTarget, file: OutputFile, *, rows: int | None, by_flag: ByFlag, seed: int, as_json: bool
) -> None:
    """Draw a sample, store it, and write the rows to review.

    Raises:
        ReviewError: if both kinds of sample are requested.
    """
    if rows is not None and by_flag != ByFlag(None, None):
        raise ReviewError("--rows cannot be combined with --flagged or --unflagged. Use one of them.")
    audit = target.open()
    path = file.path()
    kind = format_of(path.name, file.format, FILLABLE)
    if by_flag == ByFlag(None, None):
        sample = draw_sample(audit, rows=rows or DEFAULT_ROWS, seed=seed)
    else:
        flagged, unflagged = (DEFAULT_ROWS // 2 if count is None else count for count in by_flag)
        sample = draw_by_flag(audit, flagged=flagged, unflagged=unflagged, seed=seed)
    written = sample_file(audit, sample, kind)
    _write(path, written.data)
    strata = {stratum.name: {"rows": stratum.rows, "sampled": len(stratum.sampled)} for stratum in sample.strata}
    for name, stratum in strata.items():
        say(f"{name}: {stratum['sampled']:,} of {stratum['rows']:,} rows")
    if written.without_preview:
        say(_without_previews(written.without_preview))
    say("Review the rows from the top. The error rate is measured on the rows before the first gap.")
    facts = {"output": str(path), "seed": sample.seed, **strata, "without_preview": written.without_preview}
    _finish(facts, audit, as_json, str(path))


def export_command(
    target: AuditTarget, file: OutputFile, *, what: str, rules: CleaningRules | None = None, as_json: bool
) -> None:
    """Write a file.

    Args:
        rules: for `clean` only.

    Raises:
        ReviewError: if rules are given for something else.
    """
    kind, effect = ExportKind(what), None
    if kind != ExportKind.CLEAN and rules is not None and rules.has_limits:
        raise ReviewError(f"--relabel-above and --remove-above do not apply to --what {what}. Use --what clean.")
    audit = target.open()
    path = file.path()
    if kind == ExportKind.CLEAN:
        data, effect = clean_file(audit, path.name, file.format, rules)
    else:
        data = export(audit, kind, path.name, file.format)
    _write(path, data)
    for line in _effect_lines(effect) if effect else []:
        say(line)
    facts = {"output": str(path), "what": what, "bytes": len(data), **(effect.to_record() if effect else {})}
    _finish(facts, audit, as_json, str(path))


def _effect_lines(effect: CleaningEffect) -> list[str]:
    """Return the rows by action, the classes whose share changes most, and warnings."""
    changed = [one for one in effect.classes if one.rows_before != one.rows_after]
    changed.sort(key=lambda one: (-abs(one.share_after - one.share_before), one.class_name))
    lines = [", ".join(f"{count:,} {action}" for action, count in effect.actions.items())]
    if changed:
        what = "classes" if len(changed) <= LISTED_CLASSES else f"{LISTED_CLASSES} of {len(changed):,} classes"
        lines.append(f"{what} with other rows, in the version and to train with (keep, relabel):")
    # Names are printed as literals, because they may contain control characters.
    lines += [
        f"  {one.class_name!r}: {one.rows_before:,} rows ({percent(one.share_before)}), then {one.rows_after:,} "
        f"({percent(one.share_after)})"
        for one in changed[:LISTED_CLASSES]
    ]
    return [*lines, *(f"warning: {warning}" for warning in effect.warnings)]


def import_command(
    target: AuditTarget, file: str, *, reviewer: str, allow_new_classes: bool, format: str | None, as_json: bool
) -> None:
    """Check a whole file, then store its new verdicts."""
    audit = target.open()
    if Path(file).is_dir():
        raise ReviewError(f"{file} is a folder, but verdicts are imported from a file. Import its files one by one.")
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ReviewError(f"{file} cannot be read: {error.strerror}. Name a file that you can read.") from error
    drafts = read_filled(data, Path(file).name, format)
    added = add_drafts(audit, drafts, reviewer=reviewer, allow_new_classes=allow_new_classes)
    stored = len(added.new)
    say(f"{len(drafts):,} verdicts read, {stored:,} new ones stored.")
    if added.overruled:
        say(
            f"{added.overruled:,} of the others repeat an earlier verdict of yours, but someone else decided otherwise "
            "since. To change that, decide these rows in the dashboard."
        )
    facts = {"read": len(drafts), "stored": stored, "overruled": added.overruled}
    _finish(facts, audit, as_json, str(stored))


def status_command(target: AuditTarget, *, as_json: bool) -> None:
    """Print the status on stderr, and as JSON on stdout if requested."""
    found = status(target.open())
    for line in _status_lines(found):
        say(line)
    if as_json:
        show_json(found.to_record())


def _status_lines(found: ReviewStatus) -> list[str]:
    findings = found.findings
    counts = ", ".join(f"{count:,} {name}" for name, count in findings.verdicts.items())
    lines = [
        f"{found.dataset}, version {found.version}, audit {found.audit_id}",
        f"verdicts that apply: {counts}; {findings.ended:,} expired",
        f"flagged rows reviewed: {found.flagged_judged:,} of {found.flagged:,}",
        f"wrong and not fixed: {findings.known_wrong:,}",
        *([findings.removal_sentence] if findings.removal_sentence else []),
        *_sample_lines(found),
    ]
    precision, rate = findings.precision, findings.error_rate
    if precision is not None:
        lines.append(f"precision of the flags that were reviewed: {_with_limits(precision)}")
        if precision.random is not None:
            lines.append(f"precision on randomly drawn flags: {_with_limits(precision.random)}")
    if rate is not None:
        where = "" if rate.same_version else f", measured on version {rate.version} and not on this one"
        lines.append(f"wrong labels: {_with_limits(rate)}{where}")
    # Names and labels are printed as literals, because they may contain control characters.
    lines += [f"reviewer {name!r}: {count:,}" for name, count in found.reviewers.items()]
    if found.disagreements:
        lines.append(f"rows on which reviewers disagree: {len(found.disagreements):,}")
    lines += [
        f"  {example.example_id!r} ({example.given_label!r}): {', '.join(map(_answer, verdicts))}"
        for example, verdicts in list(found.disagreements.items())[:SHOWN_DISAGREEMENTS]
    ]
    return lines


def _sample_lines(found: ReviewStatus) -> list[str]:
    sample = found.sample
    if sample is None:
        return []
    version = f" of version {sample.version}" if sample.version != found.version else ""
    return [
        f"sample{version}, {stratum.name}: {stratum.judged:,} of {stratum.sampled:,} reviewed in order"
        for stratum in sample.strata
    ]


def _answer(verdict: Verdict) -> str:
    details = f" (right: {verdict.right_label!r})" if verdict.right_label else ""
    if verdict.remove_reason:
        details = f" ({verdict.remove_reason!r})"
    return f"{verdict.reviewer!r} {verdict.verdict}{details}"


def _with_limits(share: Estimate) -> str:
    return f"{percent(share.estimate)} (95 % interval {percent(share.low)} to {percent(share.high)})"


def _without_previews(rows: int) -> str:
    return (
        f"The tasks show no previews: the audit has none for {rows:,} of these rows, and a preview would reveal which "
        f"of the others are flagged. All rows of a sample with --seed {DEFAULT_SEED} and --rows {PREVIEWED_ROWS} or "
        "less have one if the audit read the dataset and report.previews is not 0."
    )


def _write(path: Path, data: bytes) -> None:
    """Write the whole file or nothing, because a truncated file looks complete."""
    place = path.resolve()
    try:
        if place.exists() and not place.is_file():
            # A pipe or a device cannot be replaced.
            place.write_bytes(data)
            return
        # Fail if the folder does not exist: its name may be misspelled.
        place.parent.stat()
        with complete_file(str(place), data) as complete:
            os.replace(complete, place)
    except OSError as error:
        raise ReviewError(f"{path} cannot be written: {error.strerror}. Name another file.") from error


def _finish(facts: Mapping[str, object], audit: PublishedAudit, as_json: bool, line: str) -> None:
    if as_json:
        show_json({"dataset": audit.dataset, "version": audit.version, "audit_id": audit.audit_id, **facts})
    else:
        show(line)
