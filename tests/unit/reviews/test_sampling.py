"""The order of drawing, which rows of a sample count, and files that do not reveal the strata."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ReviewError
from labelaudit.reviews.interval import Stratum, stratified
from labelaudit.reviews.sample_store import sample_bytes, sample_of
from labelaudit.reviews.sampling import (
    FLAGGED,
    UNFLAGGED,
    Sample,
    SampledStratum,
    drawn_positions,
    review_order,
    strata_to_draw,
)
from labelaudit.reviews.verdicts import LabeledExample, current
from support.reviewed import make_verdict

VERSION = "f" * 64
IDS = st.lists(st.text(max_size=8), unique=True, max_size=40)


def row(name: str) -> LabeledExample:
    return LabeledExample(name, "c0", "bee")


def draw(name: str, rows: list[LabeledExample], count: int, seed: int) -> SampledStratum:
    order = review_order((row.example_id for row in rows), VERSION, seed)[:count]
    return SampledStratum(name, len(rows), tuple(rows[position] for position in order))


def make_sample(flagged: int = 30, others: int = 30, seed: int = 0) -> Sample:
    strata = (
        draw(FLAGGED, [row(f"f{number}") for number in range(40)], flagged, seed),
        draw(UNFLAGGED, [row(f"u{number}") for number in range(400)], others, seed),
    )
    return Sample("2026-01-01", "v1", "a1", VERSION, seed, strata)


@given(IDS, st.integers())
def test_the_order_is_a_permutation_that_rows_and_their_order_do_not_change(ids: list[str], seed: int) -> None:
    order = review_order(ids, VERSION, seed)
    assert sorted(order) == list(range(len(ids)))
    ordered = [ids[position] for position in order]
    backwards = ids[::-1]
    assert [backwards[position] for position in review_order(backwards, VERSION, seed)] == ordered
    fewer = ids[::2]
    of_fewer = [fewer[position] for position in review_order(fewer, VERSION, seed)]
    assert of_fewer == [name for name in ordered if name in fewer]


def test_every_row_comes_first_equally_often() -> None:
    ids = [f"i{number}" for number in range(10)]
    first = np.bincount([review_order(ids, VERSION, seed)[0] for seed in range(2000)], minlength=10)
    # Four standard deviations of a count of 2,000 draws with a chance of 1 in 10.
    assert abs(first - 200).max() < 4 * (2000 * 0.1 * 0.9) ** 0.5
    assert (review_order(ids, VERSION, 0) != review_order(ids, VERSION, 1)).any()


def test_each_version_has_an_order_of_its_own() -> None:
    """Two orders agree on a place with a chance of 1 in 1,000, however the fingerprints resemble each other."""
    ids = [f"i{number}" for number in range(1_000)]
    first, second = review_order(ids, VERSION, 0), review_order(ids, VERSION[:-1] + "e", 0)
    assert (first == second).sum() < 10
    assert len(set(first[:100]) & set(second[:100])) < 30


def test_a_sample_of_the_corrected_version_measures_it() -> None:
    """Of 60 flagged rows half are wrong, of 600 others 1 in 10; what the sample of v1 finds is right in v2.

    Each seed is one of somebody who keeps it for both versions.
    """
    strata = {"f": (60, 30, 40), "u": (600, 60, 100)}
    seeds = 200
    covered = 0
    interval = cache(lambda *strata: stratified(strata))
    for seed in range(seeds):
        counted, left = [], 0
        for name, (rows, wrong, count) in strata.items():
            ids = [f"{name}{number}" for number in range(rows)]
            is_wrong = np.arange(rows) < wrong
            is_wrong[review_order(ids, "v1", seed)[:count]] = False
            drawn = review_order(ids, "v2", seed)[:count]
            counted.append(Stratum(rows, count, int(is_wrong[drawn].sum())))
            left += int(is_wrong.sum())
        found = interval(*counted)
        assert found is not None
        covered += found.low <= left / 660 <= found.high
    # Three standard errors of so many draws below 95 %.
    assert covered / seeds > 0.95 - 3 * (0.95 * 0.05 / seeds) ** 0.5


def test_a_small_sample_is_the_start_of_a_larger_one() -> None:
    small, large = make_sample(5, 7), make_sample(20, 400)
    for a, b in zip(small.strata, large.strata, strict=True):
        assert a.sampled == b.sampled[: len(a.sampled)]
        assert a.rows == b.rows
    assert len(make_sample(100).strata[0].sampled) == 40


def test_only_a_start_without_gaps_is_random() -> None:
    stratum = make_sample(4).strata[0]
    verdicts = current(make_verdict(stratum.sampled[position].example_id) for position in (0, 1, 3))
    assert [verdict.example for verdict in stratum.reviewed(verdicts)] == list(stratum.sampled[:2])
    assert stratum.reviewed({}) == []


def test_the_file_mixes_the_strata_and_keeps_their_order() -> None:
    sample = make_sample()
    shuffled = sample.shuffled()
    assert shuffled == make_sample().shuffled()
    for stratum in sample.strata:
        assert [one for one in shuffled if one in stratum.sampled] == list(stratum.sampled)
    kinds = "".join(one.example_id[0] for one in shuffled)
    assert 8 <= kinds[:30].count("f") <= 22
    assert shuffled != make_sample(seed=1).shuffled()


def test_strata_of_an_audit_without_p_wrong_are_its_flags() -> None:
    was_flagged = np.arange(50) < 8
    strata = strata_to_draw(None, was_flagged, 20)
    assert [(one.name, len(one.rows), one.drawn) for one in strata] == [(FLAGGED, 8, 8), (UNFLAGGED, 42, 12)]
    assert [one.drawn for one in strata_to_draw(None, was_flagged, 10)] == [5, 5]
    assert [one.drawn for one in strata_to_draw(None, ~was_flagged, 49)] == [41, 8]


def test_strata_of_p_wrong() -> None:
    p_wrong = np.repeat([0.01, 0.9], [300, 60]).astype(np.float32)
    strata = strata_to_draw(p_wrong, p_wrong > 0.5, 40)
    assert [(one.name, len(one.rows), one.drawn) for one in strata] == [
        ("p_wrong 0 to 0.5", 300, 25),
        ("p_wrong 0.5 to 1", 60, 15),
    ]
    ids = [f"i{number}" for number in range(360)]
    for rows, one in zip(drawn_positions(strata, ids, VERSION, 0), strata, strict=True):
        assert len(set(rows)) == one.drawn
        assert set(rows) <= set(one.rows.tolist())


def test_flags_of_a_stratum() -> None:
    by_flag = make_sample(2, 3)
    assert [(one.flags_in_all, set(one.flags)) for one in by_flag.strata] == [(40, {True}), (0, {False})]
    with pytest.raises(ReviewError, match="2 rows are drawn, but 1 of them have flags"):
        SampledStratum("p_wrong 0 to 1", 9, (row("a"), row("b")), 4, (True,))


def test_a_record_gives_the_same_sample() -> None:
    sample = make_sample(2, 3)
    assert sample_of(sample_bytes(sample)) == sample


STRATUM = {"name": "flagged", "rows": 2, "sampled": [["i1", None, "bee"]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"created_at": 1}, "created_at: Input should be a valid string"),
        ({"version": "\ud800"}, "Invalid JSON: unexpected end of hex escape"),
        ({"seed": 1.5}, "seed: Input should be a valid integer"),
        ({"strata": None}, "strata: Input should be a valid array"),
        ({"strata": [{}]}, "strata.0.name: Field required"),
        ({"strata": [[]]}, "strata.0: Input should be an object"),
        ({"strata": [{**STRATUM, "rows": "many"}]}, "strata.0.rows: Input should be a valid integer"),
        ({"strata": [{**STRATUM, "rows": 0}]}, "1 rows are drawn from 0, but each row can be drawn only once"),
        ({"strata": [{**STRATUM, "sampled": STRATUM["sampled"] * 2}]}, "2 rows are drawn from 2, but each row"),
        (
            {"strata": [{**STRATUM, "sampled": [["i1", "bee"]]}]},
            "strata.0.sampled.0.2: Field required",
        ),
        ({"strata": [{**STRATUM, "sampled": ["iab"]}]}, "strata.0.sampled.0: Input should be an array"),
        (
            {"strata": [{**STRATUM, "sampled": [["i1", None, 7]]}]},
            "strata.0.sampled.0.2: Input should be a valid string",
        ),
    ],
)
def test_a_stored_record_that_is_not_a_sample(change: dict[str, object], message: str) -> None:
    record = {**asdict(make_sample(1, 1)), "strata": [STRATUM]}
    assert sample_of(json.dumps(record).encode()).strata[0].sampled == (LabeledExample("i1", None, "bee"),)
    with pytest.raises(ReviewError, match=re.escape(message)):
        sample_of(json.dumps({**record, **change}).encode())
