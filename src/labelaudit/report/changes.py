"""What changed since the previous audit: sentences for terminals and artifacts, and a section of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audit_changes import Changes, LabelPair
from labelaudit.report.gallery import text_excerpt
from labelaudit.schemas import DataChange, IssueChange, Status
from labelaudit.text import listing

MEANINGS = {
    IssueChange.NEW: "flagged now; the row, its content or its label is new, or it was not scored before",
    IssueChange.FIXED: "has another label now and is not flagged under it",
    IssueChange.GONE: "flagged before; the row was removed, has other content or is not scored now",
    IssueChange.DISMISSED: "judged fine, or to be removed, by a person",
    IssueChange.PERSISTENT: "flagged before and now",
    IssueChange.FLAPPING: "flagged in only one of the two audits, with the same content and label",
}
DATA_MEANINGS = {
    DataChange.ADDED: "not in the previous version",
    DataChange.REMOVED: "not in this version",
    DataChange.RELABELED: "same content, with another label or none",
    DataChange.REPLACED: "same id, other content",
}
# Limits of the page. The Parquet files next to it contain all rows.
NEW_ISSUES = 50
_CLASSES = 30
HELD_VERSIONS = 10
PAIRS_IN_WORDS = 3
_NAME_LENGTH = 60
ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True)
class ClassChange:
    """A row of CLASS_CHANGES. None means that the class or the figure is missing from that audit."""

    class_name: str
    examples_before: int | None
    examples: int | None
    label_issues_before: int | None
    label_issues: int | None
    label_noise_before: float | None
    label_noise: float | None

    @property
    def has_changed(self) -> bool:
        """Whether a count differs."""
        return (self.examples_before, self.label_issues_before) != (self.examples, self.label_issues)

    @property
    def differences(self) -> tuple[int, int]:
        """By how much the flagged rows and the rows differ."""
        return (
            abs((self.label_issues or 0) - (self.label_issues_before or 0)),
            abs((self.examples or 0) - (self.examples_before or 0)),
        )


@dataclass(frozen=True)
class ChangesContent:
    """What the page shows of a comparison."""

    changes: Changes  # of the summary
    new_issues: pa.Table  # the first rows of `new_issues`
    class_changes: pa.Table  # CLASS_CHANGES


def changes_content(
    changes: Changes | None, rows: pa.Table, class_changes: pa.Table, issues: pa.Table
) -> ChangesContent | None:
    """Return the content from CHANGES, CLASS_CHANGES and ISSUES of an audit, or None if `changes` is None."""
    if changes is None:
        return None
    return ChangesContent(changes, new_issues(rows, issues).slice(0, NEW_ISSUES), class_changes)


def new_issues(changes: pa.Table, issues: pa.Table) -> pa.Table:
    """Return the rows of ISSUES that are new according to CHANGES, in their order, with `example_id_before`."""
    new = changes.filter(pc.equal(changes["issue_change"], IssueChange.NEW.value))
    ids = new["example_id"].combine_chunks()
    found = issues.filter(pc.is_in(issues["example_id"], value_set=ids))
    positions = pc.index_in(found["example_id"], value_set=ids)
    return found.append_column("example_id_before", new["example_id_before"].take(positions))


def changes_in_words(changes: Changes) -> list[str]:
    """Return sentences about the changes. A warning that not only the data changed comes first."""
    version = changes.predecessor.version
    sentences = [changes.warning] if changes.warning else []
    sentences.append(f"Since {_name(version)}: {counted_issues(changes)}.")
    sentences.append(f"Data: {counted_data(changes)}.")
    pairs = changes.relabeled[:PAIRS_IN_WORDS]
    if pairs:
        sentences.append(f"Most relabeled: {', '.join(map(_pair, pairs))}.")
    if changes.held_versions:
        sentences.append(f"{held_in_words(changes)}.")
    return sentences


def counted_issues(changes: Changes) -> str:
    """Return text such as `12 new, 88 fixed`, or that no row is or was flagged."""
    return _counted(changes.issues, IssueChange) or "no row is or was flagged"


def counted_data(changes: Changes) -> str:
    """Return text such as `50 removed, 160 relabeled; duplicate_id 40 → 0`, or that the data is the same."""
    counted = _counted(changes.data, DataChange)
    # The scored rows are the rest: the other statuses and counts explain each difference.
    statuses = [
        f"{count.status} {count.examples_before:,} {ARROW} {count.examples:,}"
        for count in changes.statuses
        if count.status != Status.SCORED
    ]
    if not statuses and changes.other_status:
        statuses = [f"{changes.other_status:,} with another status"]
    return "; ".join(filter(None, [counted, ", ".join(statuses)])) or "the same, row by row"


def is_same_data(changes: Changes) -> bool:
    """Return whether all rows, copies included, have the same content, label and status as before."""
    return not (any(changes.data.values()) or changes.statuses or changes.other_status)


def held_in_words(changes: Changes) -> str:
    """Return a sentence, without full stop, on the versions in between that were skipped."""
    names = listing(map(_name, changes.held_versions), shown=HELD_VERSIONS)
    return f"Skipped, because the gate failed: {names}"


def changes_context(content: ChangesContent | None) -> dict[str, object]:
    """Return the values of the template `changes.html.jinja`."""
    if content is None:
        return {"changes": None}
    changes = content.changes
    classes = [row for record in content.class_changes.to_pylist() if (row := ClassChange(**record)).has_changed]
    classes.sort(key=lambda row: row.differences, reverse=True)
    return {
        "changes": {
            "version": changes.predecessor.version,
            "created_at": changes.predecessor.created_at,
            "href": report_of(changes.predecessor.audit_url),
            "warning": changes.warning,
            "held": held_in_words(changes) if changes.held_versions else "",
            "notes": changes.notes,
            "issues": [_count_row(name, changes.issues, MEANINGS[name]) for name in IssueChange],
            "data": [_count_row(name, changes.data, DATA_MEANINGS[name]) for name in DataChange],
            "statuses": changes.statuses,
            "other_status": changes.other_status,
            "is_same_data": is_same_data(changes),
            "relabeled": changes.relabeled,
            "new_issues": content.new_issues.to_pylist(),
            "new_count": changes.issues[IssueChange.NEW],
            "classes": classes[:_CLASSES],
            "changed_classes": len(classes),
        }
    }


def report_of(audit_url: str) -> str:
    """Return the address of the page of another audit of the dataset, relative to the page of this audit."""
    folders = "/".join(audit_url.split("/")[-2:])
    return f"../../{quote(folders, safe='/=')}/report.html"


def _counted(counts: Mapping[str, int], kind: type[StrEnum]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in kind if counts[name])


def _count_row(name: str, counts: Mapping[str, int], meaning: str) -> dict[str, object]:
    return {"name": str(name), "rows": counts[name], "meaning": meaning}


def _pair(pair: LabelPair) -> str:
    return f"{_label(pair.given_label_before)} {ARROW} {_label(pair.given_label)} ({pair.examples:,})"


def _label(label: str | None) -> str:
    return "no label" if label is None else _name(label)


def _name(name: str) -> str:
    return text_excerpt(name, _NAME_LENGTH)
