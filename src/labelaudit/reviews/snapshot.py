"""What people had decided about a dataset when an audit was planned, and which rows it applies to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from labelaudit.data.values import repeated
from labelaudit.detection.judged_sample import JudgedSample
from labelaudit.findings import ErrorRate, Precision, Review
from labelaudit.reviews.measures import measure
from labelaudit.reviews.records import from_json
from labelaudit.reviews.sampling import Sample
from labelaudit.reviews.verdicts import Answer, LabeledExample, Verdict, current
from labelaudit.schemas import Decision
from labelaudit.storage.manifest import dump_json

_Names = Sequence[str | None] | npt.NDArray[np.object_]


class RowVerdicts(NamedTuple):
    """The verdicts that apply to N rows."""

    verdicts: npt.NDArray[np.object_]  # (N,) of str; None without a verdict
    right_labels: npt.NDArray[np.object_]  # (N,) of str; None unless the verdict is `wrong`
    counts: dict[str, int]  # verdicts that apply to at least one row, by decision

    @property
    def is_fine(self) -> npt.NDArray[np.bool_]:
        """(N,), rows whose label a person confirmed."""
        return np.asarray(self.verdicts == Decision.FINE.value, dtype=bool)

    @property
    def is_wrong(self) -> npt.NDArray[np.bool_]:
        """(N,), rows whose label a person judged wrong."""
        return np.asarray(self.verdicts == Decision.WRONG.value, dtype=bool)


@dataclass(frozen=True)
class JudgedStratum:
    """A stratum of a random sample: its number of rows, and the drawn rows that count."""

    rows: int
    judged: tuple[LabeledExample, ...]


@dataclass(frozen=True)
class _SnapshotFile:
    # example_id, content_digest, given_label, verdict, right_label
    decisions: list[tuple[str, str | None, str, Decision, str | None]]
    precision: Precision | None
    error_rate: ErrorRate | None
    sample: tuple[JudgedStratum, ...] = ()


_SNAPSHOT_FILE = TypeAdapter(_SnapshotFile)


@dataclass(frozen=True)
class ReviewSnapshot:
    """The current verdicts on a dataset, without reviewers and times, and what they measure for one version."""

    answers: dict[LabeledExample, Answer]
    precision: Precision | None = None
    error_rate: ErrorRate | None = None
    sample: tuple[JudgedStratum, ...] = ()  # behind `error_rate`; empty if it is of another version

    @classmethod
    def of(cls, verdicts: Iterable[Verdict], samples: Iterable[Sample], fingerprint: str) -> ReviewSnapshot:
        """Return the snapshot of all verdicts and samples, in any order, for the version with this fingerprint."""
        reviewed = current(verdicts)
        answers = {example: verdict.answer for example, verdict in reviewed.items()}
        found = measure(reviewed, samples, fingerprint)
        strata = () if found.sample is None else found.sample.strata
        judged = tuple(JudgedStratum(one.rows, one.sampled[: len(one.reviewed(reviewed))]) for one in strata)
        return cls(answers, found.precision, found.error_rate, judged)

    def judged_sample(self, example_ids: _Names, digests: _Names, given_labels: _Names) -> JudgedSample | None:
        """Return the verdicts on randomly drawn rows among the M scored rows of the version.

        Rows judged ambiguous count as not wrong. If a drawn row is not among the scored rows, the sample is of other
        rows, and the result is None. So it is if there is no sample of this version.
        """
        if not self.sample:
            return None
        wanted = {example.example_id for stratum in self.sample for example in stratum.judged}
        positions: dict[tuple[str | None, ...], int] = {
            (example_id, digests[row], given_labels[row]): row
            for row, example_id in enumerate(example_ids)
            if example_id in wanted
        }
        drawn = [(number, example) for number, stratum in enumerate(self.sample) for example in stratum.judged]
        if any(tuple(example) not in positions for _, example in drawn):
            return None
        return JudgedSample(
            positions=np.array([positions[tuple(example)] for _, example in drawn], np.int64),
            is_wrong=np.array([self.answers[example].verdict == Decision.WRONG for _, example in drawn], bool),
            stratum=np.array([number for number, _ in drawn], np.int64),
            rows=np.array([stratum.rows for stratum in self.sample], np.int64),
        )

    def for_rows(self, example_ids: _Names, digests: _Names, given_labels: _Names) -> RowVerdicts:
        """Return the verdicts on N rows: those on the same id, content and given label."""
        if not self.answers:
            none = repeated(None, len(example_ids))
            return RowVerdicts(none, none, dict.fromkeys(Decision, 0))
        verdicts = np.full(len(example_ids), None, dtype=object)
        right_labels = verdicts.copy()
        ids = {example.example_id for example in self.answers}
        found = {}
        for row, example_id in enumerate(example_ids):
            if example_id not in ids:
                continue
            key = (example_id, digests[row], given_labels[row])
            answer = self.answers.get(key)  # type: ignore[call-overload]  # a LabeledExample equals this tuple
            if answer is not None:
                verdicts[row], right_labels[row] = answer.verdict.value, answer.right_label
                found[key] = answer.verdict
        counts = Counter(found.values())
        return RowVerdicts(verdicts, right_labels, {decision.value: counts[decision] for decision in Decision})

    def findings(self, rows: RowVerdicts, *, dismissed: int) -> Review:
        """Return what an audit says about its review.

        Args:
            rows: The verdicts on all rows of the version.
            dismissed: The number of flags of the detector on rows that were reviewed as fine.
        """
        return Review(
            verdicts=rows.counts,
            ended=len(self.answers) - sum(rows.counts.values()),
            dismissed=dismissed,
            known_wrong=rows.counts[Decision.WRONG],
            precision=self.precision,
            error_rate=self.error_rate,
        )

    def to_json(self) -> bytes:
        """Return the snapshot as JSON. The bytes do not depend on the order of the verdicts."""
        rows = [[*example, *answer] for example, answer in self.answers.items()]
        rows.sort(key=lambda row: [(value is not None, value or "") for value in row])
        measures = {"precision": self.precision, "error_rate": self.error_rate}
        record: dict[str, object] = {"decisions": rows, **{name: one and asdict(one) for name, one in measures.items()}}
        # Left out if empty: the digest of the record is part of the id of audits that have no sample.
        if self.sample:
            record["sample"] = [asdict(stratum) for stratum in self.sample]
        return dump_json(record)

    @classmethod
    def from_json(cls, data: bytes) -> ReviewSnapshot:
        """Return the snapshot of `to_json`.

        Raises:
            ReviewError: if the data is something else.
        """
        stored = from_json(_SNAPSHOT_FILE, data)
        answers = {LabeledExample(*row[:3]): Answer(*row[3:]) for row in stored.decisions}
        return cls(answers, stored.precision, stored.error_rate, stored.sample)
