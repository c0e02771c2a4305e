"""Decisions as people and other tools write them."""

from __future__ import annotations

from labelaudit.reviews.judging import Judgement
from labelaudit.schemas import Decision

_WORDS = {decision.value: decision for decision in Decision}


def as_judgement(
    place: str, example_id: str, word: str, right_label: str, given_label: str | None, content_digest: str | None
) -> Judgement | None:
    """What one line or task says; None where it says nothing. Letter case of the decision does not count."""
    written = word.strip().lower()
    if not written and not right_label:
        return None
    decision = _WORDS.get(written)
    problem = None
    if decision is None:
        said = f"{word.strip()[:40]!r} is no verdict" if written else "there is a right label, but no verdict"
        problem = f"{example_id!r}: {said}; write {', '.join(_WORDS)}, or nothing at all"
    return Judgement(example_id, decision, right_label or None, place, given_label, content_digest, problem)
