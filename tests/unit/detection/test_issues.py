"""Confident learning: known figures on real data, tables that can be checked by hand, and no flags on clean data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit import schemas
from labelaudit.detection.issues import LabelIssues
from labelaudit.detection.issues import find_issues as find_in_blocks
from labelaudit.detection.probability_blocks import ArrayBlocks
from labelaudit.errors import ConfigError
from labelaudit.schemas import FILTERS
from support.simulated import simulate_probs

# Six rows per class that are plain, then: a dog called cat, a cat called dog, twice unsure.
SURE = 0.9
LABELS = np.array([0] * 6 + [1] * 6 + [0, 1, 0, 1])
P_DOG = np.array([1 - SURE] * 6 + [SURE] * 6 + [0.95, 0.02, 0.45, 0.55])
PROBS = np.column_stack([1 - P_DOG, P_DOG]).astype(np.float32)
NAMES = ("cat", "dog")


def find_issues(
    labels: np.ndarray, pred_probs: np.ndarray, names: Sequence[str], *, filter_by: str = "prune_by_noise_rate"
) -> LabelIssues:
    return find_in_blocks(labels, ArrayBlocks(pred_probs), names, filter_by=filter_by)


def noisy(num_classes: int, rows: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels with 10 % flips, probabilities of a good model, and the mask of flips."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes, rows)
    is_flipped = rng.random(rows) < 0.1
    labels = np.where(is_flipped, (true + rng.integers(1, num_classes, rows)) % num_classes, true)
    return labels, simulate_probs(true, num_classes, signal=4.0, seed=seed), is_flipped


def test_hand_made_issues() -> None:
    issues = find_issues(LABELS, PROBS, NAMES)
    assert np.flatnonzero(issues.is_label_issue).tolist() == [12, 13]
    np.testing.assert_allclose(issues.label_score[[12, 13, 0]], [0.05, 0.02, 0.9], atol=1e-6)
    assert issues.label_score.dtype == np.float64
    assert issues.predicted_labels.tolist() == [0] * 6 + [1] * 6 + [1, 0, 0, 1]
    assert issues.suggested_labels.tolist() == [-1] * 12 + [1, 0, -1, -1]
    assert issues.notes == ()
    # One of seven confident rows of each class is confidently the other: 8 rows * 1/7, rounded.
    assert issues.confusions.to_dict("list") == {
        "given_label": ["cat", "dog"],
        "suggested_label": ["dog", "cat"],
        "examples": [1, 1],
        "estimated_examples": [1.0, 1.0],
        "share_of_given": [1 / 8, 1 / 8],
    }
    assert issues.error_rate == pytest.approx(2 / 16)


def test_tables_have_the_columns_of_the_contract() -> None:
    labels, probs, _ = noisy(5, 1000)
    issues = find_issues(labels, probs, [f"c{k}" for k in range(5)])
    assert list(issues.classes) == schemas.CLASSES.names
    assert list(issues.confusions) == schemas.CONFUSIONS.names
    pa.Table.from_pandas(issues.classes, schema=schemas.CLASSES, preserve_index=False)
    pa.Table.from_pandas(issues.confusions, schema=schemas.CONFUSIONS, preserve_index=False)
    assert issues.classes["examples"].sum() == 1000
    assert issues.classes["label_issues"].sum() == issues.is_label_issue.sum()
    assert issues.classes["inverse_label_issues"].sum() == issues.is_label_issue.sum()
    assert issues.confusions["examples"].sum() == issues.is_label_issue.sum()
    assert issues.classes["label_quality_score"].is_monotonic_increasing
    assert (issues.confusions["given_label"] != issues.confusions["suggested_label"]).all()


@pytest.mark.parametrize("filter_by", FILTERS)
def test_every_filter_finds_planted_errors(filter_by: str) -> None:
    labels, probs, is_flipped = noisy(4, 800)
    issues = find_issues(labels, probs, list("abcd"), filter_by=filter_by)
    flagged = issues.is_label_issue
    assert is_flipped[flagged].mean() > 0.7
    assert flagged[is_flipped].mean() > 0.5
    assert (issues.suggested_labels[flagged] != labels[flagged]).all()
    assert (issues.suggested_labels[~flagged] == -1).all()


def test_filters_differ() -> None:
    labels, probs, _ = noisy(4, 800)
    probs = (0.7 * probs + 0.3 * simulate_probs(labels, 4, signal=0.0, seed=9)).astype(np.float32)
    masks = {find_issues(labels, probs, list("abcd"), filter_by=f).is_label_issue.tobytes() for f in FILTERS}
    assert len(masks) >= 5


def test_unknown_filter() -> None:
    with pytest.raises(ConfigError, match=r"Unknown filter 'best'\. Use one of: auto, prune_by_noise_rate, "):
        find_issues(LABELS, PROBS, NAMES, filter_by="best")


def test_clean_labels_give_empty_tables() -> None:
    labels = np.arange(90) % 3
    issues = find_issues(labels, np.eye(3, dtype=np.float32)[labels], list("abc"))
    assert not issues.is_label_issue.any()
    assert issues.confusions.empty
    assert list(issues.confusions) == schemas.CONFUSIONS.names
    assert issues.error_rate == 0


def test_a_class_of_five_and_a_class_of_none() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [300, 200, 5]))
    probs = simulate_probs(labels, 4, signal=3.0)
    issues = find_issues(labels, probs, ["big", "middle", "small", "none"])
    small = issues.classes.set_index("class_name").loc["small"]
    assert small["examples"] == 5
    assert 0 <= small["label_quality_score"] <= 1
    assert issues.notes[-1] == "No row has the label 'none'."
    assert np.isfinite(issues.classes.drop(columns=["class_name", "status"]).to_numpy(float)).all()


def test_a_class_of_one_is_noted(capfd: pytest.CaptureFixture[str]) -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2])
    probs = simulate_probs(labels, 3, signal=1.0)
    issues = find_issues(labels, probs, ["a", "b", "c"])
    assert capfd.readouterr() == ("", "")
    assert issues.notes == ("The filter prune_by_noise_rate never flags the only row with the label 'c'.",)
    assert find_issues(labels, probs, ["a", "b", "c"], filter_by="confident_learning").notes == ()


@pytest.mark.parametrize(
    ("name", "f1", "predicted_f1"),
    [("cifar10n-aggregate-resnet18", 0.674, 0.747), ("synthetic-20-40-resnet18", 0.942, 0.864)],
)
def test_published_figures(shared_data: Path, name: str, f1: float, predicted_f1: float) -> None:
    table = pq.read_table(shared_data / "oof" / f"{name}.parquet")
    names = json.loads(table.schema.metadata[b"class_names"])
    labels, true = (
        np.array([names.index(label) for label in table[column].to_pylist()]) for column in ("label", "true_label")
    )
    probs = np.asarray(table["pred_probs"].combine_chunks().flatten()).reshape(-1, 10)

    def score(issues: LabelIssues) -> float:
        hits = (issues.is_label_issue & (labels != true)).sum()
        return float(2 * hits / (issues.is_label_issue.sum() + (labels != true).sum()))

    assert score(find_issues(labels, probs, names)) == pytest.approx(f1, abs=0.001)
    by_prediction = find_issues(labels, probs, names, filter_by="predicted_neq_given")
    assert score(by_prediction) == pytest.approx(predicted_f1, abs=0.001)
