"""The verdicts of reviewers, as figures and sentences for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import JsonObject
from labelaudit.findings import ErrorRate, Estimate, Precision, Review
from labelaudit.schemas import Decision
from labelaudit.shares import percent

# Wrong labels and rows to remove on the page. All of them are in examples.parquet.
LISTED_ROWS = 100


@dataclass(frozen=True)
class Figure:
    """A figure of the section, as text."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True)
class ReviewSection:
    """The section of the page on verdicts. `known_wrong` and `to_remove` contain the first such rows of the version."""

    figures: Sequence[Figure]
    sentences: Sequence[str]
    known_wrong: Sequence[JsonObject]
    known_wrong_count: int
    to_remove: Sequence[JsonObject]
    to_remove_count: int


def review_section(review: Review | None, examples: pa.Table) -> ReviewSection | None:
    """Return the section from the review and EXAMPLES of an audit, or None if there are no verdicts."""
    if review is None or not (sum(review.verdicts.values()) + review.ended + review.to_remove):
        return None
    shown = ["example_id", "given_label", "right_label", "remove_reason", "label_score", "file", "row"]
    wrong, removed = (
        examples.select(shown).filter(pc.equal(examples["verdict"], decision.value))
        for decision in (Decision.WRONG, Decision.REMOVE)
    )
    return ReviewSection(
        figures=[*_counts(review), *_precision(review.precision), *_error_rate(review.error_rate)],
        sentences=[
            *_about_precision(review.precision),
            *_about_error_rate(review.error_rate),
            "Judged rows count as wrong or fine in the numbers at the top of the page and in the class table.",
            *_about_removals(review),
        ],
        known_wrong=wrong.slice(0, LISTED_ROWS).to_pylist(),
        known_wrong_count=len(wrong),
        to_remove=removed.slice(0, LISTED_ROWS).to_pylist(),
        to_remove_count=len(removed),
    )


def _counts(review: Review) -> list[Figure]:
    verdicts, ended = review.verdicts, review.ended
    kinds = ", ".join(f"{verdicts[kind]:,} {kind}" for kind in verdicts)
    if ended:
        kinds += f"; {ended:,} expired because the content or label changed"
    return [
        Figure("Verdicts", f"{sum(verdicts.values()):,}", kinds),
        Figure("Dismissed", f"{review.dismissed:,}", "flagged but judged fine"),
        Figure("Not fixed yet", f"{review.known_wrong:,}", "judged wrong, label not changed"),
        *_removals(review),
    ]


def _removals(review: Review) -> list[Figure]:
    if not review.to_remove:
        return []
    still = review.verdicts.get(Decision.REMOVE, 0)
    return [Figure("To be removed", f"{review.to_remove:,}", f"{still:,} still in this version")]


def _about_removals(review: Review) -> list[str]:
    if review.removal_sentence is None:
        return []
    return [
        f"{review.removal_sentence} They are not label issues, and count neither as wrong nor as fine: shares of wrong "
        "labels are those of the rows that stay."
    ]


def _precision(precision: Precision | None) -> list[Figure]:
    if precision is None:
        return []
    return [Figure("Measured precision", percent(precision.estimate), f"of the flags; {_limits(precision)}")]


def _error_rate(rate: ErrorRate | None) -> list[Figure]:
    if rate is None:
        return []
    return [Figure("Measured wrong", percent(rate.estimate), f"of the scored labels; {_limits(rate)}")]


def _about_precision(precision: Precision | None) -> list[str]:
    if precision is None:
        return []
    text = (
        f"Measured precision: of {precision.wrong + precision.fine:,} flagged rows judged wrong or fine so far, "
        f"{precision.wrong:,} were wrong ({_left_out(precision)} left out). Reviewers often "
        "start with the most doubtful rows, so the precision of the other flags may be lower."
    )
    random = precision.random
    if random is not None:
        text += (
            f" Among randomly sampled flags it is {percent(random.estimate)} ({_limits(random)}, "
            f"{random.wrong + random.fine:,} rows)."
        )
    return [text]


def _left_out(precision: Precision) -> str:
    removed = f" and {precision.remove:,} to be removed" if precision.remove else ""
    return f"{precision.ambiguous:,} ambiguous ones{removed}"


def _about_error_rate(rate: ErrorRate | None) -> list[str]:
    if rate is None:
        return []
    parts = ", ".join(f"{one.judged:,} of {one.rows:,} {_rows_of(one.name)}" for one in rate.strata)
    text = f"Measured share of wrong labels: from verdicts on a random sample, {parts}."
    if rate.with_ambiguous is not None and any(one.ambiguous for one in rate.strata):
        wide = rate.with_ambiguous
        text += f" If ambiguous labels count as wrong, it is {percent(wide.estimate)} ({_limits(wide)})."
    if any(one.remove for one in rate.strata):
        text += " It is the share among the rows that stay, without those that are to be removed."
    if not rate.same_version:
        text += f" The sample is from version {rate.version}, which has other rows or labels. The gate does not use it."
    return [text]


def _rows_of(stratum: str) -> str:
    return f"rows with {stratum}" if stratum.startswith("p_wrong") else f"{stratum} rows"


def _limits(interval: Estimate) -> str:
    return f"95\N{NO-BREAK SPACE}% interval {percent(interval.low)} to {percent(interval.high)}"
