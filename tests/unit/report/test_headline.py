"""The headline in every case."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from labelaudit.codec import from_record
from labelaudit.findings import (
    ErrorRange,
    Findings,
    Noise,
    NoiseKind,
    Promise,
    RateBasis,
    Review,
)
from labelaudit.report.headline import headline
from labelaudit.schemas import CONFUSIONS

MEASURED = ErrorRange(0.05, 0.0412, 0.0618, RateBasis.VERDICTS)
STRATA = [
    {"name": name, "rows": rows, "sampled": judged, "judged": judged, "wrong": 1, "fine": judged - 1, "ambiguous": 0}
    for name, rows, judged in (("flagged", 412, 100), ("unflagged", 4588, 140))
]
RATE = {
    "estimate": 0.05,
    "low": 0.0412,
    "high": 0.0618,
    "confidence": 0.95,
    "with_ambiguous": None,
    "version": "v1",
    "audit_id": "a",
    "fingerprint": "f",
    "seed": 0,
    "sampled_at": "2026-01-01T00:00:00+00:00",
    "strata": STRATA,
    "same_version": True,
}
REVIEW = {"verdicts": {}, "ended": 0, "dismissed": 0, "known_wrong": 0, "precision": None, "error_rate": RATE}


def said(
    issues: int = 412,
    limits: tuple[float, float] = (0.052, 0.128),
    precision: float | None = 0.74,
    counts: dict[str, int] | None = None,
    pairs: tuple[tuple[str, str], ...] = (("cat", "dog"), ("dog", "cat")),
    **values: Any,
) -> str:
    found = ErrorRange(sum(limits) / 2, *limits, RateBasis.PROBABILITIES)
    findings = Findings(
        **{
            "issues": issues,
            "error_range": found,
            "noise": Noise(NoiseKind.HARD_EXAMPLES, 0.9, "x"),
            "flag_precision": precision,
            **values,
        }
    )
    records = [
        {"given_label": given, "suggested_label": other, "examples": max(issues - place, 0)}
        for place, (given, other) in enumerate(pairs)
    ]
    confusions = pa.Table.from_pylist(records, schema=CONFUSIONS)
    return headline(findings, counts or {"scored": 5000}, confusions).replace("\N{NO-BREAK SPACE}", " ")


def test_the_usual_sentence() -> None:
    assert said() == (
        "Between 5 % and 13 % of 5,000 labels look wrong; 412 are flagged, about 3 in 4 of them correctly "
        "(most often cat → dog)."
    )


def test_a_clean_set() -> None:
    sentence = said(0, (0.0, 0.003), None, {"scored": 10_000})
    assert sentence == "At most 0.3 % of 10,000 labels look wrong; none is flagged."


@pytest.mark.parametrize(("precision", "word"), [(0.9, "probably"), (0.3, "perhaps")])
def test_one_flag(precision: float, word: str) -> None:
    assert said(1, precision=precision, pairs=(("cat", "dog"),)) == (
        f"Between 5 % and 13 % of 5,000 labels look wrong; 1 is flagged, {word} correctly (cat → dog)."
    )


def test_with_verdicts() -> None:
    review = from_record(Review, REVIEW)
    assert said(error_range=MEASURED, review=review) == (
        "Between 4.1 % and 6.2 % of 5,000 labels are wrong (95 % interval from 240 reviewed rows); 412 are flagged, "
        "about 3 in 4 of them correctly (most often cat → dog)."
    )
    # A sample of another version is not what the range rests on.
    assert "interval" not in said(review=review)


@pytest.mark.parametrize(
    ("issues", "promise", "words"),
    [
        (412, Promise(precision=0.8), "412 are flagged so that 80 % of them are expected to be wrong"),
        (
            412,
            Promise(recall=0.875),
            "412 are flagged so that 87.5 % of the wrong labels are expected among them, about 3 in 4 of them "
            "correctly",
        ),
        (
            0,
            Promise(precision=0.8),
            "none is flagged, because no list of labels is expected to be 80 % wrong",
        ),
    ],
)
def test_a_promise(issues: int, promise: Promise, words: str) -> None:
    pair = " (most often cat → dog)" if issues else ""
    precision = 0.74 if issues else None
    assert said(issues, precision=precision, promise=promise) == (
        f"Between 5 % and 13 % of 5,000 labels look wrong; {words}{pair}."
    )


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            {"scored": 600, "unlabeled": 300, "unreadable": 100},
            "Only 600 of 1,000 rows (60.0 %) could be scored. Among these, between 5 % and 13 % of 600 labels look "
            "wrong; 412 are flagged, about 3 in 4 of them correctly (most often cat → dog).",
        ),
        ({"unlabeled": 90}, "None of the 90 rows could be scored."),
    ],
)
def test_few_or_no_scored_rows(counts: dict[str, int], sentence: str) -> None:
    assert said(counts=counts) == sentence


def test_names_in_a_headline_are_short_and_turn_nothing() -> None:
    sentence = said(pairs=(("\u202eevil\u2066", "long " * 500),))
    assert "evil" in sentence
    assert not set(sentence) & set("\u202e\u2066")
    assert len(sentence) < 260
