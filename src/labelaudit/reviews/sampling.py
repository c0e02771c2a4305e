"""Random samples of rows to review: the same for one version and seed; a small sample is the start of a larger one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from labelaudit.errors import ReviewError
from labelaudit.reviews.verdicts import LabeledExample, Verdict

FLAGGED = "flagged"
UNFLAGGED = "unflagged"
# In the sample of this seed, this many rows of each stratum have previews, in addition to the worst flags.
DEFAULT_SEED = 0
PREVIEWED_ROWS = 200

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
    digests = []
    for example_id in example_ids:
        hasher = base.copy()
        hasher.update(b"\0" + example_id.encode())
        digests.append(hasher.digest())
    order: npt.NDArray[np.int64] = np.argsort(np.frombuffer(b"".join(digests), dtype=">u8"), kind="stable")
    return order


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
    """The flagged or the other scored rows of an audit, and those that were drawn.

    Raises:
        ReviewError: if a row was drawn twice, or more rows than there are.
    """

    name: str  # FLAGGED or UNFLAGGED, by the detector, even if a reviewer dismissed the flag
    rows: int
    sampled: tuple[LabeledExample, ...]  # in review order

    def __post_init__(self) -> None:
        if len(set(self.sampled)) != len(self.sampled) or len(self.sampled) > self.rows:
            raise ReviewError(
                f"{len(self.sampled)} rows are drawn from {self.rows}, but each row can be drawn only once"
            )

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
