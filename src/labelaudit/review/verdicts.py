"""Verdicts of people on examples, and which of many hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from labelaudit.errors import ReviewError
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
    decision.
    """

    example_id: str
    content_digest: str | None
    given_label: str
    verdict: Decision | None
    right_label: str | None  # with `wrong` alone
    reviewer: str
    decided_at: str  # ISO 8601 with microseconds, UTC
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

    @property
    def judged(self) -> Judged:
        return Judged(self.example_id, self.content_digest, self.given_label)

    def to_record(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Verdict:
        """The verdict of `to_record`. Raises `ReviewError` where the record is none."""
        try:
            values = {field.name: record[field.name] for field in fields(cls)}
            values["verdict"] = None if values["verdict"] is None else Decision(values["verdict"])
        except (KeyError, ValueError, TypeError) as error:
            raise ReviewError(
                f"A stored verdict cannot be read ({error!r}). Remove the object that holds it."
            ) from error
        return cls(**values)


def newest(verdicts: Iterable[Verdict]) -> dict[Judged, Verdict]:
    """Of all verdicts on the same content and label the newest; what was taken back is left out.

    Verdicts of the same moment are ordered by their reviewer and decision, so that every reader sees the same.
    """
    ordered = sorted(verdicts, key=lambda v: (v.decided_at, v.reviewer, v.verdict or "", v.right_label or ""))
    last = {verdict.judged: verdict for verdict in ordered}
    return {judged: verdict for judged, verdict in last.items() if verdict.verdict is not None}
