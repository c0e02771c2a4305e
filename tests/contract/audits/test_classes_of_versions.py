"""Class names in whole audits: renamed, doubtful, and compared with those of the previous version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labelaudit.audits.results import gate_failure, load_summary
from labelaudit.config import AuditConfig
from labelaudit.errors import DatasetError, GateFailedError
from labelaudit.pipeline.check import CheckedDataset, check_dataset
from support.audits import InProcess, audit, fruit, settings, table, write_fruit


def _config(folder: Path, version: str, **sections: Any) -> AuditConfig:
    dataset = {"name": "fruit", "version": version, "label": "label", **sections.pop("dataset", {})}
    url = folder / "fruit" / "{version}.parquet"
    return settings(url, folder / "out", dataset=dataset, cross_validation={"folds": 2}, **sections)


def _check(config: AuditConfig) -> CheckedDataset:
    return check_dataset(config, parallel=1, threads=1)


def _careless() -> pd.DataFrame:
    """Every tenth plum is a "Plum "."""
    frame = fruit()
    plums = frame.index[frame.label == "plum"]
    frame.loc[plums[::10], "label"] = "Plum "
    return frame


def test_twins_are_named_and_renamed(tmp_path: Path) -> None:
    write_fruit(tmp_path / "fruit" / "v1.parquet", _careless())
    counts = _careless().label.value_counts().to_dict()
    first = _config(tmp_path, "v1")
    (warning,) = _check(first).warnings
    assert warning == (
        f'Class names differ only in spaces and letter case: "plum" ({counts["plum"]} rows), "Plum " '
        f'({counts["Plum "]} rows). If they mean one class, set dataset.rename: {{"Plum ": "plum"}}.'
    )
    reference = audit(first)
    assert warning in load_summary(reference, {}).notes
    assert "differ only in spaces" in Path(reference.report_url).read_text()

    renamed = _config(tmp_path, "v1", dataset={"rename": {"Plum ": "plum"}})
    note = (
        f"{counts['Plum ']} rows labeled 'Plum ' are renamed to 'plum' and merged with {counts['plum']} rows that "
        "already had this label (dataset.rename)."
    )
    assert _check(renamed).warnings == (note,)
    assert _check(renamed).classes == fruit().label.value_counts().sort_index().to_dict()
    other = audit(renamed)
    assert other.audit_id != reference.audit_id
    assert note in load_summary(other, {}).notes
    examples = table(other, "examples").to_pandas()
    assert sorted(examples.given_label) == sorted(fruit().label)
    # The stored scan of the first run, which is read now, contains the sentences too.
    again = audit(_config(tmp_path, "v1", dataset={"rename": {"Plum ": "plum"}}, report={"examples": 5}))
    assert again.audit_id != other.audit_id
    assert note in load_summary(again, {}).notes


def test_a_version_must_exist(tmp_path: Path) -> None:
    for version in ("v1", "v2", "v10"):
        write_fruit(tmp_path / "fruit" / f"{version}.parquet")
    with pytest.raises(DatasetError, match=r"v100\.parquet\..* Did you mean 'v10'\? The versions are v10, v2, v1\.$"):
        _check(_config(tmp_path, "v100"))
    with pytest.raises(DatasetError, match=r"^Nothing is stored at .*[^?] The versions are v10, v2, v1\.$"):
        audit(_config(tmp_path, "2026"))
    with pytest.raises(DatasetError, match=r"^Nothing is stored at .*/none/v1\.parquet\. Check dataset\.url\.$"):
        _check(settings(tmp_path / "none" / "{version}.parquet", tmp_path / "out", dataset={"version": "v1"}))


def test_what_is_renamed_must_exist(tmp_path: Path) -> None:
    write_fruit(tmp_path / "fruit" / "v1.parquet")
    caller = InProcess()
    with pytest.raises(DatasetError, match=r"^No row has the label 'plumm', .* Did you mean 'plum'\?"):
        audit(_config(tmp_path, "v1", dataset={"rename": {"plumm": "plum"}}), caller)
    assert caller.steps == ["choose_version", "prepare"]


def test_a_limited_class_must_exist_after_it_was_renamed(tmp_path: Path) -> None:
    write_fruit(tmp_path / "fruit" / "v1.parquet")
    gate = {"max_class_flagged_share": {"plum": 0.5}}
    found = _check(_config(tmp_path, "v1", dataset={"rename": {"plum": "prune"}}, gate=gate))
    assert found.problem is not None
    assert found.problem.startswith("No row has the label 'plum', which gate.max_class_flagged_share limits.")
    gate = {"max_class_flagged_share": {"prune": 0.5}}
    assert _check(_config(tmp_path, "v1", dataset={"rename": {"plum": "prune"}}, gate=gate)).problem is None


def test_new_gone_and_changed_classes(tmp_path: Path) -> None:
    write_fruit(tmp_path / "fruit" / "v1.parquet")
    assert _check(_config(tmp_path, "v1")).warnings == ()
    audit(_config(tmp_path, "v1"))
    frame = fruit()
    frame.loc[frame.label == "pear", "label"] = "quince"
    frame = frame.drop(index=frame.index[frame.label == "apple"][:40])
    write_fruit(tmp_path / "fruit" / "v2.parquet", frame)
    before, now = fruit().label.value_counts(normalize=True), frame.label.value_counts(normalize=True)
    sentences = [
        "New class since v1: 'quince'.",
        "This class has no labeled rows any more since v1: 'pear'.",
        f"The share of 'quince' among the labeled rows changed from 0.0 to {100 * now.quince:.1f} percent.",
    ]
    config = _config(tmp_path, "v2", gate={"max_new_classes": 0, "max_class_share_change": 0.05})
    assert list(_check(config).warnings) == sentences
    reference = audit(config)
    summary = load_summary(reference, {})
    assert set(sentences) <= set(summary.notes)
    assert summary.changes is not None
    assert summary.changes.classes is not None
    assert (summary.changes.classes.new_names, summary.changes.classes.gone_names) == (("quince",), ("pear",))
    assert now.quince > before.pear
    assert summary.gate is not None
    assert {rule.rule: rule.measured for rule in summary.gate.broken_rules} == {
        "max_new_classes": 1,
        "max_class_share_change": pytest.approx(now.quince),
    }
    failure = gate_failure(reference, summary)
    assert isinstance(failure, GateFailedError)
    assert "1 class is new: 'quince'; the limit is 0." in str(failure)
    page = Path(reference.report_url).read_text()
    assert "New class since v1" in page
    # The same data as v1 changes nothing, because a version whose gate failed is not a predecessor.
    write_fruit(tmp_path / "fruit" / "v3.parquet")
    assert _check(_config(tmp_path, "v3")).warnings == ()


def test_a_damaged_previous_audit_does_not_stop_a_check(tmp_path: Path) -> None:
    write_fruit(tmp_path / "fruit" / "v1.parquet")
    reference = audit(_config(tmp_path, "v1"))
    (Path(reference.audit_url) / "classes.parquet").unlink()
    write_fruit(tmp_path / "fruit" / "v2.parquet")
    (warning,) = _check(_config(tmp_path, "v2")).warnings
    assert warning.startswith("The classes are not compared with those of the previous audit. ")
    assert "classes.parquet" in warning
