"""Shares and ratios in words: percent, the range of an error rate, fractions such as "about 3 in 4", and slices."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from labelaudit.findings import ErrorRange, RateBasis
from labelaudit.slice_findings import SliceRatio

_PERCENT = "\N{NO-BREAK SPACE}%"
# Rounding outward may widen a range by this share of its width. Otherwise it gets one more digit.
_MOST_WIDENED = 0.25
# The printed low end is at least this share of the real one, so that 2.9 % does not become 2 %.
_LEAST_KEPT = Decimal("0.85")
_MOST_DIGITS = 6
# In percent: decimals of a high end say nothing from here on, if the range is at least so wide.
_WHOLE_FROM, _WIDE = 20, 5
# A share is called by the nearest of these.
_FRACTIONS = (
    (0.0, "hardly any"),
    (1 / 20, "about 1 in 20"),
    (1 / 10, "about 1 in 10"),
    (1 / 5, "about 1 in 5"),
    (1 / 4, "about 1 in 4"),
    (1 / 3, "about 1 in 3"),
    (2 / 5, "about 2 in 5"),
    (1 / 2, "about half"),
    (3 / 5, "about 3 in 5"),
    (2 / 3, "about 2 in 3"),
    (3 / 4, "about 3 in 4"),
    (4 / 5, "about 4 in 5"),
    (9 / 10, "about 9 in 10"),
    (1.0, "nearly all"),
)


def percent(share: float) -> str:
    """Return a share as percent, such as `9.1 %`. A share above 0 is never `0 %`, one below 1 never `100 %`."""
    if 0 < share < 0.001:
        return f"<0.1{_PERCENT}"
    if 0.999 < share < 1:
        return f">99.9{_PERCENT}"
    return f"{100 * share:.{0 if share in (0, 1) else 1}f}{_PERCENT}"


def whole_percent(share: float) -> str:
    """Return a share as percent without decimals. A share above 0 is never `0 %`, one below 1 never `100 %`."""
    if 0 < share < 0.005:
        return f"<1{_PERCENT}"
    if 0.995 <= share < 1:
        return f">99{_PERCENT}"
    return f"{100 * share:.0f}{_PERCENT}"


def fraction_in_words(share: float) -> str:
    """Return the fraction nearest to a share, such as `about 3 in 4`."""
    return min(_FRACTIONS, key=lambda fraction: abs(fraction[0] - share))[1]


def rounded_range(low: float, high: float, rows: int) -> tuple[str, str]:
    """Return both limits in percent: low rounded down, high rounded up, so that the printed range contains the range.

    They have as few digits as possible. There is one more if rounding would widen the range by more than a quarter or
    lower its low end by more than 15 %, unless a unit of the last digit is less than one row. The high end of a wide
    range has no decimals from 20 % on.

    Args:
        low, high: shares, 0..1.
        rows: the number of rows they are shares of.
    """
    # The shortest decimal text of a float, so that 0.07 is exactly 7 %.
    limits = [Decimal(repr(share)) * 100 for share in (low, high)]
    for digits in range(_MOST_DIGITS + 1):
        unit = Decimal(1).scaleb(-digits)
        down, up = limits[0].quantize(unit, ROUND_FLOOR), limits[1].quantize(unit, ROUND_CEILING)
        widened = float((up - down) - (limits[1] - limits[0]))
        is_close = widened <= _MOST_WIDENED * 100 * (high - low)
        if (is_close and down >= _LEAST_KEPT * limits[0]) or float(unit) * rows <= 100:
            break
    if limits[1] >= _WHOLE_FROM and limits[1] - limits[0] >= _WIDE:
        up = limits[1].quantize(Decimal(1), ROUND_CEILING)
    return f"{_plain(down)}{_PERCENT}", f"{_plain(up)}{_PERCENT}"


def _plain(value: Decimal) -> str:
    """Return a number without zeros at its end: 4.0 is 4."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short_range(error_range: ErrorRange, rows: int) -> str:
    """Return a range for a table or a figure, such as `5 to 13 %`.

    Args:
        error_range: the share of wrong labels.
        rows: the number of scored rows.
    """
    if error_range.is_single:
        return percent(error_range.estimate)
    low, high = rounded_range(error_range.low, error_range.high, rows)
    if error_range.high * rows < 1:
        return f"0{_PERCENT}"
    if error_range.low * rows < 1:
        return f"at most {high}"
    return high if low == high else f"{low.removesuffix(_PERCENT)} to {high}"


def range_in_words(error_range: ErrorRange, rows: int, labels: str) -> str:
    """Return the beginning of a sentence, such as `Between 5 % and 13 % of 5,000 labels look wrong`.

    Args:
        error_range: the share of wrong labels.
        rows: the number of scored rows.
        labels: what it is a share of, such as `5,000 labels`.
    """
    are = "are" if error_range.basis == RateBasis.VERDICTS else "look"
    if error_range.is_single:
        return f"About {percent(error_range.estimate)} of {labels} {are} wrong"
    if error_range.high * rows < 1:
        return f"Hardly any of {labels} {are} wrong"
    low, high = rounded_range(error_range.low, error_range.high, rows)
    # Less than one row.
    if error_range.low * rows < 1:
        return f"At most {high} of {labels} {are} wrong"
    if low == high:
        return f"{high} of {labels} {are} wrong"
    return f"Between {low} and {high} of {labels} {are} wrong"


def ratio_in_words(one: SliceRatio) -> str:
    """Return text such as `annotator 17: 4.1 times as many wrong labels as the others (95 % interval 3.0 to 5.4)`."""
    flags = "" if one.flag_ratio is None else f", and {times(one.flag_ratio)} times as many flags"
    return (
        f"{slice_name(one)}: {times(one.ratio)} times as many wrong labels as the others "
        f"(95\N{NO-BREAK SPACE}% interval {interval(one)}){flags}"
    )


def slice_name(one: SliceRatio) -> str:
    return f"{one.column} {one.value}"


def interval(one: SliceRatio) -> str:
    """Return text such as `3.0 to 5.4`."""
    return f"{times(one.low)} to {times(one.high)}"


def times(ratio: float | None) -> str:
    """Return a ratio with two digits, such as `4.1`, `0.35` or `12`."""
    if ratio is None:
        return "-"
    if ratio >= 99.5:
        return "over 99"
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.995 else f"{ratio:.2f}"
