"""Answers of made-up annotators whose accuracy is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelaudit.detection.answers import Answers


class Crowd(NamedTuple):
    truth: np.ndarray  # (M,)
    pred_probs: np.ndarray  # (M, K) float32
    answers: Answers
    accuracy: np.ndarray  # (J,)


def crowd(rows: int, annotators: int, classes: int, per_row: int, seed: int, *, certainty: float = 0.4) -> Crowd:
    """Return answers and probabilities. `certainty` is the share of the probabilities that is on the true class."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, rows)
    pred_probs = generator.dirichlet(np.ones(classes) * 0.5, rows) * (1 - certainty)
    pred_probs[np.arange(rows), truth] += certainty
    pred_probs = pred_probs.astype(np.float32)
    chosen = np.repeat(np.arange(rows), per_row) * annotators + generator.integers(0, annotators, rows * per_row)
    row, annotator = np.divmod(np.unique(chosen), annotators)
    accuracy = np.clip(generator.normal(0.75, 0.12, annotators), 0.3, 0.97)
    is_right = generator.random(len(row)) < accuracy[annotator]
    other = (truth[row] + generator.integers(1, classes, len(row))) % classes
    label = np.where(is_right, truth[row], other).astype(np.int32)
    names = tuple(f"w{number:03d}" for number in range(annotators))
    return Crowd(
        truth,
        pred_probs / pred_probs.sum(axis=1, keepdims=True),
        Answers(row, annotator.astype(np.int32), label, names, rows, classes),
        accuracy,
    )
