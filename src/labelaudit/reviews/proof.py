"""Whether cleaned labels train better models: paired accuracy on the rows that people judged.

Both models predict each judged row without its own label: the row is held out. The truth is the judged label, so
neither the given nor the cleaned labels decide what counts as right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelaudit.codec import to_record
from labelaudit.detection.judged_sample import JudgedSample
from labelaudit.errors import ReviewError
from labelaudit.reviews.interval import CONFIDENCE
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.shares import percent
from labelaudit.storage.layout import proof_key
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store

# Fewer judged rows cannot show a difference of less than about 10 points.
LEAST_JUDGED = 60
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class JudgedRows:
    """The J rows of an audit whose right label is known, among its M scored rows.

    Attributes:
        positions: (J,) among the scored rows.
        labels: (J,) class numbers of the judged labels.
        sample: those that were drawn at random, or None; its positions are among the J rows.
        other_labels: judged rows whose right label is not a class of the audit. They are not among the J rows.
    """

    positions: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    sample: JudgedSample | None
    other_labels: int

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class PairedAccuracy:
    """The share of judged labels that two models predict, and the difference (after - before) with its limits."""

    rows: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    gained: int  # rows that only the second model predicts
    lost: int  # rows that only the first model predicts


@dataclass(frozen=True)
class Proof:
    """What was found when the folds of an audit were trained again on cleaned labels."""

    audit_url: str
    dataset: str
    version: str
    audit_id: str
    created_at: str  # ISO 8601, UTC
    relabel_above: float | None
    remove_above: float | None
    actions: dict[str, int]  # scored rows by `clean_labels.Action`
    training_rows: int  # scored rows that the second models were trained on
    reviewed: PairedAccuracy  # on all judged rows
    sampled: PairedAccuracy | None  # on those of a random sample, weighted; None if there are too few
    other_labels: int  # judged rows that do not count, because their right label is not a class of the audit

    @property
    def headline(self) -> PairedAccuracy:
        return self.reviewed if self.sampled is None else self.sampled

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, for people: the result first, then what it rests on."""
        return (_result(self.headline, is_random=self.sampled is not None), *self._basis())

    def _basis(self) -> tuple[str, ...]:
        found = self.headline
        shares = f"{percent(found.before)} with the given labels, {percent(found.after)} with the cleaned ones"
        counts = f"{found.gained:,} rows gained, {found.lost:,} lost"
        if self.sampled is not None:
            which = (
                f"This is measured on {found.rows:,} judged rows of a random sample, each weighted by the rows that it "
                "stands for."
            )
        else:
            which = (
                f"The {found.rows:,} judged rows are not a random sample. Flagged rows were chosen by the predictions "
                "of the first models, so chance favours the second ones. For a result about the dataset, judge a "
                "random sample: labelaudit review sample --rows 200."
            )
        left_out = self.actions["remove"] + self.actions["unsure"]
        other = (
            f"{self.other_labels:,} judged rows do not count, because their right label is not a class of the audit."
        )
        return (
            f"Predicted judged labels: {shares} ({counts}). {which}",
            f"{self.actions['relabel']:,} rows were relabeled, and {left_out:,} left out of the training.",
            *([other] if self.other_labels else []),
        )

    def to_json(self) -> bytes:
        """Return the proof as JSON, with its sentences."""
        return dump_json({**to_record(self), "sentences": list(self.sentences)})


def _result(found: PairedAccuracy, *, is_random: bool) -> str:
    points = f"{100 * found.difference:+.1f} points, 95 % interval {100 * found.low:.1f} to {100 * found.high:.1f}"
    if not is_random:
        return f"On the judged rows alone: {points}."
    if found.low > 0:
        return f"Cleaning helps: {points}."
    if found.high < 0:
        return f"Cleaning harms: {points}."
    return f"No difference could be shown: {points}."


def judged_rows(scored: pa.Table, snapshot: ReviewSnapshot, class_names: Sequence[str]) -> JudgedRows:
    """Return the scored rows that people judged wrong or fine.

    Args:
        scored: the M scored rows, with the columns example_id, content_digest and given_label.
        snapshot: the verdicts, and the random sample of the version.
        class_names: K names.

    Raises:
        ReviewError: if they are too few.
    """
    columns = [scored[name].to_pylist() for name in ("example_id", "content_digest", "given_label")]
    verdicts = snapshot.for_rows(*columns)
    number = {name: index for index, name in enumerate(class_names)}
    rows = np.flatnonzero(verdicts.is_fine | verdicts.is_wrong)
    right = [columns[2][row] if verdicts.right_labels[row] is None else verdicts.right_labels[row] for row in rows]
    labels = np.array([number.get(label, -1) for label in right], np.int64)
    positions = rows[labels >= 0]
    if len(positions) < LEAST_JUDGED:
        raise ReviewError(
            f"{len(positions):,} scored rows are judged wrong or fine, which are too few to compare models. Judge at "
            f"least {LEAST_JUDGED}, best a random sample: labelaudit review sample --rows 200."
        )
    drawn = snapshot.judged_sample(*columns)
    sample = None if drawn is None else _among(drawn, positions)
    return JudgedRows(positions, labels[labels >= 0], sample, int((labels < 0).sum()))


def _among(drawn: JudgedSample, positions: npt.NDArray[np.int64]) -> JudgedSample | None:
    """Return the drawn rows that are among some positions, with their places there; None if they are too few."""
    place = np.searchsorted(positions, drawn.positions)
    is_judged = (place < len(positions)) & (positions[np.minimum(place, len(positions) - 1)] == drawn.positions)
    if is_judged.sum() < LEAST_JUDGED:
        return None
    return replace(drawn.among(is_judged), positions=place[is_judged])


def paired_accuracy(
    before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64] | None = None
) -> PairedAccuracy:
    """Compare two models on the same n rows.

    The limits are the adjusted Wald interval of Bonett and Price ("Adjusted Wald confidence interval for a difference
    of binomial proportions based on paired data", Journal of Educational and Behavioral Statistics 37, 2012): one row
    is added to the gained and to the lost ones. Rows with unequal weights are worth fewer (Kish's effective sample
    size).

    Args:
        before, after: (n,) whether each model predicts the judged label.
        weights: (n,) how many rows each row stands for. None: all the same.
    """
    weight = np.ones(len(before)) if weights is None else weights
    weight = weight / weight.sum()
    size = float(1 / (weight**2).sum())
    gained, lost = float(weight @ (after & ~before)), float(weight @ (before & ~after))
    more, fewer = (gained * size + 1) / (size + 2), (lost * size + 1) / (size + 2)
    center = more - fewer
    reach = _Z * ((more + fewer - center**2) / (size + 2)) ** 0.5
    return PairedAccuracy(
        rows=len(before),
        before=float(weight @ before),
        after=float(weight @ after),
        difference=gained - lost,
        low=max(-1.0, center - reach),
        high=min(1.0, center + reach),
        gained=int((after & ~before).sum()),
        lost=int((before & ~after).sum()),
    )


def store_proof(store: Store, proof: Proof, training: str) -> str:
    """Store a proof next to the audits of its dataset, and return its key.

    Args:
        training: a digest of the cleaned labels.
    """
    key = proof_key(proof.dataset, proof.audit_id, training)
    store.write(key, proof.to_json())
    return key
