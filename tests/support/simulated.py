"""Out-of-fold runs for tests to damage: simulated ones, and given probabilities split into folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labelaudit.detection import agreement
from labelaudit.detection.out_of_fold import FoldHealth, FoldProbabilities, gather_folds
from labelaudit.detection.probability_blocks import ArrayBlocks, ProbabilityBlocks, RawArray
from labelaudit.detection.rows import ids_digest, row_digests


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
        values = {name: value for name, value in vars(self).items() if name != "pred_probs"}
        return FoldProbabilities(**values, raw=RawArray(self.pred_probs))


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
            example_ids=self.example_ids,
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
