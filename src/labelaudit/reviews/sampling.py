"""Random samples of rows that people judge: the same for one version and seed, a small one the start of a larger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt

from labelaudit.errors import ReviewError
from labelaudit.reviews.records import checked_fields
from labelaudit.reviews.verdicts import Judged, Verdict

FLAGGED = "flagged"
UNFLAGGED = "unflagged"
# Of the sample of this seed so many rows of either stratum have previews, besides the worst flags.
DEFAULT_SEED = 0
PREVIEWED_ROWS = 200

Row = TypeVar("Row")


def review_order(example_ids: Iterable[str], fingerprint: str, seed: int) -> npt.NDArray[np.int64]:
    """(N,) int64: positions of the ids in a random-looking order that only ids, version and seed decide.

    The first n of the order are a simple random sample without replacement, and the start of every larger one. It is a
    sort by keyed hashes, so that ids that are added or left out do not change the order of the others.

    fingerprint: of the version. In the next one the same rows must not come first: those were judged and corrected,
    and say nothing about the labels of the others.
    """
    base = blake2b(f"{fingerprint} {seed}".encode(), digest_size=8, person=b"labelaudit view")
    digests = []
    for example_id in example_ids:
        hasher = base.copy()
        hasher.update(b"\0" + example_id.encode())
        digests.append(hasher.digest())
    order: npt.NDArray[np.int64] = np.argsort(np.frombuffer(b"".join(digests), dtype=">u8"), kind="stable")
    return order


def mixed(strata: Sequence[Sequence[Row]], fingerprint: str, seed: int) -> list[Row]:
    """The rows of all strata in an order that does not tell which stratum a row is of.

    Every stratum keeps its order, so that every start of the whole is made of starts of the strata.
    """
    owners = [number for number, rows in enumerate(strata) for _ in rows]
    turns = review_order([f"turn {number}" for number in range(len(owners))], fingerprint, seed)
    left = [iter(rows) for rows in strata]
    return [next(left[owners[turn]]) for turn in turns]


@dataclass(frozen=True)
class SampledStratum:
    """The flagged, or the other scored rows of an audit, and the first ones in the random order."""

    name: str  # FLAGGED or UNFLAGGED, by the detector, whatever people say of its flags
    rows: int
    sampled: tuple[Judged, ...]  # in review order

    def judged(self, verdicts: Mapping[Judged, Verdict]) -> list[Verdict]:
        """Verdicts on the longest start of the order in which every row has one.

        Only such a start is a random sample: which rows are judged beyond the first gap may depend on the rows.
        """
        start = []
        for row in self.sampled:
            if row not in verdicts:
                break
            start.append(verdicts[row])
        return start


@dataclass(frozen=True)
class Sample:
    """Rows of one audit, drawn at random to be judged."""

    created_at: str  # ISO 8601 with microseconds, UTC
    version: str
    audit_id: str
    fingerprint: str  # of the version
    seed: int
    strata: tuple[SampledStratum, ...]

    def shuffled(self) -> list[Judged]:
        """All sampled rows, mixed: who judges the first rows of a file has judged a smaller sample."""
        return mixed([stratum.sampled for stratum in self.strata], self.fingerprint, self.seed)

    def to_record(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Any) -> Sample:
        """The sample of `to_record`. Raises `ReviewError` where the record is none."""
        values = checked_fields(record, {**get_type_hints(cls), "strata": list})
        return cls(**{**values, "strata": tuple(map(_stratum, values["strata"]))})


def _stratum(record: Any) -> SampledStratum:
    values = checked_fields(record, {**get_type_hints(SampledStratum), "sampled": list})
    sampled = tuple(map(_judged, values["sampled"]))
    if len(set(sampled)) != len(sampled) or len(sampled) > values["rows"]:
        raise ReviewError(f"{len(sampled)} rows are drawn of {values['rows']}, where each can be drawn once")
    return SampledStratum(values["name"], values["rows"], sampled)


def _judged(row: Any) -> Judged:
    if not isinstance(row, list) or len(row) != len(Judged._fields):
        raise ReviewError(f"a sampled row is not made of {', '.join(Judged._fields)}")
    return Judged(**checked_fields(dict(zip(Judged._fields, row, strict=True)), _ROW))


_ROW = get_type_hints(Judged)
