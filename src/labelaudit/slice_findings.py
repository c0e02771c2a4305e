"""What is found about the values of the columns in `dataset.slices`, in one audit and since another one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SliceRatio:
    """One value of a column, compared with all other values of the column: a row of `slices.parquet`."""

    column: str
    value: str
    scored: int
    share: float | None  # of wrong labels, 0..1; None if no row is scored
    ratio: float | None  # of this share to that of the others with the same given labels
    low: float | None
    high: float | None
    flag_ratio: float | None


@dataclass(frozen=True)
class Slices:
    """The columns in `dataset.slices`. A value is worse if it has more wrong labels than the others, beyond chance."""

    values: dict[str, int]  # number of values by column
    tested: int  # values with enough rows to test
    worse: int
    worst: tuple[SliceRatio, ...]  # the first of them, the largest `low` first


@dataclass(frozen=True)
class SliceChange:
    """A value whose comparison with the others changed since another audit."""

    change: str  # a schemas.SliceState
    before: SliceRatio | None
    now: SliceRatio | None


@dataclass(frozen=True)
class SliceChanges:
    """What changed among the values of the columns that both audits compare."""

    counts: dict[str, int]  # by schemas.SliceState
    listed: tuple[SliceChange, ...]  # the first of each
