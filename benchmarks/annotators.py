"""Time and memory of many answers of annotators, and how well their accuracy is found.

    python benchmarks/annotators.py [rows]

Every row has about 5 answers of 500 made-up annotators, in 10 classes. Answers are independent, given the true label.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.data.annotations import read_answers
from labelaudit.data.majority_vote import majority_of
from labelaudit.detection.answer_evidence import AnsweredRows, weigh_answers
from labelaudit.detection.answers import Answers, probabilities_of_cells
from labelaudit.detection.crowdlab import find_consensus
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.detection.row_scores import score_blocks
from labelaudit.storage.store import open_dataset

_T = TypeVar("_T")
_ROWS, _ANNOTATORS, _CLASSES, _PER_ROW = 1_000_000, 500, 10, 5


def main() -> None:
    """Print one row of a table for each step."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else _ROWS
    generator = np.random.default_rng(0)
    truth = generator.integers(0, _CLASSES, rows)
    accuracy = np.clip(generator.normal(0.75, 0.12, _ANNOTATORS), 0.2, 0.98)
    pred_probs = np.full((rows, _CLASSES), 0.05, np.float32)
    # A model that is right in 7 of 10 rows.
    predicted = np.where(generator.random(rows) < 0.7, truth, generator.integers(0, _CLASSES, rows))
    pred_probs[np.arange(rows), predicted] += 0.5
    answers = _drawn(truth, accuracy, generator)
    print("| step | seconds | peak memory (MiB) |\n|---|---|---|")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder) / "answers.parquet", answers, generator)
        table = timed("read", lambda: read_answers(open_dataset(f"{folder}/answers.parquet")))
    timed("majority", lambda: majority_of(table))
    blocks = ArrayBlocks(pred_probs)
    scores = score_blocks(truth, blocks)
    answered = timed("gather", lambda: AnsweredRows(answers, probabilities_of_cells(answers.cells, blocks)))
    consensus = timed("consensus", lambda: find_consensus(answers, answered.p_cells, scores))
    found = timed("p_wrong", lambda: weigh_answers(answered, scores, np.float32(1) - scores.p_given))
    inside = ((found.low <= accuracy) & (accuracy <= found.high)).mean()
    right = (consensus.label == truth).mean()
    print(f"\nThe consensus is right in {right:.2%} of rows; {inside:.1%} of the intervals contain the accuracy.")  # noqa: T201


def _drawn(truth: np.ndarray, accuracy: np.ndarray, generator: np.random.Generator) -> Answers:
    rows = len(truth)
    drawn = np.repeat(np.arange(rows), _PER_ROW) * _ANNOTATORS + generator.integers(0, _ANNOTATORS, rows * _PER_ROW)
    row, annotator = np.divmod(np.unique(drawn), _ANNOTATORS)
    other = (truth[row] + generator.integers(1, _CLASSES, len(row))) % _CLASSES
    label = np.where(generator.random(len(row)) < accuracy[annotator], truth[row], other)
    names = tuple(f"w{number:03d}" for number in range(_ANNOTATORS))
    return Answers(row, annotator.astype(np.int32), label.astype(np.int32), names, rows, _CLASSES)


def _write(path: Path, answers: Answers, generator: np.random.Generator) -> None:
    ids = pa.array([f"row-{number:07d}" for number in range(answers.rows)])
    classes = pa.array([f"class {number}" for number in range(_CLASSES)])
    columns = {
        "id": ids.take(pa.array(answers.row)),
        "annotator": pa.array(answers.annotators).take(pa.array(answers.annotator)),
        "label": classes.take(pa.array(answers.label)),
    }
    pq.write_table(pa.table(columns).take(pa.array(generator.permutation(len(answers)))), path)


def timed(step: str, work: Callable[[], _T]) -> _T:
    """Do the work of a step, and print how long it took."""
    started = time.perf_counter()
    result = work()
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"| {step} | {seconds:.1f} | {peak:,} |")  # noqa: T201
    return result


if __name__ == "__main__":
    main()
