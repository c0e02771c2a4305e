"""What people had decided about a dataset when an audit was prepared, and what of it holds for the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from labelaudit.reviews.measures import measure
from labelaudit.reviews.sampling import Sample
from labelaudit.reviews.verdicts import Judged, Verdict, newest
from labelaudit.schemas import Decision

Names = Sequence[str | None] | npt.NDArray[np.object_]


class Decided(NamedTuple):
    """A verdict without who gave it, and when."""

    verdict: Decision
    right_label: str | None


class Marks(NamedTuple):
    """What was decided on N rows, and for how many decisions a row was found."""

    verdicts: npt.NDArray[np.object_]  # (N,) of str, None where nothing holds
    right_labels: npt.NDArray[np.object_]  # (N,)
    holding: dict[str, int]  # by decision

    @property
    def is_fine(self) -> npt.NDArray[np.bool_]:
        """(N,), rows whose label a person confirmed."""
        return np.asarray(self.verdicts == Decision.FINE.value, dtype=bool)


@dataclass(frozen=True)
class Known:
    """Decisions that stand, and what they measure of one version."""

    decisions: dict[Judged, Decided]
    precision: dict[str, Any] | None = None  # labelaudit.reviews.measures
    error_rate: dict[str, Any] | None = None

    @classmethod
    def of(cls, verdicts: Iterable[Verdict], samples: Iterable[Sample], fingerprint: str) -> Known:
        """What of all verdicts and samples counts for a version, whatever order they come in."""
        standing = newest(verdicts)
        decisions = {
            judged: Decided(verdict.verdict, verdict.right_label)
            for judged, verdict in standing.items()
            if verdict.verdict is not None
        }
        return cls(decisions, **measure(standing, samples, fingerprint))

    def marks(self, example_ids: Names, digests: Names, given_labels: Names) -> Marks:
        """Decisions on the rows: those on the same id, content and given label."""
        verdicts = np.full(len(example_ids), None, dtype=object)
        right_labels = verdicts.copy()
        ids = {judged.example_id for judged in self.decisions}
        found = {}
        for row, example_id in enumerate(example_ids):
            if example_id not in ids:
                continue
            key = (example_id, digests[row], given_labels[row])
            decided = self.decisions.get(key)  # type: ignore[call-overload]  # a Judged is an ordinary tuple
            if decided is not None:
                verdicts[row], right_labels[row] = decided.verdict.value, decided.right_label
                found[key] = decided.verdict
        counts = Counter(found.values())
        return Marks(verdicts, right_labels, {decision.value: counts[decision] for decision in Decision})

    def findings(self, marks: Marks, *, dismissed: int) -> dict[str, Any]:
        """What an audit says about its review, JSON-able.

        marks: of all rows of the version; dismissed: flags of the detector on rows that were judged fine.
        """
        return {
            "verdicts": marks.holding,
            "ended": len(self.decisions) - sum(marks.holding.values()),
            "dismissed": dismissed,
            "known_wrong": marks.holding[Decision.WRONG],
            "precision": self.precision,
            "error_rate": self.error_rate,
        }

    def to_record(self) -> dict[str, Any]:
        """JSON-able values, the same whatever the order of the decisions."""
        rows = [[*judged, *decided] for judged, decided in self.decisions.items()]
        rows.sort(key=lambda row: [(value is not None, value or "") for value in row])
        return {"decisions": rows, "precision": self.precision, "error_rate": self.error_rate}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Known:
        decisions = {Judged(*row[:3]): Decided(Decision(row[3]), row[4]) for row in record["decisions"]}
        return cls(decisions, record["precision"], record["error_rate"])
