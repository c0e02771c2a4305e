"""Rows whose inputs are hard to use: the limit of each kind of issue, and the rows beyond it.

A limit has two parts. Beyond the absolute one, an input is bad in itself; the relative one is the fence of the
dataset's own values (`labelaudit.quality.unusual`). A row is listed if it is beyond both, so photographs that were all
taken at night are not a list of dark images. A third limit needs no fence: nothing can be seen or read beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from labelaudit.quality.image_quality import IMAGE_MEASURES
from labelaudit.quality.languages import other_languages
from labelaudit.quality.scripts import SCRIPTS
from labelaudit.quality.text_quality import TextMeasures
from labelaudit.quality.unusual import FEWEST_VALUES, lower_fence
from labelaudit.schemas import InputIssue

# Brightness, 0..1: of the brightest pixels of a dark image, and of the darkest ones of an overexposed image.
_DARK, _BLACK, _BRIGHT = 0.3, 0.05, 0.9
# An image with fewer shades of grey than these shows little; with so few, a single colour.
_FEW_SHADES, _ONE_SHADE = 3.0, 1.05
# Edges are so many times as wide as usual: half of the detail is lost.
_BLUR = 2.0
# As wide, or as high, as three usual images side by side. Most of it is cropped, or it gets bars (`data.image_fit`).
_ASPECT = 3.0
# A side is so many times as long as usual. An image that is enlarged so much is blurred.
_SIDE = 4.0
# Two short words.
_FEW_LETTERS = 10.0
# Texts in a script that fewer texts have are unlike the rest. Shorter ones may be a name or a formula.
_SCRIPT_SHARE, _SCRIPT_LETTERS = 0.1, 5
_MISSING = 0.5
# In fewer columns of numbers, equal values may be chance.
_FEWEST_NUMBERS = 4
# What more rows than this have is normal in the dataset, and not an issue of single rows.
_NORMAL = 0.1
# A table of yes and no has rows of equal numbers by chance.
_NORMAL_CONSTANT = 0.01
# Rows without any visible content may be so many.
_NORMAL_WITHOUT_CONTENT = 0.5


@dataclass(frozen=True)
class FoundIssue:
    """One kind of issue among n inputs.

    Attributes:
        issue: the kind.
        rows: (m,) positions of the inputs that have it.
        values: (m,) what was measured.
        limit: what is usual ends here; NaN if the kind has no limit.
        normal_share: the share of the inputs that have it, if they are too many to be an issue; else 0.
    """

    issue: InputIssue
    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    limit: float
    normal_share: float = 0.0


def image_issues(measures: npt.NDArray[np.float32]) -> list[FoundIssue]:
    """Return the issues of n images: `image_measures`, (n, 8)."""
    column = {name: measures[:, at].astype(np.float64) for at, name in enumerate(IMAGE_MEASURES)}
    widths = column["edge_width"]
    return [
        _below(InputIssue.DARK, column["light"], _DARK, always=_BLACK),
        _above(InputIssue.BRIGHT, column["shade"], _BRIGHT),
        _above(InputIssue.BLURRED, widths, _BLUR * _median(widths)),
        _below(InputIssue.LOW_INFORMATION, column["shades"], _FEW_SHADES, always=_ONE_SHADE),
        *_unlike_usual(InputIssue.ODD_ASPECT_RATIO, column["aspect_ratio"], _ASPECT),
        *_unlike_usual(InputIssue.ODD_SIZE, column["side"], _SIDE),
    ]


def text_issues(measures: TextMeasures, surprise: npt.NDArray[np.float64]) -> list[FoundIssue]:
    """Return the issues of n texts. `surprise` is that of their trigrams, (n,)."""
    letters = measures.letters.astype(np.float64)
    # On a scale of ratios, because the lengths of texts spread over several powers of ten.
    near_empty = _below(InputIssue.NEAR_EMPTY, np.log(letters + 1), np.log(_FEW_LETTERS + 1), always=np.log(1.5))
    return [_on_scale_of_letters(near_empty), _other_script(measures), _other_language(measures, surprise)]


def table_issues(
    missing: npt.NDArray[np.float32], equal: npt.NDArray[np.float32], numbers: npt.NDArray[np.int32]
) -> list[FoundIssue]:
    """Return the issues of n rows of a table.

    Args:
        missing: (n,) shares of the columns that are missing.
        equal: (n,) the number that all columns of numbers have; NaN if there is none.
        numbers: (n,) how many numbers a row has.
    """
    return [
        _above(InputIssue.MOSTLY_MISSING, missing.astype(np.float64), _MISSING),
        replace(_constant(np.where(numbers >= _FEWEST_NUMBERS, equal, np.nan), _NORMAL_CONSTANT), normal_share=0.0),
    ]


def vector_issues(equal: npt.NDArray[np.float32]) -> list[FoundIssue]:
    """Return the issues of n vectors: (n,) the number that all dimensions have; NaN if there is none."""
    return [_constant(equal)]


def _constant(equal: npt.NDArray[np.float32], normal: float = _NORMAL) -> FoundIssue:
    return _listed(InputIssue.CONSTANT, equal.astype(np.float64), ~np.isnan(equal), np.nan, normal)


def _below(issue: InputIssue, values: npt.NDArray[np.float64], limit: float, always: float = -np.inf) -> FoundIssue:
    """Return the rows below the smaller one of a limit and the fence, or below `always`."""
    found = _listed(issue, values, values < (usual := min(limit, lower_fence(values))), usual)
    if usual >= always and not found.normal_share:
        return found
    empty = _listed(issue, values, values < always, always, _NORMAL_WITHOUT_CONTENT)
    return found if not len(empty.rows) and found.normal_share else empty


def _above(issue: InputIssue, values: npt.NDArray[np.float64], limit: float) -> FoundIssue:
    """Return the rows above the larger one of a limit and the fence."""
    found = _below(issue, -values, -limit)
    return FoundIssue(issue, found.rows, -found.values, -found.limit, found.normal_share)


def _unlike_usual(issue: InputIssue, values: npt.NDArray[np.float64], factor: float) -> list[FoundIssue]:
    """Return the rows whose value is smaller or larger than the median by a factor, and beyond the fence of ratios."""
    logs = np.log(values)
    sides = _below(issue, logs, _median(logs) - np.log(factor)), _above(issue, logs, _median(logs) + np.log(factor))
    return [
        FoundIssue(issue, one.rows, np.exp(one.values), float(np.exp(one.limit)), one.normal_share) for one in sides
    ]


def _on_scale_of_letters(found: FoundIssue) -> FoundIssue:
    values, limit = np.expm1(found.values).round(), float(np.expm1(found.limit))
    return FoundIssue(found.issue, found.rows, values, limit, found.normal_share)


def _other_script(measures: TextMeasures) -> FoundIssue:
    """Return the texts whose most frequent script is that of few others."""
    has_script = measures.script > 0
    counts = np.bincount(measures.script[has_script], minlength=len(SCRIPTS))
    shares = counts / max(1, counts.sum())
    is_other = has_script & (shares[measures.script] < _SCRIPT_SHARE) & (measures.letters >= _SCRIPT_LETTERS)
    values = shares[measures.script]
    if len(measures.letters) < FEWEST_VALUES:
        is_other = np.zeros_like(is_other)
    return _listed(InputIssue.OTHER_SCRIPT, values, is_other, _SCRIPT_SHARE)


def _other_language(measures: TextMeasures, surprise: npt.NDArray[np.float64]) -> FoundIssue:
    """Return the texts in the usual scripts whose language is not that of most texts."""
    scripts = np.bincount(measures.script, minlength=len(SCRIPTS)) / max(1, len(measures.script))
    usual = np.flatnonzero(scripts[measures.script] >= _SCRIPT_SHARE)
    samples = measures.sample if len(usual) == len(measures.sample) else measures.sample[usual]
    found = other_languages(samples, surprise[usual])
    values = np.full(len(measures.script), np.nan)
    values[usual[found.rows]] = found.common
    return _listed(InputIssue.OTHER_LANGUAGE, values, ~np.isnan(values), found.limit)


def _listed(
    issue: InputIssue,
    values: npt.NDArray[np.float64],
    is_listed: npt.NDArray[np.bool_],
    limit: float,
    normal: float = _NORMAL,
) -> FoundIssue:
    rows = np.flatnonzero(is_listed)
    # A single row is never what is normal.
    if len(rows) <= max(1, normal * len(values)):
        return FoundIssue(issue, rows, values[rows], limit)
    return FoundIssue(issue, rows[:0], values[:0], limit, len(rows) / len(values))


def _median(values: npt.NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else float("nan")
