"""`labelaudit review …`: samples, files of rows to judge, verdicts, and how far a review has come."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelaudit.audits.published import PublishedAudit
from labelaudit.cli.console import say, show, show_json
from labelaudit.errors import ReviewError
from labelaudit.report.summary import percent
from labelaudit.reviews.audit_review import audit_to_review, draw_sample, judge, status
from labelaudit.reviews.files import TO_FILL, What, export, format_of, read_filled, sample_file
from labelaudit.reviews.sampling import DEFAULT_SEED, PREVIEWED_ROWS
from labelaudit.storage.uploads import complete_file


def sample_command(target: str, options: Mapping[str, Any], as_json: bool) -> None:
    """Draw, store the record, write the rows to judge."""
    audit = audit_to_review(target)
    output = _new_file(options["output"], options["overwrite"])
    kind = format_of(output.name, options["format"], TO_FILL)
    counts = {name: options[name] for name in ("flagged", "unflagged", "seed")}
    sample = draw_sample(audit, **counts)
    file = sample_file(audit, sample, kind)
    _write(output, file.data)
    strata = {stratum.name: {"rows": stratum.rows, "sampled": len(stratum.sampled)} for stratum in sample.strata}
    for name, stratum in strata.items():
        say(f"{name}: {stratum['sampled']:,} of {stratum['rows']:,} rows")
    if file.without_preview:
        say(_without_previews(file.without_preview))
    say("Judge from the top: the rows before the first gap are what the error rate is measured on.")
    facts = {"output": str(output), "seed": sample.seed, **strata, "without_preview": file.without_preview}
    _finish(facts, audit, as_json, str(output))


def export_command(target: str, options: Mapping[str, Any], as_json: bool) -> None:
    """Write a file."""
    audit = audit_to_review(target)
    output = _new_file(options["output"], options["overwrite"])
    data = export(audit, What(options["what"]), output.name, options["format"])
    _write(output, data)
    _finish({"output": str(output), "what": options["what"], "bytes": len(data)}, audit, as_json, str(output))


def import_command(target: str, file: str, options: Mapping[str, Any], as_json: bool) -> None:
    """Check all of a file, then store all of it."""
    audit = audit_to_review(target)
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ReviewError(f"{file} cannot be read: {error.strerror}.") from error
    judgements = read_filled(data, Path(file).name, options["format"])
    found = judge(audit, judgements, reviewer=options["reviewer"], allow_new_classes=options["allow_new_classes"])
    stored = len(found.new)
    say(f"{len(judgements):,} verdicts read, {stored:,} new ones stored.")
    if found.overruled:
        say(
            f"{found.overruled:,} of the others were left as somebody else decided since. To insist, decide these rows "
            "in the dashboard."
        )
    facts = {"read": len(judgements), "stored": stored, "overruled": found.overruled}
    _finish(facts, audit, as_json, str(stored))


def status_command(target: str, as_json: bool) -> None:
    """Tell it to people on stderr, or to machines."""
    audit = audit_to_review(target)
    facts = status(audit)
    for line in _status_lines(facts):
        say(line)
    if as_json:
        show_json(facts)


def _status_lines(facts: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{count:,} {name}" for name, count in facts["verdicts"].items())
    lines = [
        f"{facts['dataset']}, version {facts['version']}, audit {facts['audit_id']}",
        f"verdicts that hold: {counts}; {facts['ended']:,} hold no more",
        f"flagged rows judged: {facts['flagged_judged']:,} of {facts['flagged']:,}",
        f"judged wrong and not fixed: {facts['known_wrong']:,}",
    ]
    lines += _sample_lines(facts)
    precision, rate = facts["precision"], facts["error_rate"]
    if precision is not None:
        lines.append(f"precision of the flags that were judged: {_with_limits(precision)}")
        if precision["random"] is not None:
            lines.append(f"precision on randomly drawn flags: {_with_limits(precision['random'])}")
    if rate is not None:
        where = "" if rate["same_version"] else f", measured on version {rate['version']} and not on this one"
        lines.append(f"wrong labels: {_with_limits(rate)}{where}")
    # Names and labels as literals: a terminal would obey control characters in them.
    lines += [f"reviewer {name!r}: {count:,}" for name, count in facts["reviewers"].items()]
    if facts["disagreements"]:
        lines.append(f"rows on which reviewers disagree: {facts['disagreements']:,}")
    lines += [f"  {row['example_id']!r} ({row['given_label']!r}): {_said(row)}" for row in facts["disagreeing"]]
    return lines


def _sample_lines(facts: Mapping[str, Any]) -> list[str]:
    sample = facts["sample"] or {"strata": []}
    where = f" of version {sample['version']}" if sample["strata"] and sample["version"] != facts["version"] else ""
    return [
        f"sample{where}, {stratum['name']} rows: {stratum['judged']:,} of {stratum['sampled']:,} judged in their order"
        for stratum in sample["strata"]
    ]


def _said(row: Mapping[str, Any]) -> str:
    parts = []
    for one in row["verdicts"]:
        right = f" (right: {one['right_label']!r})" if one["right_label"] else ""
        parts.append(f"{one['reviewer']!r} {one['verdict']}{right}")
    return ", ".join(parts)


def _with_limits(interval: Mapping[str, Any]) -> str:
    low, high = percent(interval["low"]), percent(interval["high"])
    return f"{percent(interval['estimate'])} (95 % interval {low} to {high})"


def _without_previews(rows: int) -> str:
    return (
        f"The tasks show no previews: the audit has none of {rows:,} of these rows, and the others would be known by "
        f"theirs. It has all those of a sample with --seed {DEFAULT_SEED} of at most {PREVIEWED_ROWS} flagged and "
        f"{PREVIEWED_ROWS} other rows, where it read the dataset and report.previews in its config is not 0."
    )


def _new_file(name: str, overwrite: bool) -> Path:
    path = Path(name)
    if path.exists() and not overwrite:
        raise ReviewError(f"{path} is there already. Name another file, or replace it with --overwrite.")
    return path


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing: a file that was cut looks like a whole one."""
    place = path.resolve()
    try:
        if place.exists() and not place.is_file():
            # A pipe or a device: nothing that could be replaced.
            place.write_bytes(data)
            return
        # A folder that is misspelled is no reason to make it.
        place.parent.stat()
        with complete_file(str(place), data) as complete:
            os.replace(complete, place)
    except OSError as error:
        raise ReviewError(f"{path} cannot be written: {error.strerror}.") from error


def _finish(facts: Mapping[str, Any], audit: PublishedAudit, as_json: bool, line: str) -> None:
    if as_json:
        named = {"dataset": audit.dataset, "version": audit.version, "audit_id": audit.audit_id}
        show_json({**named, **facts})
    else:
        show(line)
