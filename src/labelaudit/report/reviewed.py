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

# Wrong labels on the page. All of them are in examples.parquet.
KNOWN_WRONG_ROWS = 100


@dataclass(frozen=True)
class Figure:
    """A figure of the section, as text."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True)
class ReviewSection:
    """The section of the page on verdicts. `known_wrong` contains the first rows that were judged wrong."""

    figures: Sequence[Figure]
    sentences: Sequence[str]
    known_wrong: Sequence[JsonObject]
    known_wrong_count: int


def review_section(review: Review | None, examples: pa.Table) -> ReviewSection | None:
    """Return the section from the review and EXAMPLES of an audit, or None if there are no verdicts."""
    if review is None or not (sum(review.verdicts.values()) + review.ended):
        return None
    shown = ["example_id", "given_label", "right_label", "label_score", "file", "row"]
    wrong = examples.select(shown).filter(pc.equal(examples["verdict"], Decision.WRONG.value))
    return ReviewSection(
        figures=[*_counts(review), *_precision(review.precision), *_error_rate(review.error_rate)],
        sentences=[
            *_about_precision(review.precision),
            *_about_error_rate(review.error_rate),
            "Judged rows count as wrong or fine in the numbers at the top of the page and in the class table.",
        ],
        known_wrong=wrong.slice(0, KNOWN_WRONG_ROWS).to_pylist(),
        known_wrong_count=len(wrong),
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
        f"{precision.wrong:,} were wrong ({precision.ambiguous:,} ambiguous ones left out). Reviewers often "
        "start with the most doubtful rows, so the precision of the other flags may be lower."
    )
    random = precision.random
    if random is not None:
        text += (
            f" Among randomly sampled flags it is {percent(random.estimate)} ({_limits(random)}, "
            f"{random.wrong + random.fine:,} rows)."
        )
    return [text]


def _about_error_rate(rate: ErrorRate | None) -> list[str]:
    if rate is None:
        return []
    parts = ", ".join(f"{one.judged:,} of {one.rows:,} {_rows_of(one.name)}" for one in rate.strata)
    text = f"Measured share of wrong labels: from verdicts on a random sample, {parts}."
    if rate.with_ambiguous is not None and any(one.ambiguous for one in rate.strata):
        wide = rate.with_ambiguous
        text += f" If ambiguous labels count as wrong, it is {percent(wide.estimate)} ({_limits(wide)})."
    if not rate.same_version:
        text += f" The sample is from version {rate.version}, which has other rows or labels. The gate does not use it."
    return [text]


def _rows_of(stratum: str) -> str:
    return f"rows with {stratum}" if stratum.startswith("p_wrong") else f"{stratum} rows"


def _limits(interval: Estimate) -> str:
    return f"95\N{NO-BREAK SPACE}% interval {percent(interval.low)} to {percent(interval.high)}"
