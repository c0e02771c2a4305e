"""Out-of-fold runs for tests to damage: simulated ones, and given probabilities split into folds. Planted noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import softmax

from labelaudit.detection import agreement
from labelaudit.detection.out_of_fold import FoldHealth, FoldProbabilities, gather_folds
from labelaudit.detection.probability_blocks import ArrayBlocks, ProbabilityBlocks, RawArray
from labelaudit.detection.row_scores import RowScores, score_rows
from labelaudit.detection.rows import ids_digest, row_digests
from labelaudit.strings import Strings


def all_rows(probabilities: ProbabilityBlocks) -> np.ndarray:
    """Return all rows in memory, (M, K) float32."""
    rows = np.full((len(probabilities), probabilities.num_classes), np.nan, np.float32)
    for positions, pred_probs in probabilities.blocks():
        rows[positions] = pred_probs
    return rows


def measure_agreement(labels: np.ndarray, pred_probs: np.ndarray) -> agreement.Agreement:
    return agreement.measure_agreement(labels, ArrayBlocks(pred_probs))


@dataclass(frozen=True)
class Part:
    """The result of one fold, as `FoldProbabilities` but in memory."""

    fold: int
    repeat: int
    example_ids: np.ndarray
    pred_probs: np.ndarray
    class_names: tuple[str, ...]
    row_digests: np.ndarray | None = None
    trained_on: str | None = None

    def stored(self) -> FoldProbabilities:
        values = {name: value for name, value in vars(self).items() if name not in ("pred_probs", "example_ids")}
        return FoldProbabilities(**values, example_ids=Strings(self.example_ids), raw=RawArray(self.pred_probs))


@dataclass(frozen=True)
class Gathered:
    """What `gather_folds` returns, in memory."""

    pred_probs: np.ndarray
    folds: tuple[FoldHealth, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A correct out-of-fold run: the arguments of `gather_folds`."""

    parts: list[Part]
    example_ids: np.ndarray
    labels: np.ndarray
    fold_of: np.ndarray
    class_names: tuple[str, ...]

    def gather(self) -> Gathered:
        found = gather_folds(
            [part.stored() for part in self.parts],
            example_ids=Strings(self.example_ids),
            labels=self.labels,
            fold_of=self.fold_of,
            class_names=self.class_names,
        )
        return Gathered(all_rows(found.probabilities), found.folds, found.notes)

    def with_part(self, fold: int, /, **changes: Any) -> Run:
        """Return the same run with one fold's part changed."""
        return replace(self, parts=[replace(p, **changes) if p.fold == fold else p for p in self.parts])

    def with_probs(self, fold: int, change: Callable[[np.ndarray], np.ndarray]) -> Run:
        """Return the same run with one fold's probabilities changed and without its digests."""
        changed = change(self.parts[fold].pred_probs.copy())
        return self.with_part(fold, pred_probs=np.ascontiguousarray(changed), row_digests=None)


def split_run(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    folds: int,
    *,
    seed: int = 0,
    fold_of: np.ndarray | None = None,
    digests: bool = True,
) -> Run:
    """Deal rows to stratified folds. Each part has its rows in random order, as stored folds do."""
    rng = np.random.default_rng(seed)
    class_names = tuple(f"class {k:02d}" for k in range(pred_probs.shape[1]))
    example_ids = np.array([f"id-{i:06d}" for i in range(len(labels))], dtype=object)
    if fold_of is None:
        shuffled = rng.permutation(len(labels))
        fold_of = np.empty(len(labels), dtype=np.int16)
        fold_of[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % folds
    parts = []
    for fold in range(folds):
        rows = rng.permutation(np.flatnonzero(fold_of == fold))
        ids, probs = example_ids[rows], pred_probs[rows]
        parts.append(
            Part(
                fold=fold,
                repeat=0,
                example_ids=ids,
                pred_probs=probs,
                class_names=class_names,
                row_digests=row_digests(ids, probs) if digests else None,
                trained_on=ids_digest(example_ids[fold_of != fold]) if digests else None,
            )
        )
    return Run(parts, example_ids, labels, fold_of[None], class_names)


def simulate_probs(labels: np.ndarray, num_classes: int, *, signal: float, seed: int = 0) -> np.ndarray:
    """Return (n, K) float32 probabilities. The larger `signal`, the more are right (logits: signal + N(0, 1))."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), num_classes))
    logits[np.arange(len(labels)), labels] += signal
    probs = np.exp(logits)
    return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)


def simulate_run(rows: int = 600, num_classes: int = 4, folds: int = 4, *, signal: float = 2.0, seed: int = 0) -> Run:
    labels = np.random.default_rng(seed).permutation(np.arange(rows) % num_classes)
    return split_run(labels, simulate_probs(labels, num_classes, signal=signal, seed=seed), folds, seed=seed)


NOISE_KINDS = ("uniform", "pair", "class", "hard")
# The exponent of probabilities from a model that was trained on smoothed labels.
SMOOTHED = 0.3


@dataclass(frozen=True)
class Planted:
    """Rows whose wrong labels are known, and the probabilities of a good model that was trained on such labels."""

    labels: np.ndarray  # (n,)
    pred_probs: np.ndarray  # (n, K) float32
    is_wrong: np.ndarray  # (n,) bool

    @property
    def rate(self) -> float:
        return float(self.is_wrong.mean())

    @property
    def scores(self) -> RowScores:
        return score_rows([(self.labels, self.pred_probs)], self.pred_probs.shape[1])


def plant_noise(
    kind: str, rate: float, *, rows: int = 4000, num_classes: int = 10, signal: float = 4.0, seed: int = 0
) -> Planted:
    """Plant wrong labels.

    The kinds: `uniform` (any other class), `pair` (class k as k + 1), `class` (every class has a rate of its own), and
    `hard` (a person confuses what looks alike: errors are drawn from another model that finds the same rows difficult).
    The first three are in the probabilities, as a model learns them. The fourth is not, and labels were smoothed.
    """
    rng = np.random.default_rng([seed, num_classes, round(1000 * rate)])
    true = rng.integers(0, num_classes, rows)
    strength = signal * rng.uniform(0.5, 1.5, rows)
    pred_probs = _see(true, num_classes, strength, rng)
    if kind == "hard":
        pred_probs = _normalised(pred_probs**SMOOTHED)
        person = _see(true, num_classes, strength, rng)
        person[np.arange(rows), true] = 0
        doubt = person.sum(axis=1)
        wrong = rng.choice(rows, round(rate * rows), replace=False, p=doubt / doubt.sum())
        labels = true.copy()
        labels[wrong] = _draw(_normalised(person[wrong]), rng)
    else:
        transition = _transition(kind, rate, num_classes, rng)
        labels = _draw(transition[true], rng)
        pred_probs = pred_probs @ transition
    return Planted(labels, pred_probs.astype(np.float32), labels != true)


def _see(true: np.ndarray, num_classes: int, strength: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (n, K) float64 probabilities of a model that sees one normal variable per class, with variance 1.

    Its mean is the strength of the row for the true class, else 0. The model's confidence differs from the right one
    by a random factor. Without it, confident rows would have fewer errors than those of any real model.
    """
    seen = rng.normal(size=(len(true), num_classes))
    seen[np.arange(len(true)), true] += strength
    return softmax((strength * rng.lognormal(size=len(true)))[:, None] * seen, axis=1)


def _transition(kind: str, rate: float, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return (K, K): the probability that a true class (row) gets a label (column)."""
    following = np.roll(np.eye(num_classes), 1, axis=1)
    uniform = (1 - np.eye(num_classes)) / (num_classes - 1)
    others = {"uniform": uniform, "pair": following, "class": 0.8 * following + 0.2 * uniform}[kind]
    rates = np.full(num_classes, rate)
    if kind == "class":
        rates = np.minimum(rate * num_classes * rng.dirichlet(np.full(num_classes, 2.0)), 0.48)
    return np.diag(1 - rates) + rates[:, None] * others


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=1, keepdims=True)


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one class per row, drawn from its probabilities (n, K)."""
    drawn = (probabilities.cumsum(axis=1) < rng.random(len(probabilities))[:, None]).sum(axis=1)
    return np.minimum(drawn, probabilities.shape[1] - 1)
