"""What is measured of every tool: how well a ranking finds wrong labels, and which planted copies are found."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score


@dataclass(frozen=True)
class Prepared:
    """The files that `prepare.py` wrote.

    Attributes:
        labels: (N,) int64, positions in `classes`.
        is_wrong: (N,) bool. No tool sees it.
        copies: Pairs of rows (smaller first) that are planted near-copies.
        images: N paths; empty for other data.
        texts: N texts; empty for other data.
    """

    ids: list[str]
    classes: list[str]
    labels: np.ndarray
    is_wrong: np.ndarray
    copies: set[tuple[int, int]]
    features: np.ndarray
    pred_probs: np.ndarray
    images: list[str]
    texts: list[str]


def read_prepared(folder: str | None = None) -> Prepared:
    """Return the prepared dataset in the folder that the first argument names."""
    path = Path(folder or sys.argv[1])
    rows = pq.read_table(path / "rows.parquet").to_pydict()
    classes, labels = np.unique(rows["label"], return_inverse=True)
    position = {example_id: row for row, example_id in enumerate(rows["id"])}
    pairs = ((row, position[original]) for row, original in enumerate(rows.get("copy_of", ())) if original is not None)
    return Prepared(
        ids=rows["id"],
        classes=classes.tolist(),
        labels=labels,
        is_wrong=np.array(rows["label"]) != np.array(rows["true_label"]),
        copies={(min(pair), max(pair)) for pair in pairs},
        features=np.load(path / "features.npy"),
        pred_probs=np.load(path / "pred_probs.npy"),
        images=sorted(map(str, (path / "images").glob("*.jpg"))),
        texts=rows.get("text", []),
    )


def say_labels(name: str, data: Prepared, doubt: np.ndarray, flags: np.ndarray) -> None:
    """Print average precision of a ranking (high is doubtful), and precision, recall and F1 of the flags."""
    right = int((flags & data.is_wrong).sum())
    precision, recall = right / max(1, flags.sum()), right / data.is_wrong.sum()
    f1 = 2 * right / (flags.sum() + data.is_wrong.sum())
    ap = average_precision_score(data.is_wrong, doubt)
    say(f"{name}: AP {ap:.3f}, F1 {f1:.3f}, {flags.sum()} flags, precision {precision:.2f}, recall {recall:.2f}")


def say_pairs(name: str, data: Prepared, pairs: Iterable[tuple[int, int]]) -> None:
    """Print how many planted copies are among pairs of rows, and how many other pairs there are."""
    found = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    say(f"{name}: {len(found & data.copies)} of {len(data.copies)} planted pairs, {len(found - data.copies)} others")


def pairs_of_groups(groups: Iterable[Iterable[int]]) -> set[tuple[int, int]]:
    """Return all pairs within groups of rows."""
    members = [sorted(map(int, group)) for group in groups]
    return {(a, b) for group in members for position, a in enumerate(group) for b in group[position + 1 :]}


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print the CPU seconds of a block and its child processes, or the error, if it fails.

    A busy machine changes CPU seconds less than the time.
    """
    started = sum(os.times()[:4])
    try:
        yield
    except Exception as error:
        say(f"{name}: FAILED, {type(error).__name__}: {str(error)[:300]}")
    else:
        say(f"{name}: {sum(os.times()[:4]) - started:.1f} s of CPU")


def say(text: str) -> None:
    """Print a line at once, for logs."""
    print(text, flush=True)  # noqa: T201
