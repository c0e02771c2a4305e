"""Verdicts as people write them in files, checked against an audit."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from labelaudit.errors import ReviewError
from labelaudit.reviews.records import is_utf8
from labelaudit.reviews.verdicts import LabeledExample, Verdict
from labelaudit.schemas import Decision, RemoveReason

# Bad lines that one message names.
NAMED_PROBLEMS = 100
_DECISIONS = {decision.value: decision for decision in Decision}
_REASONS = tuple(reason.value for reason in RemoveReason)


class Draft(NamedTuple):
    """A verdict that is not checked yet. `verdict` None takes an earlier verdict back."""

    example_id: str
    verdict: Decision | None
    right_label: str | None = None  # with `wrong` only
    place: str = ""  # its place in a file, such as "line 7"
    # As the reviewer saw them, if known. They must match the audit. An empty digest means an audit without content.
    given_label: str | None = None
    content_digest: str | None = None
    problem: str | None = None  # why it cannot be read
    remove_reason: str | None = None  # with `remove` only


class AuditedExample(NamedTuple):
    """A labeled row of an audit."""

    example: LabeledExample
    was_flagged: bool  # by the detector, even if a reviewer dismissed the flag
    is_scored: bool = True  # other rows can only be removed


def parse_draft(
    place: str,
    example_id: str,
    word: str,
    right_label: str,
    remove_reason: str,
    given_label: str | None,
    content_digest: str | None,
) -> Draft | None:
    """Return the draft on one line or in one task, or None if it is empty.

    The letter case of `word` and of the offered reasons is ignored.
    """
    written = word.strip().lower()
    reason = _parsed_reason(remove_reason)
    if not written and not right_label and not reason:
        return None
    decision = _DECISIONS.get(written)
    problem = None
    if decision is None:
        without = "right label" if right_label else "reason"
        found = f"{word.strip()[:40]!r} is not a verdict" if written else f"there is a {without}, but not a verdict"
        problem = f"{example_id!r}: {found}; write {', '.join(_DECISIONS)}, or nothing"
    return Draft(example_id, decision, right_label or None, place, given_label, content_digest, problem, reason)


def _parsed_reason(written: str) -> str | None:
    """Return a reason as it is stored: an offered one in its own spelling, others as they are written."""
    reason = written.strip()
    as_offered = "-".join(reason.lower().replace("_", " ").split())
    return as_offered if as_offered in _REASONS else reason or None


def check_drafts(
    drafts: Sequence[Draft],
    rows: Mapping[str, AuditedExample],
    class_names: Collection[str],
    *,
    reviewer: str,
    decided_at: str,
    audit_id: str,
) -> list[Verdict]:
    """Return one verdict per example, all with the same time.

    Args:
        drafts: What was written. Equal drafts on one example count once.
        rows: The labeled rows of the audit by id. Those that are not scored can only be removed.
        class_names: The right labels that are allowed.

    Raises:
        ReviewError: if a draft is not valid. The message names every such draft.
    """
    problems, seen = [], dict[str, Draft]()
    for draft in drafts:
        problem = _problem(draft, rows, class_names) or _contradiction(draft, seen)
        if problem:
            problems.append(f"{draft.place}: {problem}" if draft.place else problem)
        seen.setdefault(draft.example_id, draft)
    if problems:
        raise ReviewError(_message(problems))
    return [
        Verdict(
            *rows[draft.example_id].example,
            verdict=draft.verdict,
            right_label=draft.right_label,
            reviewer=reviewer,
            decided_at=decided_at,
            audit_id=audit_id,
            was_flagged=rows[draft.example_id].was_flagged,
            remove_reason=draft.remove_reason,
        )
        for draft in seen.values()
    ]


def _problem(draft: Draft, rows: Mapping[str, AuditedExample], class_names: Collection[str]) -> str | None:
    if draft.problem:
        return draft.problem
    row = rows.get(draft.example_id)
    if row is None or not (row.is_scored or draft.verdict in (Decision.REMOVE, None)):
        return f"{draft.example_id!r} is not a scored row of this audit"
    given = row.example.given_label
    if draft.given_label not in (None, given):
        return (
            f"{draft.example_id!r} has the label {given!r} in this audit, but the reviewer saw {draft.given_label!r}; "
            "name the audit that the file was made from"
        )
    if draft.content_digest is not None and draft.content_digest != (row.example.content_digest or ""):
        return (
            f"{draft.example_id!r} has other content in this audit than the reviewer saw "
            f"(content_digest {draft.content_digest[:40]!r}); name the audit that the file was made from"
        )
    return _problem_of_reason(draft) or _problem_of_right_label(draft, given, class_names)


def _problem_of_reason(draft: Draft) -> str | None:
    if draft.verdict != Decision.REMOVE:
        if draft.remove_reason:
            return (
                f"{draft.example_id!r} has the reason {draft.remove_reason[:40]!r}, but the verdict is "
                f"{draft.verdict or 'missing'}; only `remove` takes one"
            )
        return None
    if not draft.remove_reason:
        return (
            f"{draft.example_id!r} is to be removed, but remove_reason is missing; write {', '.join(_REASONS)}, or "
            "another reason"
        )
    if not is_utf8(draft.remove_reason):
        return f"{draft.example_id!r}: the reason {draft.remove_reason!r} is not valid UTF-8"
    return None


def _problem_of_right_label(draft: Draft, given: str, class_names: Collection[str]) -> str | None:
    if draft.verdict != Decision.WRONG:
        if draft.right_label:
            return (
                f"{draft.example_id!r} has the right label {draft.right_label!r}, but the verdict is "
                f"{draft.verdict or 'missing'}; only `wrong` takes one"
            )
        return None
    label = draft.right_label
    if not label:
        return f"{draft.example_id!r} is wrong, but the right label is missing"
    if label == given:
        return f"{draft.example_id!r} is wrong, but {label!r} is its given label; is it fine?"
    if not is_utf8(label):
        return f"{draft.example_id!r}: the right label {label!r} is not valid UTF-8"
    if label not in class_names:
        close = difflib.get_close_matches(label, class_names, 1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        return f"{draft.example_id!r}: {label!r} is not a class of this audit{hint}"
    return None


def _contradiction(draft: Draft, seen: Mapping[str, Draft]) -> str | None:
    first = seen.get(draft.example_id)
    if first is None or _answer(first) == _answer(draft):
        return None
    return f"{draft.example_id!r} has two different verdicts (first: {first.place or first.verdict})"


def _answer(draft: Draft) -> tuple[Decision | None, str | None, str | None]:
    return draft.verdict, draft.right_label, draft.remove_reason


def _message(problems: Sequence[str]) -> str:
    shown = "\n  ".join(problems[:NAMED_PROBLEMS])
    more = f"\n  and {len(problems) - NAMED_PROBLEMS:,} more" if len(problems) > NAMED_PROBLEMS else ""
    count = "1 verdict is" if len(problems) == 1 else f"{len(problems):,} verdicts are"
    return f"Nothing was stored, because {count} not valid. Correct these lines:\n  {shown}{more}"
