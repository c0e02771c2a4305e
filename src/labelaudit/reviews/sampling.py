"""Random samples of rows to review: the same for one version and seed; a small sample is the start of a larger one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from labelaudit.detection.p_wrong_strata import allocation, strata_by_p_wrong
from labelaudit.errors import ReviewError
from labelaudit.reviews.verdicts import LabeledExample, Verdict
from labelaudit.strings import Strings

FLAGGED = "flagged"
UNFLAGGED = "unflagged"
# In a sample of this seed with at most this many rows, every row has a preview.
DEFAULT_SEED = 0
PREVIEWED_ROWS = 400

_Row = TypeVar("_Row")


def review_order(example_ids: Iterable[str], fingerprint: str, seed: int) -> npt.NDArray[np.int64]:
    """Return the positions of the ids in a random order that depends only on ids, version and seed.

    The first n positions are a simple random sample without replacement, and the start of every larger sample. The
    order is a sort by keyed hashes, so ids that are added or left out do not change the order of the others.

    Args:
        example_ids: N ids.
        fingerprint: The fingerprint of the version. Each version has its own order, because rows that were reviewed
            and corrected say nothing about the other labels.
        seed: The seed.

    Returns:
        (N,) int64.
    """
    base = blake2b(f"{fingerprint} {seed}".encode(), digest_size=8, person=b"labelaudit view")
    digests = bytearray()
    for example_id in example_ids:
        hasher = base.copy()
        hasher.update(b"\0" + example_id.encode())
        digests += hasher.digest()
    order: npt.NDArray[np.int64] = np.argsort(np.frombuffer(digests, dtype=">u8"), kind="stable")
    return order


class DrawnStratum(NamedTuple):
    """A stratum of the scored rows of an audit, and the rows to draw from it."""

    name: str
    rows: npt.NDArray[np.int64]  # positions of all its rows
    drawn: int  # rows to draw


def strata_to_draw(
    p_wrong: npt.NDArray[np.floating] | None, was_flagged: npt.NDArray[np.bool_], count: int
) -> list[DrawnStratum]:
    """Return the strata of M scored rows, and how many rows to draw from each: `count` in all, if there are so many.

    Args:
        p_wrong: (M,) p_wrong without verdicts. None for audits of earlier releases: the strata are then the flagged and
            the other rows, half of the sample each.
        was_flagged: (M,) flagged by the detector, even if a reviewer dismissed the flag.
        count: The rows to draw.
    """
    if p_wrong is None:
        flagged, others = np.flatnonzero(was_flagged), np.flatnonzero(~was_flagged)
        first = min(len(flagged), max((count + 1) // 2, count - len(others)))
        return flag_strata(was_flagged, first, count - first)
    found = strata_by_p_wrong(p_wrong)
    counts = allocation(found.strata, count)
    return [
        DrawnStratum(stratum.name, np.flatnonzero(found.numbers == number), drawn)
        for number, (stratum, drawn) in enumerate(zip(found.strata, counts, strict=True))
    ]


def flag_strata(was_flagged: npt.NDArray[np.bool_], flagged: int, unflagged: int) -> list[DrawnStratum]:
    """Return the flagged and the other rows as strata, and how many rows to draw from them."""
    return [
        DrawnStratum(FLAGGED, np.flatnonzero(was_flagged), flagged),
        DrawnStratum(UNFLAGGED, np.flatnonzero(~was_flagged), unflagged),
    ]


def drawn_positions(
    strata: Sequence[DrawnStratum],
    example_ids: Sequence[str],
    fingerprint: str,
    seed: int,
) -> list[list[int]]:
    """Return the positions of the rows that are drawn from each stratum, in review order."""
    ids = example_ids if isinstance(example_ids, Strings) else Strings(example_ids)
    return [
        stratum.rows[order[: stratum.drawn]].tolist()
        for stratum in strata
        for order in [review_order(ids[stratum.rows], fingerprint, seed)]
    ]


def mixed(strata: Sequence[Sequence[_Row]], fingerprint: str, seed: int) -> list[_Row]:
    """Return the rows of all strata in an order that does not reveal the stratum of a row.

    Each stratum keeps its order, so every start of the result consists of starts of the strata.
    """
    owners = [number for number, rows in enumerate(strata) for _ in rows]
    turns = review_order([f"turn {number}" for number in range(len(owners))], fingerprint, seed)
    left = [iter(rows) for rows in strata]
    return [next(left[owners[turn]]) for turn in turns]


@dataclass(frozen=True)
class SampledStratum:
    """A part of the scored rows of an audit, and those that were drawn.

    Flags are those of the detector, even if a reviewer dismissed them.

    Raises:
        ReviewError: if a row was drawn twice, more rows than there are, or flags do not fit the rows.
    """

    name: str  # such as "p_wrong 0.5 to 1", or FLAGGED or UNFLAGGED
    rows: int
    sampled: tuple[LabeledExample, ...]  # in review order
    # The flagged rows of the stratum, and whether each sampled row is flagged. None and empty if the name says it.
    flagged_rows: int | None = None
    is_flagged: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if self.flagged_rows is not None and len(self.is_flagged) != len(self.sampled):
            raise ReviewError(f"{len(self.sampled)} rows are drawn, but {len(self.is_flagged)} of them have flags")
        if len(set(self.sampled)) != len(self.sampled) or len(self.sampled) > self.rows:
            raise ReviewError(
                f"{len(self.sampled)} rows are drawn from {self.rows}, but each row can be drawn only once"
            )

    @property
    def flags(self) -> tuple[bool, ...]:
        """Whether each sampled row is flagged."""
        return self.is_flagged if self.flagged_rows is not None else (self.name == FLAGGED,) * len(self.sampled)

    @property
    def flags_in_all(self) -> int:
        """The flagged rows of the stratum."""
        if self.flagged_rows is not None:
            return self.flagged_rows
        return self.rows if self.name == FLAGGED else 0

    def reviewed(self, verdicts: Mapping[LabeledExample, Verdict]) -> list[Verdict]:
        """Return the verdicts on the longest start of the order in which every row has one.

        Only such a start is a random sample: which rows have verdicts after the first gap may depend on the rows.
        """
        start = []
        for row in self.sampled:
            if row not in verdicts:
                break
            start.append(verdicts[row])
        return start


@dataclass(frozen=True)
class Sample:
    """Rows of one audit, drawn at random for review."""

    created_at: str  # ISO 8601 with microseconds, UTC
    version: str
    audit_id: str
    fingerprint: str  # of the version
    seed: int
    strata: tuple[SampledStratum, ...]

    def shuffled(self) -> list[LabeledExample]:
        """Return all sampled rows, mixed. The first rows of a file are a smaller sample."""
        return mixed([stratum.sampled for stratum in self.strata], self.fingerprint, self.seed)
