"""Verdicts of people on examples, and which one of several is current."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, NamedTuple, TypeVar

from pydantic import AfterValidator

from labelaudit.errors import ReviewError
from labelaudit.reviews.records import is_utf8
from labelaudit.schemas import Decision


class Content(NamedTuple):
    """An example under any label: the subject of the verdict `remove`, which expires when the content changes."""

    example_id: str
    content_digest: str | None  # None if the audit has no content (`labelaudit detect`)


class LabeledExample(NamedTuple):
    """The subject of other verdicts. They expire when the content or the given label changes."""

    example_id: str
    content_digest: str | None  # None if the audit has no content (`labelaudit detect`)
    given_label: str

    @property
    def content(self) -> Content:
        return Content(self.example_id, self.content_digest)


class Answer(NamedTuple):
    """What a verdict says, without who said it and when."""

    verdict: Decision | None  # None takes an earlier verdict back
    right_label: str | None  # with `wrong` only
    remove_reason: str | None = None  # with `remove` only


NO_ANSWER = Answer(None, None)

_Current = TypeVar("_Current", "Verdict", Answer)


class CurrentVerdicts(Mapping[LabeledExample, _Current], Generic[_Current]):
    """The current verdicts, or their answers, by labeled example.

    A removal is about the content, so it is found under every label of its content. Iteration yields each verdict once,
    under the label that the reviewer saw.
    """

    def __init__(self, by_example: Mapping[LabeledExample, _Current]) -> None:
        self._by_example: Mapping[LabeledExample, _Current] = by_example
        self._removals: dict[Content, _Current] = {
            example.content: found for example, found in by_example.items() if found.verdict == Decision.REMOVE
        }

    def __getitem__(self, example: LabeledExample) -> _Current:
        removal = self._removals.get(example.content) if self._removals else None
        return self._by_example[example] if removal is None else removal

    def __iter__(self) -> Iterator[LabeledExample]:
        return iter(self._by_example)

    def __len__(self) -> int:
        return len(self._by_example)

    def __repr__(self) -> str:
        return f"CurrentVerdicts({self._by_example!r})"


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
            label; if `remove_reason` is missing with `remove`, or given with another decision; or if a text is not
            valid UTF-8.
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
    remove_reason: str | None = None  # a RemoveReason or another text, with `remove` only

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
        if (self.verdict == Decision.REMOVE) != bool(self.remove_reason):
            raise ReviewError(
                f"The verdict on {self.example_id!r} is {self.verdict or 'none'} with remove_reason "
                f"{self.remove_reason!r}. Give a reason with `remove`, and only then."
            )
        texts = {"right label": self.right_label, "reviewer": self.reviewer, "reason": self.remove_reason}
        for name, text in texts.items():
            if text is not None and not is_utf8(text):
                raise ReviewError(
                    f"The {name} {text!r} of the verdict on {self.example_id!r} is not valid UTF-8. Enter it again."
                )

    @property
    def example(self) -> LabeledExample:
        return LabeledExample(self.example_id, self.content_digest, self.given_label)

    @property
    def answer(self) -> Answer:
        return Answer(self.verdict, self.right_label, self.remove_reason)

    def after(self, seen: Verdict | None) -> Verdict:
        """Return the same verdict, dated later than `seen` even if a clock is wrong.

        A reviewer who has seen a verdict thus always replaces it.
        """
        if seen is None or self.decided_at > seen.decided_at:
            return self
        return replace(self, decided_at=moment_after(seen.decided_at))


def latest_on_contents(verdicts: Iterable[Verdict]) -> dict[Content, Verdict]:
    """Return the latest verdict on each content under any label, even if it takes an earlier one back."""
    return {verdict.example.content: verdict for verdict in _oldest_first(verdicts)}


def current(verdicts: Iterable[Verdict]) -> CurrentVerdicts[Verdict]:
    """Return the latest verdict on each labeled example, without those that were taken back.

    A removal is current unless a reviewer decided otherwise about the content since, under any label. Earlier verdicts
    on a content that is to be removed are not current.
    """
    ordered = _oldest_first(verdicts)
    by_content = {verdict.example.content: verdict for verdict in ordered}
    by_example = {verdict.example: verdict for verdict in ordered}
    return CurrentVerdicts(
        {
            example: verdict
            for example, verdict in by_example.items()
            if verdict.verdict is not None and _is_current(verdict, by_content[example.content])
        }
    )


def _is_current(verdict: Verdict, newest_on_content: Verdict) -> bool:
    is_about_removal = Decision.REMOVE in (verdict.verdict, newest_on_content.verdict)
    return verdict is newest_on_content or not is_about_removal


def _oldest_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return verdicts by time. Those with the same time are ordered by what they say, so every reader agrees."""
    return sorted(
        verdicts,
        key=lambda one: (
            *(one.decided_at, one.reviewer, one.verdict or "", one.right_label or "", one.remove_reason or ""),
            one.given_label,
        ),
    )


def current_by_reviewer(verdicts: Iterable[Verdict]) -> dict[str, CurrentVerdicts[Verdict]]:
    """Return the latest verdicts of each reviewer, as `current` does for all of them together."""
    by_reviewer: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_reviewer.setdefault(verdict.reviewer, []).append(verdict)
    return {reviewer: current(given) for reviewer, given in by_reviewer.items()}


def disagreements(verdicts: Iterable[Verdict]) -> dict[LabeledExample, list[Verdict]]:
    """Return the current verdicts of all reviewers on the examples about which they disagree, sorted by example id.

    Different reasons to remove a row are not a disagreement.
    """
    by_reviewer = dict(sorted(current_by_reviewer(verdicts).items()))
    examples = {example for given in by_reviewer.values() for example in given}
    found = {}
    for example in sorted(examples, key=lambda example: (example.example_id, example.given_label)):
        given = [mine[example] for mine in by_reviewer.values() if example in mine]
        if len({(one.verdict, one.right_label) for one in given}) > 1:
            found[example] = given
    return found


def utc_now() -> str:
    """Return the time as verdicts and samples store it: ISO 8601 in UTC with microseconds, which sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
