"""The estimate of an audit counts each view in each fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.config import AuditConfig
from labelaudit.model.estimate_on_features import FeatureShape, Measure
from labelaudit.pipeline import audit_time
from labelaudit.pipeline.audit_time import audit_seconds
from labelaudit.pipeline.check import check_dataset
from support.audits import settings

ROWS, LENGTH, PROBE, NEIGHBOURS, NETWORK = 90, 24, 10.0, 4.0, 100.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(0).normal(size=(ROWS, LENGTH)).tolist()
    columns = {"id": [f"v{n}" for n in range(ROWS)], "label": [f"c{n % 3}" for n in range(ROWS)], "vector": vectors}
    pq.write_table(pa.table(columns), tmp_path / "vectors.parquet")
    return tmp_path / "vectors.parquet"


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[FeatureShape]:
    """Make each view take a known time, and return the folds that are measured."""
    found: list[FeatureShape] = []

    def probe(fold: FeatureShape, measure: Measure) -> float:
        found.append(fold)
        return PROBE

    def neighbours(fold: FeatureShape, measure: Measure, references: int) -> float:
        found.append(fold)
        return NEIGHBOURS

    monkeypatch.setattr(audit_time, "probe_seconds", probe)
    monkeypatch.setattr(audit_time, "neighbours_seconds", neighbours)
    monkeypatch.setattr(audit_time, "estimate_seconds", lambda *_, **__: NETWORK)
    return found


def expected(config: AuditConfig) -> float | None:
    return check_dataset(config, parallel=2, threads=1, audit_seconds=audit_seconds).expected_seconds


@pytest.mark.parametrize(
    ("views", "fold"),
    [
        (["probe"], PROBE),
        (["neighbours"], NEIGHBOURS),
        (["probe", "neighbours"], PROBE + NEIGHBOURS),
        (["network"], NETWORK),
        (["network", "probe", "neighbours"], NETWORK + PROBE + NEIGHBOURS),
    ],
)
def test_each_view_counts_in_each_fold(
    data: Path, tmp_path: Path, shapes: list[FeatureShape], views: list[str], fold: float
) -> None:
    assert expected(settings(data, tmp_path / "out", model={"views": views})) == 2 * fold, "three folds, two at a time"
    assert set(shapes) == ({FeatureShape(60, 30, LENGTH, 3)} if views != ["network"] else set())
