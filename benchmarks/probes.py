"""Out-of-fold quality and time of the probe and the neighbours, on features and labels that exist.

    python benchmarks/probes.py <folder of features> <folder of data> [name ...] [--save]

Features are <name>.features.npy, (N, d) in the order of the rows of <name>.parquet, which has the columns id, label and
true_label. The rows are divided as an audit divides them. With --save, the probabilities are written next to the
features as <name>.<view>.npy (columns in the order of sorted class names), and the folds as <name>.folds.npy.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from labelaudit.data.folds import assign_folds
from labelaudit.model.device import limited_threads
from labelaudit.model.feature_fold import FeatureFold
from labelaudit.model.fold import FoldFit
from labelaudit.model.neighbours import fit_neighbours
from labelaudit.model.probe import fit_probe
from labelaudit.strings import Strings

FOLDS = 5
VIEWS: dict[str, Callable[..., FoldFit]] = {"neighbours": fit_neighbours, "probe": fit_probe}


def main() -> None:
    """Print one row of a table for each data set and view."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.name[:-13] for path in arguments.features.glob("*.features.npy"))
    print("| set | view | AP | agreement | log loss | CPU s | chosen in the folds |\n|---|---|---|---|---|---|---|")  # noqa: T201
    for name in names:
        measure(name, arguments.features, arguments.data, save=arguments.save)


def measure(name: str, features_folder: Path, data_folder: Path, *, save: bool) -> None:
    """Print the rows of one data set."""
    table = pq.read_table(data_folder / f"{name}.parquet")
    class_names, labels = np.unique(table["label"].to_pylist(), return_inverse=True)
    truth = np.asarray(table["true_label"].to_pylist()) if "true_label" in table.column_names else None
    features = np.load(features_folder / f"{name}.features.npy", mmap_mode="r")
    folds = folds_of(table["id"].to_pylist(), labels)
    if save:
        np.save(features_folder / f"{name}.folds.npy", folds)
    for view, fit in VIEWS.items():
        started = time.process_time()
        pred_probs, chosen = out_of_fold(fit, features, labels, len(class_names), folds)
        seconds = time.process_time() - started
        if save:
            np.save(features_folder / f"{name}.{view}.npy", pred_probs)
        given = pred_probs[np.arange(len(labels)), labels]
        precision = "-"
        if truth is not None:
            precision = f"{average_precision_score(class_names[labels] != truth, 1 - given):.3f}"
        agreement, loss = (pred_probs.argmax(1) == labels).mean(), -np.log(np.maximum(given, 1e-30)).mean()
        row = f"| {name} | {view} | {precision} | {agreement:.3f} | {loss:.3f} | {seconds:.1f} | {chosen} |"
        print(row, flush=True)  # noqa: T201


def folds_of(ids: list[str], labels: np.ndarray) -> np.ndarray:
    """Return the fold of each row, as an audit assigns it."""
    order = np.argsort(ids, kind="stable")
    sorted_ids = Strings([ids[row] for row in order])
    folds = np.empty(len(ids), np.int16)
    folds[order] = assign_folds(labels[order], sorted_ids, sorted_ids, folds=FOLDS, repeats=1, seed=0)[0]
    return folds


def out_of_fold(
    fit: Callable[..., FoldFit], features: np.ndarray, labels: np.ndarray, num_classes: int, folds: np.ndarray
) -> tuple[np.ndarray, str]:
    """Return the out-of-fold probabilities (N, K), and what was chosen in the folds, as text."""
    pred_probs = np.empty((len(labels), num_classes), np.float32)
    chosen: dict[str, list[float]] = {}
    for fold in range(FOLDS):
        held_out = np.flatnonzero(folds == fold)
        with limited_threads(1):
            data = FeatureFold(features, labels, num_classes, np.flatnonzero(folds != fold), held_out)
            result = fit(data, device="cpu")
        pred_probs[held_out] = result.pred_probs
        for setting, value in result.chosen.items():
            chosen.setdefault(setting, []).append(float(f"{value:.3g}"))
    return pred_probs, "; ".join(f"{setting} {values}" for setting, values in chosen.items())


if __name__ == "__main__":
    main()
