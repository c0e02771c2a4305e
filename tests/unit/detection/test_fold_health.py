"""Healthy runs of real models raise no alarm, and faults in one fold of them are seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from labelaudit.errors import Fault, IntegrityError
from support.simulated import Run, split_run

MODELS = {
    "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)),
    "forest": lambda: RandomForestClassifier(40, random_state=0),
    "neighbor": lambda: KNeighborsClassifier(1),  # exact 0 and 1
    "bayes": lambda: GaussianNB(),  # wildly confident
    "stump": lambda: DecisionTreeClassifier(max_depth=2, random_state=0),  # four different rows
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices: on a busy machine, threads that wait for each other cost minutes."""
    with threadpool_limits(1):
        yield


def held_out(model: Any, X: Any, labels: np.ndarray, folds: int, seed: int) -> tuple[Run, np.ndarray]:
    """A run of scikit-learn models, and what a model trained on all rows predicts."""
    probs = np.zeros((len(labels), labels.max() + 1), dtype=np.float32)
    fold_of = np.zeros(len(labels), dtype=np.int16)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (train, test) in enumerate(splitter.split(probs, labels)):
        probs[test] = model().fit(X[train], labels[train]).predict_proba(X[test])
        fold_of[test] = fold
    seen = model().fit(X, labels).predict_proba(X).astype(np.float32)
    return split_run(labels, probs, folds, seed=seed, fold_of=fold_of, digests=False), seen


def alarm_of(run: Run) -> IntegrityError | None:
    try:
        run.gather()
    except IntegrityError as error:
        return error
    return None


def is_quiet(run: Run) -> bool:
    """Return whether a healthy run passes. Refusing a run that is at chance as a whole is not a false alarm."""
    alarm = alarm_of(run)
    return alarm is None or (alarm.fault, alarm.fold) == (Fault.LEARNED_NOTHING, None)


def faults_seen(run: Run, seen: np.ndarray, seed: int) -> dict[str, Fault | None]:
    rng = np.random.default_rng(seed)
    fold = int(rng.integers(len(run.parts)))
    num_classes = len(run.class_names)
    pair = rng.choice(num_classes, 2, replace=False)
    exchanged = np.arange(num_classes)
    exchanged[pair] = pair[::-1]
    position = {example_id: i for i, example_id in enumerate(run.example_ids)}
    rows = [position[example_id] for example_id in run.parts[fold].example_ids]
    changes = {
        "shifted by one": lambda probs: np.roll(probs, 1, axis=0),
        "shuffled": lambda probs: rng.permutation(probs),
        "two columns": lambda probs: probs[:, exchanged],
        "all columns": lambda probs: probs[:, ::-1],
        "random": lambda probs: rng.dirichlet(np.ones(num_classes), len(probs)).astype(np.float32),
        "constant": lambda probs: np.tile(probs.mean(axis=0), (len(probs), 1)),
        "seen": lambda probs: seen[rows],
    }
    found: dict[str, Fault | None] = {}
    for name, change in changes.items():
        alarm = alarm_of(run.with_probs(fold, change))
        assert alarm is None or alarm.fold in (fold, None)
        found[name] = alarm and alarm.fault
    return found


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("num_classes", "weights", "separation"),
    [
        (2, None, 1.0),
        (2, (0.95, 0.05), 0.7),
        (2, None, 0.2),
        (6, (0.5, 0.2, 0.1, 0.1, 0.05, 0.05), 0.7),
        (20, None, 1.5),
    ],
)
def test_small_hard_and_imbalanced_data_raises_no_alarm(
    model: str, num_classes: int, weights: tuple[float, ...] | None, separation: float
) -> None:
    for seed, folds in ((0, 2), (1, 3), (2, 5)):
        X, labels = make_classification(
            200, n_informative=8, n_classes=num_classes, weights=weights and list(weights),
            class_sep=separation, flip_y=0.1, n_clusters_per_class=1, random_state=seed,
        )  # fmt: skip
        run, _ = held_out(MODELS[model], X, labels, folds, seed)
        assert is_quiet(run)


def test_a_random_fold_among_95_to_5() -> None:
    """If z is small even in good folds, the share of right predictions decides."""
    X, labels = make_classification(
        2000, n_informative=8, weights=[0.95, 0.05], class_sep=0.5, flip_y=0.05, random_state=0
    )
    for folds in (3, 5):
        run, seen = held_out(MODELS["linear"], X, labels, folds, 0)
        assert alarm_of(run) is None
        found = faults_seen(run, seen, folds)
        assert found["random"] == found["constant"] == Fault.LEARNED_NOTHING
        assert found["two columns"] == Fault.CLASSES_SWAPPED


def read_music(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(shared_data / "music-genre-700.parquet").to_pandas()
    features = table[[name for name in table if name.startswith("feature")]].to_numpy()
    return features, np.unique(table["label"], return_inverse=True)[1]


def test_music_of_700_songs(shared_data: Path) -> None:
    X, labels = read_music(shared_data)
    run, seen = held_out(MODELS["forest"], X, labels, 5, 0)
    assert alarm_of(run) is None
    found = faults_seen(run, seen, 0)
    assert found["shifted by one"] == Fault.ROWS_SHIFTED
    assert found["shuffled"] == found["random"] == found["constant"] == Fault.LEARNED_NOTHING
    assert found["all columns"] is not None
    assert found["seen"] == Fault.SEEN_IN_TRAINING


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_calibration_on_real_data(shared_data: Path) -> None:
    """No false alarm on any healthy run of two datasets; power for each fault above a floor."""
    table = pq.read_table(shared_data / "agnews-human-5k.parquet").to_pandas()
    texts = TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=8000).fit_transform(table["text"])
    topics = np.unique(table["label"], return_inverse=True)[1]
    songs, genres = read_music(shared_data)
    linear_text = lambda: LogisticRegression(C=3, max_iter=100)  # noqa: E731
    hits: dict[tuple[str, str], list[bool]] = {}
    for seed, all_folds in enumerate([(3, 5, 10), (3, 5), (3, 5)]):
        for folds in all_folds:
            runs = {"text linear": held_out(linear_text, texts, topics, folds, seed)}
            runs |= {f"music {m}": held_out(MODELS[m], songs, genres, folds, seed) for m in MODELS}
            for name, (run, seen) in runs.items():
                assert alarm_of(run) is None
                for fault, found in faults_seen(run, seen, seed).items():
                    hits.setdefault((name, fault), []).append(found is not None)
    for fault in ("shifted by one", "shuffled", "two columns", "all columns", "random", "constant"):
        assert all(hits["text linear", fault])
    for name in ("music linear", "music forest"):
        for fault in ("shifted by one", "shuffled", "all columns", "random", "constant"):
            assert all(hits[name, fault])
    assert all(hits["music forest", "seen"])
    assert np.mean(hits["music forest", "two columns"]) > 0.5
