"""How the numbers of an audit were found, in words for the page."""

from __future__ import annotations

from labelaudit.findings import NoiseKind, Promise, RateBasis, Summary
from labelaudit.shares import percent

_KINDS = {
    NoiseKind.HARD_EXAMPLES: "More errors on examples that are hard to classify",
    NoiseKind.ANY_EXAMPLES: "As many errors on easy examples as on hard ones",
    NoiseKind.UNKNOWN: "Unknown",
}


def basis_paragraphs(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Return what the numbers rest on, as pairs of a term and its explanation. There are none for earlier releases."""
    noise = summary.noise
    if noise is None or not summary.scored:
        return ()
    certainty = "" if noise.kind == NoiseKind.UNKNOWN else f" (certainty {percent(noise.certainty)})"
    return (
        ("Share of wrong labels", _range_basis(summary)),
        ("Kind of noise", f"{_KINDS[noise.kind]}{certainty}. {noise.sentence}"),
        ("Flags", _flags(summary)),
        (
            "Calibration",
            "“Likely wrong” is a calibrated probability: of 100 rows with 80\N{NO-BREAK SPACE}%, about 80 should have "
            "a wrong label. A weak model or unusual noise makes it less exact. Verdicts on a random sample show how "
            "exact it is.",
        ),
    )


def _range_basis(summary: Summary) -> str:
    if summary.error_range.basis == RateBasis.VERDICTS:
        return "Reviewers judged a random sample of this version. The range is a 95\N{NO-BREAK SPACE}% interval."
    if summary.annotators is not None:
        return (
            "The range comes from the answers of annotators and from predicted probabilities. Annotators make the same "
            "mistakes, so its upper end counts two answers as one. It can still be too low. Review a random sample to "
            "measure the share."
        )
    return (
        "The range comes from predicted probabilities, which cannot fully separate wrong labels from a model's own "
        "errors. Review a random sample to measure the share."
    )


def _flags(summary: Summary) -> str:
    if summary.cut is None:
        rule = "A filter of cleanlab chose the flags."
    elif summary.issues:
        rule = _cut_rule(percent(summary.cut), summary.promise or Promise())
    else:
        rule = "No row is likely enough to be wrong to be flagged."
    precision = summary.flag_precision
    return rule if precision is None else f"{rule} The expected precision of the flags is {percent(precision)}."


def _cut_rule(cut: str, promise: Promise) -> str:
    if promise.precision is not None:
        share = f"{percent(promise.precision)} of them are expected to be wrong"
        return f"As many rows as possible are flagged so that {share}: from {cut} likely wrong."
    if promise.recall is not None:
        share = f"{percent(promise.recall)} of the wrong labels are expected among them"
        return f"As few rows as possible are flagged so that {share}: from {cut} likely wrong."
    return (
        f"Rows are flagged if they are at least {cut} likely to be wrong. This cut has the best expected balance of "
        "precision and recall (F1)."
    )
