"""Misleading inputs reach the plan of an audit, from a scan and from a stored scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelaudit.config import AuditConfig
from labelaudit.pipeline.check import check_dataset
from labelaudit.pipeline.plan import prepare


@pytest.fixture
def config(tmp_path: Path) -> AuditConfig:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    frame = pd.DataFrame(
        {"a": rng.normal(size=200).round(3), "paid": labels * 7, "label": np.array(["x", "y"])[labels]}
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    dataset = {"url": str(tmp_path / "rows.csv"), "name": "rows"}
    return AuditConfig.model_validate({"dataset": dataset, "output": {"url": str(tmp_path / "audits")}})


def test_check_names_a_column_that_reveals_the_label(config: AuditConfig) -> None:
    (warning,) = check_dataset(config, parallel=1, threads=1).warnings
    assert warning.startswith("Column 'paid' alone predicts the label with an accuracy of 100.0 % (the most frequent")


def test_a_stored_scan_has_the_same_warnings(config: AuditConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from labelaudit.pipeline import plan

    scans = []
    divide = plan.divide_and_choose
    monkeypatch.setattr(plan, "divide_and_choose", lambda scan, config: (scans.append(scan), divide(scan, config))[1])
    prepare(config)
    prepare(config)
    first, stored = scans
    assert first.examples is not stored.examples
    assert first.warnings == stored.warnings
    assert len(stored.warnings) == 1
