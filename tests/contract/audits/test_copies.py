"""Near-copies stay in one fold, features confirm them, and the audit lists them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelaudit.audits.audit_plan import Plan, load_plan
from labelaudit.audits.references import PlanReference
from labelaudit.audits.results import load_summary
from labelaudit.audits.version import PUBLISHED_COLUMNS, Version, load_version
from labelaudit.config import AuditConfig
from labelaudit.duplicates import close_pairs
from labelaudit.pipeline.copies import clusters_of
from labelaudit.pipeline.feature_space import search_space
from labelaudit.pipeline.plan import prepare
from support.audits import audit, png, settings, table
from support.pictures import photographs
from support.tiny_encoder import TinyEncoder, prepared, tiny_spec

ORIGINALS, COPIES = 80, 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pictures and brighter copies of the first 12, half of which have another label. Row 92 is an exact copy."""
    pixels = photographs(ORIGINALS, 32)
    # Classes differ in colour.
    for label, channel in ((0, 0), (1, 2)):
        pixels[label::2, ..., channel] = 120 + pixels[label::2, ..., channel] // 2
    brighter = np.clip(pixels[:COPIES].astype(float) * 1.08 + 3, 0, 255).astype(np.uint8)
    labels = [f"class {row % 2}" for row in range(ORIGINALS)]
    copied = [f"class {(row + (row < COPIES // 2)) % 2}" for row in range(COPIES)]
    path = tmp_path_factory.mktemp("pictures") / "data.parquet"
    frame = pd.DataFrame(
        {
            "id": [f"p{row:03d}" for row in range(ORIGINALS + COPIES + 1)],
            "image": [png(picture) for picture in (*pixels, *brighter, pixels[20])],
            "label": [*labels, *copied, "class 0"],
            "patient": [row % 40 for row in range(ORIGINALS)] + list(range(100, 101 + COPIES)),
        }
    )
    frame.to_parquet(path, index=False)
    return path


def of(pictures: Path, output: Path, **sections: object) -> AuditConfig:
    dataset = {"ignore": ["patient"], "id": "id"} | dict(sections.pop("dataset", {}))  # type: ignore[call-overload]
    return settings(pictures, output, dataset=dataset, **sections)


def rows_of(config: AuditConfig) -> tuple[PlanReference, Plan, Version]:
    reference = prepare(config)
    plan = load_plan(reference)
    return reference, plan, load_version(reference, plan, (*PUBLISHED_COLUMNS, "group"))


def test_near_copies_are_in_one_fold(pictures: Path, tmp_path: Path) -> None:
    _, _, rows = rows_of(of(pictures, tmp_path))
    pairs = [(row, ORIGINALS + row) for row in range(COPIES)] + [(20, ORIGINALS + COPIES)]
    for original, copy in pairs:
        assert rows.examples.cluster[original] == rows.examples.cluster[copy] == original
        assert rows.fold_of[0, original] == rows.fold_of[0, copy]
    is_copied = np.zeros(len(rows.examples.label), bool)
    is_copied[np.array(pairs).ravel()] = True
    assert (rows.examples.cluster[~is_copied] == -1).all()
    assert rows.examples.copy_distance[20] == 0
    assert 0 < rows.examples.copy_distance[0] < 0.5


def test_groups_that_share_copies_are_in_one_fold(pictures: Path, tmp_path: Path) -> None:
    _, _, rows = rows_of(of(pictures, tmp_path, dataset={"group": "patient", "ignore": []}))
    # Rows 0 and 40 are of one patient, and row 80 is a copy of row 0.
    assert rows.fold_of[0, 0] == rows.fold_of[0, 40] == rows.fold_of[0, 80]
    assert rows.examples.group[0] == rows.examples.group[40] == rows.examples.group[80] == "0"
    assert rows.examples.group[30] == "30"


def test_what_counts_as_a_copy_decides_what_is_trained_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plan, rows = rows_of(of(pictures, tmp_path / "a"))
    monkeypatch.setattr(close_pairs, "_MAX_RATIO", 0.0)
    _, other, without = rows_of(of(pictures, tmp_path / "b"))
    assert (without.examples.cluster >= 0).sum() == 2
    assert without.examples.fingerprint == rows.examples.fingerprint
    assert plan.training_key != other.training_key


class GivenFeatures(TinyEncoder):
    """Returns the next of given features, in the order in which the contents are read."""

    def __init__(self, features: np.ndarray) -> None:
        super().__init__()
        self.features = features

    def encode(self, inputs: np.ndarray | list[str]) -> np.ndarray:
        start = self.encoded
        self.batches.append(len(inputs))
        return self.features[start : start + len(inputs)].astype(np.float16)


def test_features_confirm_copies_and_find_others(pictures: Path, tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(ORIGINALS + COPIES, 32))
    features[ORIGINALS + 1 :] = features[1:COPIES] + 0.01
    # The pictures of rows 0 and 80 look alike, but show different things; those of 50 and 60 show the same thing.
    features[ORIGINALS] = -features[0]
    features[60] = features[50] + 0.01
    config = of(pictures, tmp_path)
    with GivenFeatures(features).installed():
        reference, plan = prepared(config, tiny_spec(dim=32))
        rows = load_version(reference, plan, PUBLISHED_COLUMNS)
        clusters = clusters_of(plan, rows, search_space(reference, plan, rows))
    assert clusters.number[0] == clusters.number[ORIGINALS] == -1
    assert clusters.number[50] == clusters.number[60] == 50
    for row in range(1, COPIES):
        assert clusters.number[row] == clusters.number[ORIGINALS + row] == row
    assert clusters.number[20] == clusters.number[ORIGINALS + COPIES] == 20
    assert (clusters.number >= 0).sum() == 2 * COPIES + 2


def test_an_audit_lists_copies(pictures: Path, tmp_path: Path) -> None:
    training = {"epochs": 1, "seed": 0}
    found = audit(of(pictures, tmp_path, model={"views": ["network"], "encoder": "none"}, training=training))
    copies = table(found, "duplicates").to_pandas()
    assert len(copies) == 2 * COPIES + 2
    assert copies["has_other_labels"].sum() == COPIES
    # Those with other labels first, and within a cluster the most doubtful row.
    assert copies["has_other_labels"].is_monotonic_decreasing
    assert copies["cluster"].tolist() == [number for number in range(1, COPIES + 2) for _ in range(2)]
    assert all(group["p_wrong"].is_monotonic_decreasing for _, group in copies.groupby("cluster"))
    counts = load_summary(found, {}).duplicates
    assert counts is not None
    assert (counts.clusters, counts.rows, counts.exact_rows) == (COPIES + 1, 2 * COPIES + 2, 2)
    assert (counts.conflicts, counts.conflicting_rows, counts.leaks) == (COPIES // 2, COPIES, 0)


def test_near_copies_of_texts(tmp_path: Path) -> None:
    words = np.array(["red", "green", "blue", "apple", "pear", "plum", "grape", "cherry", "melon", "lemon", "lime"])
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(words, 30)) for _ in range(60)]
    frame = pd.DataFrame({"text": [*texts, texts[0].upper(), f"{texts[1]}!"], "label": ["a", "b"] * 31})
    frame.to_csv(tmp_path / "texts.csv", index=False)
    _, _, rows = rows_of(settings(tmp_path / "texts.csv", tmp_path / "out"))
    at = [int(np.flatnonzero(rows.examples.row == row)[0]) for row in (0, 60, 1, 61)]
    assert rows.fold_of[0, at[0]] == rows.fold_of[0, at[1]]
    assert rows.fold_of[0, at[2]] == rows.fold_of[0, at[3]]
    assert 0 < rows.examples.copy_distance[at[1]] < 0.01
    assert (rows.examples.cluster >= 0).sum() == 4
