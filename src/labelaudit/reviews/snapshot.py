"""What people had decided about a dataset when an audit was planned, and which rows it applies to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from labelaudit.reviews.verdicts import Answer, CurrentVerdicts, LabeledExample, Verdict, current
from labelaudit.schemas import Decision
from labelaudit.storage.manifest import dump_json

_Names = Sequence[str | None] | npt.NDArray[np.object_]


class RowVerdicts(NamedTuple):
    """The verdicts that apply to N rows."""

    verdicts: npt.NDArray[np.object_]  # (N,) of str; None without a verdict
    right_labels: npt.NDArray[np.object_]  # (N,) of str; None unless the verdict is `wrong`
    remove_reasons: npt.NDArray[np.object_]  # (N,) of str; None unless the verdict is `remove`
    counts: dict[str, int]  # verdicts that apply to at least one row, by decision

    @property
    def is_fine(self) -> npt.NDArray[np.bool_]:
        """(N,), rows whose label a person confirmed."""
        return np.asarray(self.verdicts == Decision.FINE.value, dtype=bool)

    @property
    def is_wrong(self) -> npt.NDArray[np.bool_]:
        """(N,), rows whose label a person judged wrong."""
        return np.asarray(self.verdicts == Decision.WRONG.value, dtype=bool)

    @property
    def is_removed(self) -> npt.NDArray[np.bool_]:
        """(N,), rows that a person wants to remove from the dataset."""
        return np.asarray(self.verdicts == Decision.REMOVE.value, dtype=bool)


@dataclass(frozen=True)
class JudgedStratum:
    """A stratum of a random sample: its number of rows, and the drawn rows that count."""

    rows: int
    judged: tuple[LabeledExample, ...]


@dataclass(frozen=True)
class _SnapshotFile:
    # example_id, content_digest, given_label, verdict, right_label, and the reason if it is to be removed
    decisions: list[
        tuple[str, str | None, str, Decision, str | None] | tuple[str, str | None, str, Decision, str | None, str]
    ]
    precision: Precision | None
    error_rate: ErrorRate | None
    sample: tuple[JudgedStratum, ...] = ()


_SNAPSHOT_FILE = TypeAdapter(_SnapshotFile)


@dataclass(frozen=True)
class ReviewSnapshot:
    """The current verdicts on a dataset, without reviewers and times, and what they measure for one version."""

    answers: Mapping[LabeledExample, Answer]  # `CurrentVerdicts`, so that removals are found under every label
    precision: Precision | None = None
    error_rate: ErrorRate | None = None
    sample: tuple[JudgedStratum, ...] = ()  # behind `error_rate`; empty if it is of another version

    @classmethod
    def of(cls, verdicts: Iterable[Verdict], samples: Iterable[Sample], fingerprint: str) -> ReviewSnapshot:
        """Return the snapshot of all verdicts and samples, in any order, for the version with this fingerprint."""
        reviewed = current(verdicts)
        answers = CurrentVerdicts({example: verdict.answer for example, verdict in reviewed.items()})
        found = measure(reviewed, samples, fingerprint)
        strata = () if found.sample is None else found.sample.strata
        judged = tuple(JudgedStratum(one.rows, one.sampled[: len(one.reviewed(reviewed))]) for one in strata)
        return cls(answers, found.precision, found.error_rate, judged)

    def judged_sample(self, example_ids: _Names, digests: _Names, given_labels: _Names) -> JudgedSample | None:
        """Return the verdicts on randomly drawn rows among the M scored rows of the version.

        Rows judged ambiguous or to be removed count as not wrong; the latter are marked. The result is
        None if there is no sample of this version, or if a drawn row is not among the scored rows.
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
        strata = np.array([number for number, _ in drawn], np.int64)
        decisions = [self.answers[example].verdict for _, example in drawn]
        return JudgedSample(
            positions=np.array([positions[tuple(example)] for _, example in drawn], np.int64),
            is_wrong=np.array([decision == Decision.WRONG for decision in decisions], bool),
            stratum=strata,
            rows=np.array([stratum.rows for stratum in self.sample], np.int64),
            judged=np.bincount(strata, minlength=len(self.sample)),
            is_removed=np.array([decision == Decision.REMOVE for decision in decisions], bool),
        )

    def for_rows(self, example_ids: _Names, digests: _Names, given_labels: _Names) -> RowVerdicts:
        """Return the verdicts on N rows: those on the same id, content and given label.

        A removal is about the same id and content, under any label or none. Rows without a label have no other verdict.
        """
        if not self.answers:
            none = repeated(None, len(example_ids))
            return RowVerdicts(none, none, none, dict.fromkeys(Decision, 0))
        verdicts = np.full(len(example_ids), None, dtype=object)
        right_labels, remove_reasons = verdicts.copy(), verdicts.copy()
        ids = {example.example_id for example in self.answers}
        found: dict[tuple[str | None, ...], Decision] = {}
        for row, example_id in enumerate(example_ids):
            if example_id is None or example_id not in ids:
                continue
            example = LabeledExample(example_id, digests[row], given_labels[row] or "")
            answer = self.answers.get(example)
            if answer is not None and answer.verdict is not None:
                verdicts[row], right_labels[row], remove_reasons[row] = (
                    answer.verdict.value,
                    answer.right_label,
                    answer.remove_reason,
                )
                found[example.content if answer.verdict == Decision.REMOVE else example] = answer.verdict
        counts = Counter(found.values())
        by_decision = {decision.value: counts[decision] for decision in Decision}
        return RowVerdicts(verdicts, right_labels, remove_reasons, by_decision)

    def findings(self, rows: RowVerdicts, *, dismissed: int, scored_to_remove: int = 0) -> Review:
        """Return what an audit says about its review.

        Args:
            rows: The verdicts on all rows of the version.
            dismissed: The number of flags of the detector on rows that were reviewed as fine.
            scored_to_remove: The number of scored rows that are to be removed.
        """
        to_remove = sum(answer.verdict == Decision.REMOVE for answer in self.answers.values())
        about_labels = sum(rows.counts.values()) - rows.counts[Decision.REMOVE]
        return Review(
            verdicts=rows.counts,
            # It is unknown whether a removal was carried out or has expired.
            ended=len(self.answers) - to_remove - about_labels,
            dismissed=dismissed,
            known_wrong=rows.counts[Decision.WRONG],
            precision=self.precision,
            error_rate=self.error_rate,
            to_remove=to_remove,
            scored_to_remove=scored_to_remove,
        )

    def to_json(self) -> bytes:
        """Return the snapshot as JSON. The bytes do not depend on the order of the verdicts."""
        # Without the reason if there is none: the digest of the record is part of the id of audits.
        rows = [
            [*example, *answer] if answer.remove_reason else [*example, *answer[:2]]
            for example, answer in self.answers.items()
        ]
        rows.sort(key=lambda row: [(value is not None, value or "") for value in row])
        record: dict[str, object] = {
            "decisions": rows,
            "precision": self.precision and _as_record(self.precision),
            "error_rate": self.error_rate and _as_record(self.error_rate),
        }
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
        return cls(CurrentVerdicts(answers), stored.precision, stored.error_rate, stored.sample)


def _as_record(measure: Precision | ErrorRate) -> object:
    """Return a measure as JSON-able values, without numbers of removals that are 0, as in earlier releases."""
    return _without_no_removals(asdict(measure))


def _without_no_removals(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: _without_no_removals(one) for name, one in value.items() if not (name == Decision.REMOVE and one == 0)
        }
    return [_without_no_removals(one) for one in value] if isinstance(value, list | tuple) else value
