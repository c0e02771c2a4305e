"""Verdicts of people on examples, and which of many hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, get_type_hints

from labelaudit.errors import ReviewError
from labelaudit.reviews.records import checked_fields, is_text
from labelaudit.schemas import Decision


class Judged(NamedTuple):
    """What a verdict is about. It ends to hold when one of these changes."""

    example_id: str
    content_digest: str | None  # None where an audit knows no content (probabilities from outside)
    given_label: str


@dataclass(frozen=True)
class Verdict:
    """One decision of one person. `verdict` None takes an earlier one back.

    Raises `ReviewError` where `right_label` is missing from a `wrong`, is the given one, or stands beside another
    decision, and where it or `reviewer` is no text that UTF-8 holds.
    """

    example_id: str
    content_digest: str | None
    given_label: str
    verdict: Decision | None
    right_label: str | None  # with `wrong` alone
    reviewer: str
    decided_at: str  # as `now` gives it
    audit_id: str  # of the audit that the person looked at
    was_flagged: bool  # in that audit, by the detector

    def __post_init__(self) -> None:
        if (self.verdict == Decision.WRONG) != bool(self.right_label):
            raise ReviewError(
                f"The verdict on {self.example_id!r} is {self.verdict or 'none'} with right_label "
                f"{self.right_label!r}; exactly a verdict of `wrong` names the right label."
            )
        if self.right_label == self.given_label:
            raise ReviewError(
                f"The verdict on {self.example_id!r} is `wrong`, but its right label {self.right_label!r} is the given "
                "one. Judge it `fine`, or name another label."
            )
        for name, text in (("right label", self.right_label), ("reviewer", self.reviewer)):
            if text is not None and not is_text(text):
                raise ReviewError(
                    f"The {name} {text!r} of the verdict on {self.example_id!r} is no text in UTF-8. Write it anew."
                )

    @property
    def judged(self) -> Judged:
        return Judged(self.example_id, self.content_digest, self.given_label)

    def after(self, last: Verdict | None) -> Verdict:
        """The same decision, later than `last`: who has seen that one replaces it, whatever their clocks say."""
        if last is None or self.decided_at > last.decided_at:
            return self
        return replace(self, decided_at=_moment_after(last.decided_at))

    def to_record(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Any) -> Verdict:
        """The verdict of `to_record`. Raises `ReviewError` where the record is none."""
        values = checked_fields(record, _KINDS)
        try:
            values["verdict"] = None if values["verdict"] is None else Decision(values["verdict"])
            _moment_after(values["decided_at"])
        except (ValueError, OverflowError) as error:
            raise ReviewError(f"{error}") from error
        return cls(**values)


_KINDS = {**get_type_hints(Verdict), "verdict": str | None}


def last_words(verdicts: Iterable[Verdict]) -> dict[Judged, Verdict]:
    """Of all verdicts on the same content and label the newest, also where it takes an earlier one back.

    Verdicts of the same moment are ordered by their reviewer and decision, so that every reader sees the same.
    """
    ordered = sorted(verdicts, key=lambda v: (v.decided_at, v.reviewer, v.verdict or "", v.right_label or ""))
    return {verdict.judged: verdict for verdict in ordered}


def standing(last: Mapping[Judged, Verdict]) -> dict[Judged, Verdict]:
    """Of last words those that decide something."""
    return {judged: verdict for judged, verdict in last.items() if verdict.verdict is not None}


def newest(verdicts: Iterable[Verdict]) -> dict[Judged, Verdict]:
    """Of all verdicts on the same content and label the newest; what was taken back is left out."""
    return standing(last_words(verdicts))


def now() -> str:
    """The time as verdicts and samples bear it: ISO 8601 with microseconds, UTC. Its order is that of its text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _moment_after(decided_at: str) -> str:
    """A microsecond later. Raises `ValueError` for another format, `OverflowError` where no time is later."""
    moment = datetime.fromisoformat(decided_at)
    if moment.isoformat(timespec="microseconds") != decided_at or moment.utcoffset() != timedelta(0):
        raise ValueError(f"{decided_at!r} is no time in UTC with microseconds")
    return (moment + timedelta(microseconds=1)).isoformat(timespec="microseconds")
