"""Audits that an earlier release published can still be read, compared and reviewed.

`tests/published` contains two audits of a small text dataset, with verdicts between them, as version 0.1.0 of
2026-11-26 published them, with other URLs; and the dataset.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.comparison import compare_published
from labelaudit.audits.history import read_history
from labelaudit.audits.published import find_audit
from labelaudit.config import build_config
from labelaudit.dashboard.library import Library
from labelaudit.duplicates import text_codes
from labelaudit.reviews.verdict_store import read_verdicts
from labelaudit.schemas import EXAMPLES
from labelaudit.storage.store import Store
from support.audits import audit
from support.paths import ROOT

PUBLISHED = ROOT / "tests" / "published"
# Earlier releases had no encoders.
SETTINGS = {
    "model": {"encoder": "none"},
    "cross_validation": {"folds": 3},
    "training": {"epochs": 4},
    "gate": {"max_flagged_share": 0.5},
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The URL that the audits are published to."""
    shutil.copytree(PUBLISHED, tmp_path / "published")
    return tmp_path / "published"


def test_history_and_summaries_are_read(output: Path) -> None:
    records = read_history(Store(str(output)), "fruit")
    assert [(record.version, record.gate) for record in records] == [("v1", "passed"), ("v2", "passed")]
    for record in records:
        found = find_audit(str(output / record.folder))
        assert found.summary() == record.summary
    assert [record.summary.issues for record in records] == [2, 3]
    assert Library(str(output)).audits("fruit") == records


def test_they_are_compared(output: Path) -> None:
    before, now = (find_audit(version, dataset_url=f"{output}/dataset=fruit") for version in ("v1", "v2"))
    found = compare_published(before, now)
    recorded = now.summary().changes
    assert recorded is not None
    assert (found.changes.issues, found.changes.data) == (recorded.issues, recorded.data)
    assert found.changes.warning is None


def test_verdicts_apply_to_them(output: Path) -> None:
    store = Store(str(output))
    assert len(read_verdicts(store, "fruit")) == 2
    review = find_audit(f"{output}/dataset=fruit").summary().review
    assert review is not None
    assert sum(review.verdicts.values()) + review.ended == 2


def test_the_same_audit_finds_the_same_today(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Earlier releases did not look for near-copies, which decide about folds.
    monkeypatch.setattr(text_codes, "MIN_SIMILARITY", 2.0)
    dataset = {"url": f"{output}/datasets/fruit/{{version}}/fruit.csv", "version": "v2", "name": "fruit"}
    dataset |= {"label": "label", "id": "id", "input": "text"}
    reference = audit(build_config({**SETTINGS, "dataset": dataset, "output": {"url": str(tmp_path / "now")}}))
    (before,) = (output / "dataset=fruit" / "version=v2").rglob("examples.parquet")
    old, new = (
        pq.read_table(path, schema=EXAMPLES, partitioning=None)
        for path in (before, Path(reference.audit_url) / "examples.parquet")
    )
    columns = ["example_id", "given_label", "status", "fold", "predicted_label", "file", "row", "content_digest"]
    assert new.select(columns) == old.select(columns)
    # The verdicts are not there, so what they dismissed is flagged.
    flags = [pc.or_(table["is_label_issue"], table["is_dismissed"]) for table in (old, new)]
    assert flags[0] == flags[1]
    np.testing.assert_allclose(new["label_score"].to_numpy(), old["label_score"].to_numpy(), atol=1e-3)


def test_the_next_audit_is_compared_with_the_last_of_them(output: Path) -> None:
    dataset = {"url": f"{output}/datasets/fruit/{{version}}/fruit.csv", "version": "v3", "name": "fruit"}
    dataset |= {"label": "label", "id": "id", "input": "text"}
    shutil.copytree(output / "datasets" / "fruit" / "v2", output / "datasets" / "fruit" / "v3")
    audit(build_config({**SETTINGS, "dataset": dataset, "output": {"url": str(output)}}))
    changes = find_audit(f"{output}/dataset=fruit").summary().changes
    assert changes is not None
    assert changes.predecessor.version == "v2"
    # Earlier releases flagged with a filter of cleanlab by default. Nothing else of the config, recipe or code changed;
    # packages may be others today.
    others = [setting for setting in changes.changed_settings if setting.cause != "package"]
    assert [(setting.setting, setting.before, setting.now) for setting in others] == [
        ("detection.filter", "prune_by_noise_rate", "auto")
    ]
    assert sum(changes.data.values()) == 0
