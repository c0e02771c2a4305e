"""What the page says about how its numbers were found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labelaudit.findings import Annotators, ErrorRange, Noise, NoiseKind, Promise, RateBasis, Summary
from labelaudit.report.basis import basis_paragraphs
from support.contents import make_content


def said(summary: Summary) -> dict[str, str]:
    return {term: words.replace("\N{NO-BREAK SPACE}", " ") for term, words in basis_paragraphs(summary)}


def test_what_is_found_and_assumed() -> None:
    summary = make_content().summary
    words = said(summary)
    assert words["Kind of noise"] == (
        "More errors on examples that are hard to classify (certainty 90.0 %). "
        "Hard examples are assumed to have more errors."
    )
    assert words["Share of wrong labels"].startswith("The range comes from predicted probabilities")
    unknown = replace(summary, noise=Noise(NoiseKind.UNKNOWN, 0.5, "Too few rows."))
    assert said(unknown)["Kind of noise"] == "Unknown. Too few rows."
    measured = replace(summary, error_range=ErrorRange(0.1, 0.05, 0.2, RateBasis.VERDICTS))
    assert said(measured)["Share of wrong labels"] == (
        "Reviewers judged a random sample of this version. The range is a 95 % interval."
    )


@pytest.mark.parametrize(
    ("promise", "cut", "words"),
    [
        (
            None,
            0.5,
            "Rows are flagged if they are at least 50.0 % likely to be wrong. This cut has the best expected balance "
            "of precision and recall (F1). The expected precision of the flags is 75.0 %.",
        ),
        (
            Promise(precision=0.75),
            0.5,
            "As many rows as possible are flagged so that 75.0 % of them are expected to be wrong: from 50.0 % likely "
            "wrong. The expected precision of the flags is 75.0 %.",
        ),
        (
            Promise(recall=0.9),
            0.5,
            "As few rows as possible are flagged so that 90.0 % of the wrong labels are expected among them: from "
            "50.0 % likely wrong. The expected precision of the flags is 75.0 %.",
        ),
        (None, None, "A filter of cleanlab chose the flags. The expected precision of the flags is 75.0 %."),
    ],
)
def test_how_rows_are_flagged(promise: Promise | None, cut: float | None, words: str) -> None:
    assert said(replace(make_content().summary, promise=promise, cut=cut))["Flags"] == words


def test_a_clean_set_has_no_cut_and_an_earlier_release_no_words() -> None:
    clean = make_content(flag_every=0).summary
    assert said(clean)["Flags"] == "No row is likely enough to be wrong to be flagged."
    assert basis_paragraphs(replace(clean, noise=None)) == ()


def test_answers_of_annotators_are_named() -> None:
    found = Annotators(3, 30, 10, 1, 0, 0.8, 0, True)
    assert (
        "counts two answers as one" in said(replace(make_content().summary, annotators=found))["Share of wrong labels"]
    )
