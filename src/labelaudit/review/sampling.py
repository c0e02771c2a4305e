"""Random samples of rows that people judge: the same rows for the same seed, a small one the start of a larger one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

from labelaudit.errors import ReviewError
from labelaudit.review.records import checked_fields
from labelaudit.review.verdicts import Judged, Verdict

FLAGGED = "flagged"
UNFLAGGED = "unflagged"


def review_order(example_ids: Iterable[str], seed: int) -> npt.NDArray[np.int64]:
    """(N,) int64: positions of the ids in a random-looking order that only ids and seed decide.

    The first n of the order are a simple random sample without replacement, and the start of every larger one. It is a
    sort by keyed hashes, so that ids that are added or left out do not change the order of the others.
    """
    base = blake2b(str(seed).encode(), digest_size=8, person=b"labelaudit view")
    digests = []
    for example_id in example_ids:
        hasher = base.copy()
        hasher.update(b"\0" + example_id.encode())
        digests.append(hasher.digest())
    order: npt.NDArray[np.int64] = np.argsort(np.frombuffer(b"".join(digests), dtype=">u8"), kind="stable")
    return order


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
        """All sampled rows in an order that does not tell which are flagged.

        Every start of it is made of starts of the strata, so that who judges the first rows of a file has judged a
        smaller sample.
        """
        strata = [number for number, stratum in enumerate(self.strata) for _ in stratum.sampled]
        turns = review_order([f"turn {number}" for number in range(len(strata))], self.seed)
        rows: list[Iterator[Judged]] = [iter(stratum.sampled) for stratum in self.strata]
        return [next(rows[strata[turn]]) for turn in turns]

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
