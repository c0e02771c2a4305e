"""How the numbers of an audit were found, in words for the page."""

from __future__ import annotations

from labelaudit.findings import NoiseKind, Promise, RateBasis, Summary
from labelaudit.shares import percent

_KINDS = {
    NoiseKind.HARD_EXAMPLES: "labels look wrong mostly where examples are hard to tell apart",
    NoiseKind.ANY_EXAMPLES: "labels look wrong regardless of how hard the example is",
    NoiseKind.UNKNOWN: "the probabilities do not show it",
}


def basis_paragraphs(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Return what the numbers rest on, as pairs of a term and its explanation. There are none for earlier releases."""
    noise = summary.noise
    if noise is None or not summary.scored:
        return ()
    certainty = "" if noise.kind == NoiseKind.UNKNOWN else f" (certainty {percent(noise.certainty)})"
    return (
        ("Share of wrong labels", _range_basis(summary)),
        ("Kind of noise", f"{_capital(_KINDS[noise.kind])}{certainty}. {noise.sentence}"),
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
    return (
        "The range comes from predicted probabilities, which cannot fully separate wrong labels from a model's own "
        "errors. Review a random sample to measure the share."
    )


def _flags(summary: Summary) -> str:
    promise = summary.promise or Promise()
    if summary.cut is None:
        rule = "A filter of cleanlab chose the flags"
    elif promise.precision is not None:
        rule = f"As many rows as possible are flagged, so that {percent(promise.precision)} of them are expected wrong"
    elif promise.recall is not None:
        rule = (
            f"As few rows as possible are flagged, so that they contain {percent(promise.recall)} of the wrong labels"
        )
    else:
        rule = "Rows are flagged where the expected balance of precision and recall (F1) is best"
    at = "" if summary.cut is None or not summary.issues else f", from {percent(summary.cut)} likely wrong"
    precision = summary.flag_precision
    expected = "" if precision is None else f" The expected precision of the flags is {percent(precision)}."
    return f"{rule}{at}.{expected}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
