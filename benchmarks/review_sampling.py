"""How wide is the interval of the error rate after a review? Strata by p_wrong against other samples of the same size.

Each line is one population of rows. A review draws rows at random and judges them without error. Widths and coverage
are averages over many simulated reviews. The populations are simulated (p_wrong is right, over-confident, or
under-confident), and the packs of stored probabilities in `../shared/data/oof`, if it exists, with the p_wrong that
labelaudit gives them.

    python benchmarks/review_sampling.py [--verdicts 200] [--reviews 200]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from labelaudit.detection.expected_cuts import best_cut
from labelaudit.detection.p_wrong_strata import allocation, strata_by_p_wrong
from labelaudit.detection.row_scores import score_rows
from labelaudit.detection.strata_totals import limits_of_total
from labelaudit.detection.wrong_labels import estimate_wrong

PACKS = Path(__file__).resolve().parents[2] / "shared" / "data" / "oof"
ROWS = 20_000
# Error rate, and the factor of the log odds that makes p_wrong over- or under-confident.
SIMULATED = {
    "1 % wrong, calibrated": (0.01, 1.0),
    "9 % wrong, calibrated": (0.09, 1.0),
    "9 % wrong, over-confident": (0.09, 2.0),
    "9 % wrong, under-confident": (0.09, 0.5),
    "30 % wrong, calibrated": (0.30, 1.0),
}


def populations(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield a name, p_wrong (M,) and whether each label is wrong (M,)."""
    for name, (rate, factor) in SIMULATED.items():
        true = np.clip(rng.beta(rate * 0.5, (1 - rate) * 0.5, ROWS), 1e-6, 1 - 1e-6)
        odds = np.exp(factor * np.log(true / (1 - true)))
        yield name, (odds / (1 + odds)).astype(np.float32), rng.random(ROWS) < true
    for path in sorted(PACKS.glob("*.parquet")):
        table = pq.read_table(path)
        names = json.loads(table.schema.metadata[b"class_names"])
        number = {name: index for index, name in enumerate(names)}
        labels, true_labels = (np.array([number[one] for one in table[c].to_pylist()]) for c in ("label", "true_label"))
        pred_probs = np.stack(table["pred_probs"].to_numpy(zero_copy_only=False)).astype(np.float32)
        p_wrong = estimate_wrong(score_rows([(labels, pred_probs)], len(names))).p_wrong
        yield path.stem, p_wrong, labels != true_labels


def review(
    numbers: np.ndarray, drawn: list[int], is_wrong: np.ndarray, reviews: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the mean width of the interval in percentage points, and its coverage.

    Args:
        numbers: (M,) the stratum of each row.
        drawn: rows to draw from each stratum.
        is_wrong: (M,) whether each label is wrong.
        reviews: how many reviews to simulate.
        rng: draws the samples.
    """
    rows = np.bincount(numbers, minlength=len(drawn))
    wrong = np.bincount(numbers, weights=is_wrong, minlength=len(drawn)).astype(int)
    has_rows = rows > 0
    rows, wrong, judged = rows[has_rows], wrong[has_rows], np.minimum(np.array(drawn)[has_rows], rows[has_rows])
    counted = rng.hypergeometric(wrong, rows - wrong, judged, size=(reviews, len(rows)))
    low, high = limits_of_total(rows, judged, counted, 0.95)
    return 100 * float((high - low).mean()) / len(numbers), float(((low <= wrong.sum()) & (wrong.sum() <= high)).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--verdicts", type=int, default=200)
    parser.add_argument("--reviews", type=int, default=200)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    out = sys.stdout.write
    out(f"Width of the 95 % interval in percentage points (coverage), {arguments.verdicts} verdicts\n\n")
    out("| rows | wrong | simple random | flagged / other | by p_wrong | narrower than flagged / other |\n")
    out("|---|---|---|---|---|---|\n")
    for name, p_wrong, is_wrong in populations(rng):
        strata, numbers = strata_by_p_wrong(p_wrong)
        flags = (p_wrong >= best_cut(p_wrong)).astype(int)
        half = arguments.verdicts // 2
        kinds = [
            (np.zeros(len(p_wrong), int), [arguments.verdicts]),
            (flags, [half, half]),
            (numbers, allocation(strata, arguments.verdicts)),
        ]
        found = [review(*kind, is_wrong, arguments.reviews, rng) for kind in kinds]
        cells = " | ".join(f"{width:.1f} ({coverage:.0%})" for width, coverage in found)
        gain = 1 - found[2][0] / found[1][0]
        out(f"| {name} | {is_wrong.mean():.1%} | {cells} | {gain:.0%} |\n")


if __name__ == "__main__":
    main()
