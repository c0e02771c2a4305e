"""Verdicts of people on examples, and which one of several is current."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from labelaudit.errors import ReviewError
from labelaudit.reviews.records import is_utf8
from labelaudit.schemas import Decision


class LabeledExample(NamedTuple):
    """The subject of a verdict. The verdict expires when the content or the given label changes."""

    example_id: str
    content_digest: str | None  # None if the audit has no content (`labelaudit detect`)
    given_label: str


class Answer(NamedTuple):
    """What a verdict says, without who said it and when."""

    verdict: Decision | None  # None takes an earlier verdict back
    right_label: str | None  # with `wrong` only


NO_ANSWER = Answer(None, None)


def moment_after(decided_at: str) -> str:
    """Return the time one microsecond later.

    Raises:
        ValueError: if the time is not in the format of `utc_now`, or is the last one that Python can represent.
    """
    moment = datetime.fromisoformat(decided_at)
    if moment.isoformat(timespec="microseconds") != decided_at or moment.utcoffset() != timedelta(0):
        raise ValueError(f"{decided_at!r} is not a UTC time with microseconds")
    try:
        return (moment + timedelta(microseconds=1)).isoformat(timespec="microseconds")
    except OverflowError as error:
        raise ValueError(f"{decided_at!r} is too late: {error}") from error


def _check_moment(decided_at: str) -> str:
    moment_after(decided_at)
    return decided_at


@dataclass(frozen=True)
class Verdict:
    """One verdict of one reviewer on one labeled example.

    Raises:
        ReviewError: if `right_label` is missing with `wrong`, given with another decision, or equal to the given
            label; or if `right_label` or `reviewer` is not valid UTF-8.
    """

    example_id: str
    content_digest: str | None
    given_label: str
    verdict: Decision | None  # None takes an earlier verdict back
    right_label: str | None  # with `wrong` only
    reviewer: str
    decided_at: Annotated[str, AfterValidator(_check_moment)]  # in the format of `utc_now`
    audit_id: str  # of the audit that the reviewer looked at
    was_flagged: bool  # in that audit, by the detector

    def __post_init__(self) -> None:
        if (self.verdict == Decision.WRONG) != bool(self.right_label):
            raise ReviewError(
                f"The verdict on {self.example_id!r} is {self.verdict or 'none'} with right_label "
                f"{self.right_label!r}. Give a right label with `wrong`, and only then."
            )
        if self.right_label == self.given_label:
            raise ReviewError(
                f"The verdict on {self.example_id!r} is `wrong`, but the right label {self.right_label!r} is the given "
                "one. Use `fine`, or give another label."
            )
        for name, text in (("right label", self.right_label), ("reviewer", self.reviewer)):
            if text is not None and not is_utf8(text):
                raise ReviewError(
                    f"The {name} {text!r} of the verdict on {self.example_id!r} is not valid UTF-8. Enter it again."
                )

    @property
    def example(self) -> LabeledExample:
        return LabeledExample(self.example_id, self.content_digest, self.given_label)

    @property
    def answer(self) -> Answer:
        return Answer(self.verdict, self.right_label)

    def after(self, seen: Verdict | None) -> Verdict:
        """Return the same verdict, dated later than `seen` even if a clock is wrong.

        A reviewer who has seen a verdict thus always replaces it.
        """
        if seen is None or self.decided_at > seen.decided_at:
            return self
        return replace(self, decided_at=moment_after(seen.decided_at))


def latest(verdicts: Iterable[Verdict]) -> dict[LabeledExample, Verdict]:
    """Return the latest verdict on each labeled example, even if it takes an earlier one back.

    Verdicts with the same time are ordered by reviewer and answer, so that every reader gets the same result.
    """
    ordered = sorted(verdicts, key=lambda v: (v.decided_at, v.reviewer, v.verdict or "", v.right_label or ""))
    return {verdict.example: verdict for verdict in ordered}


def current(verdicts: Iterable[Verdict]) -> dict[LabeledExample, Verdict]:
    """Return the latest verdict on each labeled example, without those that were taken back."""
    return {example: verdict for example, verdict in latest(verdicts).items() if verdict.verdict is not None}


def current_by_reviewer(verdicts: Iterable[Verdict]) -> dict[tuple[LabeledExample, str], Verdict]:
    """Return the latest verdict of each reviewer on each labeled example, without those that were taken back."""
    by_reviewer: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_reviewer.setdefault(verdict.reviewer, []).append(verdict)
    return {
        (example, reviewer): verdict
        for reviewer, given in by_reviewer.items()
        for example, verdict in current(given).items()
    }


def disagreements(verdicts: Iterable[Verdict]) -> dict[LabeledExample, list[Verdict]]:
    """Return the current verdicts of all reviewers on the examples about which they disagree, sorted by example id."""
    by_example: dict[LabeledExample, list[Verdict]] = {}
    for (example, _), verdict in current_by_reviewer(verdicts).items():
        by_example.setdefault(example, []).append(verdict)
    differing = {example: given for example, given in by_example.items() if len({one.answer for one in given}) > 1}
    return {
        example: sorted(differing[example], key=lambda verdict: verdict.reviewer)
        for example in sorted(differing, key=lambda example: (example.example_id, example.given_label))
    }


def utc_now() -> str:
    """Return the time as verdicts and samples store it: ISO 8601 in UTC with microseconds, which sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
