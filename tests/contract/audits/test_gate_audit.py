"""Canaries and gate in whole audits: what is published, and what a changed limit costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labelaudit.audit import audit_probabilities
from labelaudit.audits.references import AuditReference
from labelaudit.audits.results import gate_failure, load_summary
from labelaudit.codec import to_record
from labelaudit.config import AuditConfig, build_config
from labelaudit.errors import ConfigError, DatasetError, GateFailedError
from labelaudit.pipeline.external_probabilities import ExternalProbabilities
from labelaudit.schemas import CANARIES
from support.audits import CLASSES, InProcess, audit, fruit, settings, table, write_fruit


def _summary(reference: AuditReference) -> dict[str, Any]:
    return to_record(load_summary(reference, {}))


@pytest.fixture(scope="module")
def fruit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fruit(tmp_path_factory.mktemp("fruit") / "fruit.parquet")


def _config(fruit_file: Path, output: Path, **gate: float) -> AuditConfig:
    return settings(fruit_file, output, gate=gate, cross_validation={"folds": 2})


def test_another_limit_is_another_audit_without_training(fruit_file: Path, tmp_path: Path) -> None:
    audits = [
        audit(_config(fruit_file, tmp_path, **limits))
        for limits in ({}, {"max_flagged_share": 0.001}, {"max_flagged_share": 0.5})
    ]
    gates = [_summary(each)["gate"] for each in audits]
    assert [gate and gate["verdict"] for gate in gates] == [None, "warned", "passed"]
    assert len({each.audit_id for each in audits}) == 3
    (folds,) = tmp_path.rglob("_work/folds/*")
    assert len(list(folds.glob("fold=*.json"))) == 2
    canaries = [(Path(each.audit_url) / "canaries.parquet").read_bytes() for each in audits]
    assert len(set(canaries)) == 1
    assert "Gate" not in _text(audits[0])
    assert "warned" in _text(audits[1])


def _text(reference: AuditReference) -> str:
    page = (Path(reference.audit_url) / "report.html").read_text()
    return page.partition("</style>")[2]


def test_what_is_published_of_canaries(tmp_path: Path) -> None:
    """Any fruit is mistaken for any other, and training is long enough. So most canaries are clearly wrong."""
    frame, numbers = fruit(), np.arange(240)
    right = frame.true_label.map(CLASSES.index).to_numpy()
    wrong = (right + 1 + numbers // 20 % 2) % 3
    frame["label"] = np.asarray(CLASSES)[np.where(numbers % 20 == 7, wrong, right)]
    data = write_fruit(tmp_path / "fruit.parquet", frame)
    reference = audit(settings(data, tmp_path, cross_validation={"folds": 2}, training={"epochs": 40}))
    canaries = table(reference, "canaries")
    assert canaries.schema.equals(CANARIES, check_metadata=True)
    rows = canaries.to_pandas()
    examples = table(reference, "examples").to_pandas().set_index("example_id").loc[rows.example_id]
    assert rows.example_id.is_monotonic_increasing
    assert (examples.given_label.to_numpy() == rows.given_label).all()
    assert (examples.predicted_label.to_numpy() == rows.given_label).all()
    assert not examples.is_label_issue.any()
    summary = _summary(reference)["canaries"]
    assert summary["planted"] == len(rows) == 10
    assert summary["caught"] == rows.is_caught.sum() >= 7
    assert summary["random"]["planted"] == summary["likely"]["planted"] == 5
    assert summary["low"] < summary["recall"] < summary["high"]
    assert "Canaries" in _text(reference)
    assert json.loads((Path(reference.audit_url) / "manifest.json").read_text())["config"]["gate"]


def test_too_few_rows_for_canaries(tmp_path: Path) -> None:
    data = write_fruit(tmp_path / "fruit.parquet", fruit(30))
    reference = audit(settings(data, tmp_path / "out", gate={"min_canary_recall": 0.9}, cross_validation={"folds": 2}))
    summary = _summary(reference)
    assert summary["canaries"] is None
    assert any(note.startswith("Canaries: fewer than 5 rows") for note in summary["notes"])
    assert summary["gate"]["rules"][0]["outcome"] == "not measured"
    assert len(table(reference, "canaries")) == 0
    assert 'id="canaries"' not in _text(reference)


def _blind(tmp_path: Path, version: str, rows: int, *, no: str = "no", **gate: Any) -> AuditReference:
    """Audit probabilities that flag no row: they are informative for a fifth of the rows, else class frequencies."""
    labels = np.where(np.arange(rows) % 10 < 6, "yes", no)
    is_known = np.arange(rows) % 5 == 0
    p_no = np.where(is_known, np.where(labels == "yes", 0.3, 0.49), 0.4)
    frame = pd.DataFrame(
        {
            "id": [f"row-{row:03d}" for row in range(rows)],
            "label": labels,
            "pred_probs": list(np.column_stack([p_no, 1 - p_no])),
        }
    )
    frame.to_parquet(tmp_path / f"{version}.parquet")
    values = {
        "dataset": {"url": str(tmp_path / f"{version}.parquet"), "name": "blind", "version": version},
        "detection": {"filter": "both"},
        "output": {"url": str(tmp_path / "out")},
        "gate": gate,
    }
    return audit_probabilities(build_config(values), ExternalProbabilities(values["dataset"]["url"], label="label"))


def test_a_blind_detector_fails_without_limits(tmp_path: Path) -> None:
    first, second = _blind(tmp_path, "v1", 300), _blind(tmp_path, "v2", 310)
    assert (first.issues, second.issues) == (0, 0)
    assert _summary(first)["gate"]["verdict"] == "warned"
    assert gate_failure(first, load_summary(first, {})) is None
    summary = _summary(second)
    assert summary["gate"]["verdict"] == "failed"
    failure = gate_failure(second, load_summary(second, {}))
    assert isinstance(failure, GateFailedError)
    assert "blind_detector: The detector is blind: it flags no row" in str(failure)
    assert failure.audit["audit_url"] == second.audit_url


def test_a_class_that_is_not_there(tmp_path: Path, fruit_file: Path) -> None:
    message = r"^No row has the label '{}', which gate\.max_class_flagged_share limits\. Did you mean '{}'\?"
    with pytest.raises(DatasetError, match=message.format("yse", "yes")):
        _blind(tmp_path, "v1", 300, max_class_flagged_share={"yse": 0.5, "no": 0.5})
    caller = InProcess()
    with pytest.raises(DatasetError, match=message.format("peer", "pear")):
        audit(_config(fruit_file, tmp_path, max_class_flagged_share={"peer": 0.5}), caller)
    assert caller.steps == ["choose_version", "prepare"], "nothing was trained"


def test_labels_of_probabilities_cannot_be_renamed(tmp_path: Path) -> None:
    values = {"dataset": {"url": str(tmp_path / "v1.parquet"), "rename": {"yes": "no"}}}
    _blind(tmp_path, "v1", 300)
    with pytest.raises(ConfigError, match=r"^dataset\.rename cannot be used with probabilities, .* Remove it, and"):
        audit_probabilities(build_config(values), ExternalProbabilities(values["dataset"]["url"]))


def test_hostile_names(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>|`x`"
    reference = _blind(tmp_path, "v1", 300, no=hostile, max_class_flagged_share={hostile: 0.5, "yes": 0.5})
    gate = _summary(reference)["gate"]
    assert [rule["outcome"] for rule in gate["rules"][:2]] == ["passed", "passed"]
    assert "<script>alert" not in _text(reference)
    assert "&lt;script&gt;alert" in _text(reference)
