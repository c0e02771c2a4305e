"""From what a person says of examples to verdicts on the content and label that were looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labelaudit.errors import ReviewError
from labelaudit.reviews.records import is_text
from labelaudit.reviews.verdicts import Judged, Verdict, last_words, newest
from labelaudit.schemas import Decision
from labelaudit.text import closest, listing

# Bad lines that one message names.
NAMED_PROBLEMS = 100


class Judgement(NamedTuple):
    """What a person says of one example. `verdict` None takes an earlier decision back."""

    example_id: str
    verdict: Decision | None
    right_label: str | None = None  # with `wrong` alone
    place: str = ""  # where it stands in a file, such as "line 7"
    # As the person saw them, where known: must be the audit's. Empty where that audit knew no content.
    given_label: str | None = None
    content_digest: str | None = None
    problem: str | None = None  # what is wrong with how it is written


@dataclass(frozen=True)
class AuditedRow:
    """What an audit knows of an example that can be judged."""

    judged: Judged
    was_flagged: bool  # by the detector, whatever people said of the flag


def verdicts_of(
    judgements: Sequence[Judgement],
    rows: Mapping[str, AuditedRow],
    class_names: Collection[str],
    *,
    reviewer: str,
    decided_at: str,
    audit_id: str,
) -> list[Verdict]:
    """One verdict per judgement, all of one moment; repeated ones come once.

    rows: by id, the scored rows of the audit; class_names: which right labels there may be.
    Raises `ReviewError` that names every judgement that cannot stand, and why.
    """
    problems, seen = [], dict[str, Judgement]()
    for judgement in judgements:
        problem = _problem(judgement, rows, class_names) or _contradiction(judgement, seen)
        if problem:
            problems.append(f"{judgement.place}: {problem}" if judgement.place else problem)
        seen.setdefault(judgement.example_id, judgement)
    if problems:
        raise ReviewError(_message(problems))
    return [
        Verdict(
            **rows[judgement.example_id].judged._asdict(),
            verdict=judgement.verdict,
            right_label=judgement.right_label,
            reviewer=reviewer,
            decided_at=decided_at,
            audit_id=audit_id,
            was_flagged=rows[judgement.example_id].was_flagged,
        )
        for judgement in seen.values()
    ]


class Compared(NamedTuple):
    """Verdicts beside what is stored."""

    new: list[Verdict]  # that say something else than their reviewer said last, each later than what it replaces
    overruled: int  # how many say the same again, where somebody else decided otherwise since


def compared(verdicts: Iterable[Verdict], stored: Sequence[Verdict]) -> Compared:
    """What of the verdicts is new. To take back what does not stand is nothing new, whoever said it."""
    last = last_words(stored)
    by_reviewer = newest_of_reviewers(stored)
    new, overruled = [], 0
    for verdict in verdicts:
        stands = last.get(verdict.judged)
        said = stands if verdict.verdict is None else by_reviewer.get((verdict.judged, verdict.reviewer))
        if _says(said) != _says(verdict):
            new.append(verdict.after(stands))
        elif _says(stands) != _says(verdict):
            overruled += 1
    return Compared(new, overruled)


def newest_of_reviewers(verdicts: Iterable[Verdict]) -> dict[tuple[Judged, str], Verdict]:
    """The newest verdict of each reviewer on each row; what a reviewer took back is left out."""
    by_reviewer: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_reviewer.setdefault(verdict.reviewer, []).append(verdict)
    return {
        (judged, reviewer): verdict
        for reviewer, given in by_reviewer.items()
        for judged, verdict in newest(given).items()
    }


def disagreements(verdicts: Iterable[Verdict]) -> dict[Judged, list[Verdict]]:
    """Rows on which the newest verdicts of two reviewers differ, with these verdicts; in the order of the rows."""
    by_row: dict[Judged, list[Verdict]] = {}
    for (judged, _), verdict in newest_of_reviewers(verdicts).items():
        by_row.setdefault(judged, []).append(verdict)
    differing = {judged: given for judged, given in by_row.items() if len({_says(one) for one in given}) > 1}
    return {
        judged: sorted(differing[judged], key=lambda verdict: verdict.reviewer)
        for judged in sorted(differing, key=lambda judged: (judged.example_id, judged.given_label))
    }


def _says(verdict: Verdict | None) -> tuple[Decision | None, str | None]:
    return (None, None) if verdict is None else (verdict.verdict, verdict.right_label)


def _problem(judgement: Judgement, rows: Mapping[str, AuditedRow], class_names: Collection[str]) -> str | None:
    if judgement.problem:
        return judgement.problem
    row = rows.get(judgement.example_id)
    if row is None:
        return f"{judgement.example_id!r} is no scored row of this audit"
    given = row.judged.given_label
    if judgement.given_label not in (None, given):
        return (
            f"{judgement.example_id!r} has the label {given!r} in this audit, but was judged as "
            f"{judgement.given_label!r}; name the audit that the file was made from"
        )
    if judgement.content_digest is not None and judgement.content_digest != (row.judged.content_digest or ""):
        return (
            f"{judgement.example_id!r} has other content in this audit than in the one that was judged "
            f"(content_digest {judgement.content_digest[:40]!r}); name the audit that the file was made from"
        )
    if judgement.verdict != Decision.WRONG:
        if judgement.right_label:
            return (
                f"{judgement.example_id!r} has the right label {judgement.right_label!r}, but the verdict is "
                f"{judgement.verdict or 'missing'}; only `wrong` has one"
            )
        return None
    return _problem_of_right_label(judgement, given, class_names)


def _problem_of_right_label(judgement: Judgement, given: str, class_names: Collection[str]) -> str | None:
    label = judgement.right_label
    if not label:
        return f"{judgement.example_id!r} is judged wrong without a right label"
    if label == given:
        return f"{judgement.example_id!r} is judged wrong, but {label!r} is its given label; is it fine?"
    if not is_text(label):
        return f"{judgement.example_id!r}: the right label {label!r} is no text in UTF-8"
    if label not in class_names:
        close = closest(label, class_names)
        hint = f", did you mean {close!r}?" if close else ""
        return f"{judgement.example_id!r}: {label!r} is no class of this audit{hint}"
    return None


def _contradiction(judgement: Judgement, seen: Mapping[str, Judgement]) -> str | None:
    first = seen.get(judgement.example_id)
    if first is None or (first.verdict, first.right_label) == (judgement.verdict, judgement.right_label):
        return None
    return f"{judgement.example_id!r} is judged twice, differently (first: {first.place or first.verdict})"


def _message(problems: Sequence[str]) -> str:
    named = listing(problems, shown=NAMED_PROBLEMS, separator="\n  ")
    count = "1 judgement" if len(problems) == 1 else f"{len(problems):,} judgements"
    return f"Nothing was stored, because {count} cannot stand:\n  {named}"
