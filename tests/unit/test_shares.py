"""Shares in words: a printed range contains the real one, and is hardly wider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.findings import ErrorRange, RateBasis
from labelaudit.shares import fraction_in_words, percent, range_in_words, rounded_range, short_range, whole_percent


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def make_range(low: float, high: float, basis: RateBasis = RateBasis.PROBABILITIES) -> ErrorRange:
    return ErrorRange((low + high) / 2, low, high, basis)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "<0.1 %"), (0.0912, "9.1 %"), (0.9996, ">99.9 %"), (1, "100 %"), (1e-12, "<0.1 %")],
)
def test_percent(share: float, text: str) -> None:
    assert plain(percent(share)) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.004, "<1 %"), (0.006, "1 %"), (0.874, "87 %"), (0.9949, "99 %"), (0.995, ">99 %"), (1, "100 %")],
)
def test_whole_percent(share: float, text: str) -> None:
    assert plain(whole_percent(share)) == text


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "hardly any"),
        (0.04, "about 1 in 20"),
        (0.12, "about 1 in 10"),
        (0.19, "about 1 in 5"),
        (0.26, "about 1 in 4"),
        (0.3, "about 1 in 3"),
        (0.42, "about 2 in 5"),
        (0.5, "about half"),
        (0.59, "about 3 in 5"),
        (0.68, "about 2 in 3"),
        (0.74, "about 3 in 4"),
        (0.81, "about 4 in 5"),
        (0.9, "about 9 in 10"),
        (0.96, "nearly all"),
        (1.0, "nearly all"),
    ],
)
def test_fractions(share: float, words: str) -> None:
    assert fraction_in_words(share) == words


@pytest.mark.parametrize(
    ("low", "high", "rows", "texts"),
    [
        (0.052, 0.128, 5000, ("5 %", "13 %")),  # 8 instead of 7.6 points
        (0.0412, 0.0618, 5000, ("4.1 %", "6.2 %")),  # 4 to 7 would be half as wide again
        (0.0013, 0.0031, 10_000, ("0.13 %", "0.31 %")),
        (0.0291, 0.1231, 5000, ("2.9 %", "12.4 %")),  # 2 instead of 2.9 would be a third less
        (0.0049, 0.2195, 4000, ("0.49 %", "22 %")),
        (0.07, 0.14, 5000, ("7 %", "14 %")),  # 100 * 0.07 is 7.000000000000001 as a float
        (0.0, 0.0027, 10_000, ("0 %", "0.3 %")),
        (0.0, 0.0021, 10_000, ("0 %", "0.21 %")),
        (0.004, 0.09, 10_000, ("0.4 %", "9 %")),  # a low end above 0 is not shown as 0
        (0.52, 1.0, 50, ("52 %", "100 %")),
        (0.333333, 0.34, 12, ("33 %", "34 %")),  # 1 % of 12 rows is less than a row
    ],
)
def test_rounding(low: float, high: float, rows: int, texts: tuple[str, str]) -> None:
    assert tuple(map(plain, rounded_range(low, high, rows))) == texts


@given(st.floats(0, 1), st.floats(0, 1), st.integers(2, 10_000_000))
def test_a_printed_range_contains_the_real_one(first: float, second: float, rows: int) -> None:
    low, high = sorted((first, second))
    down, up = (float(text.removesuffix("\N{NO-BREAK SPACE}%")) for text in rounded_range(low, high, rows))
    assert down <= 100 * low + 1e-9
    assert up >= 100 * high - 1e-9
    # It is wider by a quarter, or by a row at either end. Six digits are the most.
    widened = (up - down) / 100 - (high - low)
    assert widened <= max(0.25 * (high - low), 2 / rows, 2e-8) + 1e-9


@pytest.mark.parametrize(
    ("found", "rows", "words", "short"),
    [
        (make_range(0.052, 0.128), 5000, "Between 5 % and 13 % of N labels look wrong", "5 to 13 %"),
        (
            make_range(0.0412, 0.0618, RateBasis.VERDICTS),
            5000,
            "Between 4.1 % and 6.2 % of N labels are wrong",
            "4.1 to 6.2 %",
        ),
        (make_range(0.0, 0.003), 10_000, "At most 0.3 % of N labels look wrong", "at most 0.3 %"),
        (make_range(0.00005, 0.003), 10_000, "At most 0.3 % of N labels look wrong", "at most 0.3 %"),
        (make_range(0.0, 0.00005), 10_000, "Hardly any of N labels look wrong", "0 %"),
        (make_range(0.0, 0.0), 10_000, "Hardly any of N labels look wrong", "0 %"),
        (make_range(0.375, 0.375), 8, "Between 37 % and 38 % of N labels look wrong", "37 to 38 %"),
        (make_range(0.5, 0.5, RateBasis.VERDICTS), 8, "50 % of N labels are wrong", "50 %"),
        (make_range(0.0912, 0.0912, RateBasis.EARLIER_RELEASE), 5000, "About 9.1 % of N labels look wrong", "9.1 %"),
    ],
)
def test_ranges_in_words(found: ErrorRange, rows: int, words: str, short: str) -> None:
    assert plain(range_in_words(found, rows, "N labels")) == words
    assert plain(short_range(found, rows)) == short
