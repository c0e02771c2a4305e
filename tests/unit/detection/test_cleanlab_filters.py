"""cleanlab's filters in blocks: the same flags as cleanlab, row by row."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from cleanlab import count
from cleanlab.filter import find_label_issues
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.detection import cleanlab_filters
from labelaudit.detection.cleanlab_filters import count_confident, flag_by_cleanlab, too_small_classes
from labelaudit.detection.probability_blocks import ArrayBlocks, Block
from labelaudit.detection.row_scores import score_blocks
from labelaudit.errors import ConfigError
from labelaudit.schemas import CLEANLAB_FILTERS


@dataclass(frozen=True)
class MixedBlocks(ArrayBlocks):
    """Blocks of a few rows in a random order."""

    seed: int = 0

    def blocks(self) -> Iterator[Block]:
        order = np.random.default_rng(self.seed).permutation(len(self))
        for positions in np.array_split(order, max(1, len(order) // 7)):
            yield Block(positions, self.pred_probs[positions])


@st.composite
def noisy_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities: balanced or not, with absent classes, ties, sure and unsure models."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_classes, rows = draw(st.integers(2, 50)), draw(st.integers(2, 400))
    shares = rng.dirichlet(np.full(num_classes, draw(st.sampled_from([0.2, 1.0, 20.0]))))
    labels = rng.choice(num_classes, rows, p=shares)
    labels[:2] = 0, 1
    logits = rng.normal(size=(rows, num_classes))
    logits[np.arange(rows), labels] += draw(st.sampled_from([0.0, 1.0, 3.0, 8.0]))
    probs = np.exp(logits * draw(st.sampled_from([0.1, 1.0, 5.0, 40.0])))
    probs /= probs.sum(axis=1, keepdims=True)
    return labels, np.round(probs, draw(st.sampled_from([1, 2, 9]))).astype(np.float32)


def flags_of_cleanlab(labels: np.ndarray, pred_probs: np.ndarray, filter_by: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flags: np.ndarray = find_label_issues(labels, pred_probs, filter_by=filter_by, n_jobs=1)
    return flags


@given(data=noisy_labels())
@settings(max_examples=25)
def test_all_filters_equal_cleanlab(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, pred_probs = data
    blocks = MixedBlocks(pred_probs)
    scores = score_blocks(labels, blocks)
    for filter_by in CLEANLAB_FILTERS:
        ours = flag_by_cleanlab(blocks, scores, filter_by=filter_by)
        np.testing.assert_array_equal(ours, flags_of_cleanlab(labels, pred_probs, filter_by), err_msg=filter_by)


@given(data=noisy_labels())
@settings(max_examples=25)
def test_the_confident_joint_equals_that_of_cleanlab(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, pred_probs = data
    blocks = MixedBlocks(pred_probs)
    scores = score_blocks(labels, blocks)
    joint = count.compute_confident_joint(labels, pred_probs, calibrate=False)
    np.testing.assert_array_equal(count_confident(blocks, scores).joint, joint)


def test_few_values_held_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanlab_filters, "_HELD_VALUES", 1000)
    monkeypatch.setattr(cleanlab_filters, "_HELD_PER_ROW", 1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 900)
    pred_probs = rng.dirichlet(np.ones(8), 900).astype(np.float32)
    blocks = MixedBlocks(pred_probs)
    ours = flag_by_cleanlab(blocks, score_blocks(labels, blocks), filter_by="prune_by_noise_rate")
    np.testing.assert_array_equal(ours, flags_of_cleanlab(labels, pred_probs, "prune_by_noise_rate"))
    assert ours.any()


@pytest.mark.parametrize("name", ["cifar10n-aggregate-resnet18", "synthetic-20-40-resnet18"])
def test_all_filters_equal_cleanlab_on_real_data(shared_data: Path, name: str) -> None:
    table = pq.read_table(shared_data / "oof" / f"{name}.parquet", columns=["label", "pred_probs"])
    names = json.loads(table.schema.metadata[b"class_names"])
    labels = np.array([names.index(label) for label in table["label"].to_pylist()])
    pred_probs = np.asarray(table["pred_probs"].combine_chunks().flatten()).reshape(len(labels), -1)
    blocks = ArrayBlocks(pred_probs)
    scores = score_blocks(labels, blocks)
    for filter_by in CLEANLAB_FILTERS:
        ours = flag_by_cleanlab(blocks, scores, filter_by=filter_by)
        np.testing.assert_array_equal(ours, flags_of_cleanlab(labels, pred_probs, filter_by), err_msg=filter_by)


def test_unknown_filter() -> None:
    blocks = ArrayBlocks(np.eye(2, dtype=np.float32))
    with pytest.raises(ConfigError, match=r"Unknown filter 'auto'\. Use one of: prune_by_noise_rate, "):
        flag_by_cleanlab(blocks, score_blocks(np.arange(2), blocks), filter_by="auto")


def test_classes_of_one_row_are_never_flagged_by_pruning() -> None:
    blocks = ArrayBlocks(np.full((5, 4), 0.25, np.float32))
    scores = score_blocks(np.array([0, 0, 1, 2, 2]), blocks)
    assert too_small_classes(scores, filter_by="both").tolist() == [1]
    assert too_small_classes(scores, filter_by="low_self_confidence").tolist() == []
