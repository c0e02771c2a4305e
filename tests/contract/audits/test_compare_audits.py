"""Audits with a predecessor: what they report, and what happens if the predecessor is damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.comparison import compare_published, find_predecessor, open_predecessor
from labelaudit.audits.history import read_history, write_audit_record
from labelaudit.audits.published import DECIDED, open_audit
from labelaudit.audits.references import AuditReference
from labelaudit.codec import from_record
from labelaudit.errors import ConfigError, StorageError, StorageUnavailableError
from labelaudit.findings import Summary
from labelaudit.pipeline.plan import prepare
from labelaudit.report.summary import markdown
from labelaudit.schemas import CHANGES, CLASS_CHANGES
from labelaudit.storage.layout import audit_classes_key
from labelaudit.storage.manifest import publish_files
from labelaudit.storage.store import Store
from support.audits import CLASSES, InProcess, audit, fold_bytes, fruit, settings, table, write_fruit
from support.probabilities import audit_insects, insects

FIXED = 6
REMOVED = ["fruit-0000", "fruit-0001", "fruit-0007"]
FLIPPED = ["fruit-0030", "fruit-0031", "fruit-0033"]


class Versions(NamedTuple):
    folder: Path
    frames: dict[str, pd.DataFrame]
    audits: dict[str, AuditReference]
    callers: dict[str, InProcess]


def next_version(first: pd.DataFrame) -> pd.DataFrame:
    """Fix wrong labels, remove rows (one with a wrong label), and flip other labels."""
    frame = first.set_index("id", drop=False)
    wrong = [name for name in frame.index[frame.label != frame.true_label] if name not in REMOVED]
    frame.loc[wrong[:FIXED], "label"] = frame.loc[wrong[:FIXED], "true_label"]
    for name in FLIPPED:
        frame.loc[name, "label"] = CLASSES[CLASSES.index(frame.at[name, "label"]) - 1]
    return frame.drop(index=REMOVED).reset_index(drop=True)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    """Audit v1, v2 with other rows and labels, v3 with v2's rows in other order and shards, v4 with other training."""
    folder = tmp_path_factory.mktemp("versions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELAUDIT_CACHE_DIR", str(folder / "cache"))
        second = next_version(fruit())
        shuffled = second.sample(frac=1, random_state=3)
        frames = {"v1": fruit(), "v2": second, "v3": shuffled, "v4": second}
        audits, callers = {}, {}
        for version, frame in frames.items():
            parts = [frame] if version != "v3" else [frame[:50], frame[50:60], frame[60:]]
            for number, part in enumerate(parts):
                write_fruit(folder / "fruit" / version / f"shard-{number}.parquet", part)
            callers[version] = InProcess()
            changed: dict[str, Any] = {"training": {"epochs": 8}} if version == "v4" else {}
            audits[version] = audit(_config(folder, version, **changed), callers[version])
        yield Versions(folder, frames, audits, callers)


def _config(folder: Path, version: str, **sections: Any) -> Any:
    return settings(folder / "fruit" / version, folder / "out", **sections)


def _summary(reference: AuditReference) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((Path(reference.audit_url) / "summary.json").read_text())
    return summary


def test_the_first_audit_has_no_predecessor(versions: Versions) -> None:
    first = versions.audits["v1"]
    assert _summary(first)["changes"] is None
    assert not (Path(first.audit_url) / "changes.parquet").exists()
    assert "Since version" not in Path(first.report_url).read_text()


def test_changes_of_the_data_are_exactly_right(versions: Versions) -> None:
    changes = _summary(versions.audits["v2"])["changes"]
    relabeled = FIXED + len(FLIPPED)
    assert changes["data"] == {"added": 0, "removed": len(REMOVED), "relabeled": relabeled, "replaced": 0}
    assert changes["predecessor"]["version"] == "v1"
    assert changes["predecessor"]["audit_url"] == versions.audits["v1"].audit_url
    assert changes["warning"] is None
    assert changes["changed_settings"] == []
    before, now = (versions.frames[version].set_index("id").label for version in ("v1", "v2"))
    pairs = pd.DataFrame({"before": before, "now": now}).dropna().query("before != now").value_counts().to_dict()
    found = {(pair["given_label_before"], pair["given_label"]): pair["examples"] for pair in changes["relabeled"]}
    assert found == pairs


def test_changes_of_the_issues_are_exactly_right(versions: Versions) -> None:
    """Count changes from the tables of both audits, without the comparison that is tested."""
    before, now = (
        table(versions.audits[name], "examples").to_pandas().set_index("example_id") for name in ("v1", "v2")
    )
    both = before.add_suffix("_before").join(now, how="outer")
    was, is_ = both.is_label_issue_before.eq(True), both.is_label_issue.eq(True)
    same = both.given_label_before == both.given_label
    expected = {
        "new": int((is_ & ~was & ~same).sum()),
        "fixed": int((was & ~is_ & ~same & both.given_label.notna()).sum()),
        "gone": int((was & both.given_label.isna()).sum()),
        "dismissed": 0,
        "persistent": int((was & is_).sum()),
        "flapping": int(((was != is_) & same).sum()),
    }
    changes = _summary(versions.audits["v2"])["changes"]
    assert changes["issues"] == expected
    assert expected["new"] >= 2
    assert expected["fixed"] >= 5
    assert expected["gone"] == 1
    rows = table(versions.audits["v2"], "changes")
    assert rows.schema.equals(CHANGES, check_metadata=True)
    assert set(REMOVED) <= set(rows["example_id"].to_pylist())


def test_class_counts_of_both_versions(versions: Versions) -> None:
    found = table(versions.audits["v2"], "class_changes")
    assert found.schema.equals(CLASS_CHANGES, check_metadata=True)
    assert found["class_name"].to_pylist() == ["apple", "pear", "plum"]
    for column, version in (("examples_before", "v1"), ("examples", "v2")):
        assert found[column].to_pylist() == versions.frames[version].label.value_counts().sort_index().tolist()


def test_the_same_rows_in_another_order_are_not_a_change(versions: Versions) -> None:
    second, third = versions.audits["v2"], versions.audits["v3"]
    changes = _summary(third)["changes"]
    assert changes["predecessor"]["version"] == "v2"
    assert not any(changes["data"].values())
    assert changes["issues"] == {**dict.fromkeys(changes["issues"], 0), "persistent": second.issues}
    assert fold_bytes(third) == fold_bytes(second)
    assert "The data is the same, row by row." in Path(third.report_url).read_text()


def test_changed_settings_come_first(versions: Versions) -> None:
    fourth = versions.audits["v4"]
    summary = _summary(fourth)
    assert summary["changes"]["changed_settings"] == [
        {"setting": "training.epochs", "before": 4, "now": 8, "cause": "config"}
    ]
    warning = summary["changes"]["warning"]
    assert warning.startswith("Not only the data changed since v3: training.epochs 4 → 8. ")
    assert summary["notes"][0] == warning
    assert warning in Path(fourth.report_url).read_text()
    first_bullet = markdown(from_record(Summary, summary)).split("## Since the previous audit\n\n")[1].splitlines()[0]
    assert first_bullet.startswith("- Not only the data changed")


def test_another_audit_of_a_version_has_the_predecessor_of_the_first(versions: Versions) -> None:
    config = _config(versions.folder, "v2", detection={"filter": "predicted_neq_given"})
    again = audit(config)
    changes = _summary(again)["changes"]
    assert changes["predecessor"]["audit_id"] == versions.audits["v1"].audit_id
    assert changes["warning"].startswith("Not only the data changed since v1: detection.filter")


def test_a_resumed_audit_keeps_its_predecessor(tmp_path: Path) -> None:
    write_fruit(tmp_path / "fruit" / "v1" / "a.parquet")
    write_fruit(tmp_path / "fruit" / "v2" / "a.parquet", fruit(seed=1))
    begun = prepare(_config(tmp_path, "v2"))
    audit(_config(tmp_path, "v1"))
    assert prepare(_config(tmp_path, "v2")).sha256 == begun.sha256
    assert _summary(audit(_config(tmp_path, "v2")))["changes"] is None


def test_probabilities_have_a_predecessor_too(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10, 20, 30)))
    second = audit_insects(tmp_path, "v2", insects(wrong=(0, 10, 41, 52)))
    changes = _summary(second)["changes"]
    assert changes["issues"] == {"new": 2, "fixed": 2, "gone": 0, "dismissed": 0, "persistent": 2, "flapping": 0}
    assert changes["data"]["relabeled"] == 4
    assert changes["notes"] == []
    other = insects(wrong=(0, 10, 41, 52))
    other.at[70, "pred_probs"] = np.array([0.9, 0.05, 0.05])
    third = _summary(audit_insects(tmp_path, "v3", other))
    assert third["changes"]["issues"]["flapping"] == 1
    assert not any(third["changes"]["data"].values())
    assert any("made elsewhere" in note for note in third["notes"])


def _change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES = {
    "removed": (lambda folder: shutil.rmtree(folder), "no longer contains an audit"),
    "without examples": (lambda folder: (folder / "examples.parquet").unlink(), r"examples\.parquet"),
    "with other examples": (lambda folder: (folder / "examples.parquet").write_bytes(b"PAR1"), "was changed after"),
    "with a broken manifest": (lambda folder: (folder / "manifest.json").write_text("{"), "is not JSON"),
    "with another manifest": (lambda folder: (folder / "manifest.json").write_text("{}"), "is not a manifest"),
    "without files": (lambda folder: _change_manifest(folder, files=[]), "does not list examples"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_predecessor_does_not_break_the_audit(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(Path(audit_insects(tmp_path, "v1", insects(wrong=(0, 10))).audit_url))
    second = audit_insects(tmp_path, "v2", insects(wrong=(0, 10)))
    summary = _summary(second)
    assert summary["changes"] is None
    assert summary["notes"][0].startswith("Not compared with version v1, the previous audit. ")
    assert re.search(message, summary["notes"][0])
    assert not (Path(second.audit_url) / "changes.parquet").exists()


@pytest.mark.parametrize("name", DAMAGES)
def test_a_gate_that_cannot_count_new_issues_warns_and_says_why(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(Path(audit_insects(tmp_path, "v1", insects(wrong=(0, 10))).audit_url))
    limits = {"max_new_issues": 0, "max_flagged_share": 0.9}
    gate = _summary(audit_insects(tmp_path, "v2", insects(wrong=(0, 10, 20)), gate=limits))["gate"]
    assert gate["verdict"] == "warned"
    assert "max_new_issues" in gate["sentence"]
    rules = {rule["rule"]: rule for rule in gate["rules"]}
    assert rules["max_new_issues"]["outcome"] == "warned"
    assert re.search(message, rules["max_new_issues"]["sentence"])
    assert rules["max_flagged_share"]["outcome"] == "passed"


def test_removed_audits_are_passed_over(tmp_path: Path) -> None:
    first = audit_insects(tmp_path, "v1", insects(wrong=(0, 10)))
    shutil.rmtree(audit_insects(tmp_path, "v2", insects(wrong=(0, 10, 20))).audit_url)
    third = _summary(audit_insects(tmp_path, "v3", insects(wrong=(0, 10, 20)), gate={"max_new_issues": 0}))
    assert third["changes"]["predecessor"]["version"] == "v1"
    assert third["gate"]["verdict"] == "failed"
    assert third["changes"]["held_versions"] == []
    assert any(note.startswith("Passed over, because") and note.endswith(": v2.") for note in third["notes"])
    again = audit_insects(tmp_path, "v1", insects(wrong=(0, 10)), filter_by="predicted_neq_given")
    shutil.rmtree(again.audit_url)
    fourth = _summary(audit_insects(tmp_path, "v4", insects(wrong=(0, 10, 20, 30))))
    assert fourth["changes"]["predecessor"]["audit_url"] == first.audit_url, "an older audit of the same version"
    assert fourth["changes"]["held_versions"] == ["v3"]


def test_many_removed_versions_are_counted(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10)))
    store = Store(str(tmp_path / "out"))
    (record,) = read_history(store, "insects")
    figures = store.read(audit_classes_key("insects", "v1", record.audit_id))
    for number in range(2, 15):
        gone = {"version": f"v{number}", "folder": f"gone/{number}", "created_at": f"2999-01-{number:02d}T00:00:00"}
        write_audit_record(store, replace(record, **gone))
        store.write(audit_classes_key("insects", gone["version"], record.audit_id), figures)
    notes = _summary(audit_insects(tmp_path, "v99", insects(wrong=(0, 10))))["notes"]
    assert any("v2, v3, v4, v5, v6, v7, v8, v9, v10, v11 and 3 more." in note for note in notes)


def test_tables_of_another_version_of_labelaudit_are_not_compared(tmp_path: Path) -> None:
    folder = audit_insects(tmp_path, "v1", insects(wrong=(0, 10))).audit_url
    found = open_audit(Store(folder), "")
    assert found is not None
    with pytest.raises(StorageError, match="has the columns of another version of labelaudit"):
        found.table("classes.parquet", CHANGES)


def test_a_file_that_is_not_a_table(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    about: dict[str, Any] = {
        name: {} if name in ("config", "columns", "recipe", "versions") else name for name in DECIDED
    }
    publish_files(store, "audit", {"issues.parquet": b"no table"}, about, "1")
    found = open_audit(store, "audit")
    assert found is not None
    with pytest.raises(StorageError, match=r"issues\.parquet is not a Parquet file \(.*\)\. Audit that version again"):
        found.table("issues.parquet", CHANGES)


class Silent(Store):
    """Imitate a store that does not answer."""

    def read(self, key: str) -> bytes:
        raise StorageUnavailableError("no answer")


def test_storage_that_does_not_answer_is_not_damage(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10)))
    audit_insects(tmp_path, "v2", insects(wrong=(0, 10)))
    (record,) = (tmp_path / "out").rglob("version=v2/*/prepared.json")
    plan = Plan.from_json(record.read_bytes())
    with pytest.raises(StorageUnavailableError, match="no answer"):
        open_predecessor(Silent(str(tmp_path / "out")), plan)


def test_versions_that_failed_their_gate_are_passed_over(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10)))
    audit_insects(tmp_path, "v2", insects(wrong=(0, 10, 20)))
    store = Store(str(tmp_path / "out"))
    held = read_history(store, "insects")[1]
    write_audit_record(store, replace(held, gate="failed"))
    third = audit_insects(tmp_path, "v3", insects(wrong=(0, 10, 31)))
    changes = _summary(third)["changes"]
    assert (changes["predecessor"]["version"], changes["held_versions"]) == ("v1", ["v2"])
    assert "Skipped, because the gate failed: v2" in Path(third.report_url).read_text()
    assert find_predecessor(store, "insects", "v1", has_version_in_url=False) is None
    assert find_predecessor(store, "nothing", "v1", has_version_in_url=False) is None


def test_versions_in_the_url_are_ordered_by_name(tmp_path: Path) -> None:
    """The order of audits does not matter: a sweep that catches up must not compare v9 with v10."""
    dataset = {"name": "fruit"}
    for version in ("v10", "v9"):
        write_fruit(tmp_path / "fruit" / version / "a.parquet", fruit(60))
        config = _config(tmp_path, "{version}", dataset={**dataset, "version": version}, cross_validation={"folds": 2})
        assert _summary(audit(config))["changes"] is None, f"nothing before {version} was audited"
    last = config.model_copy(update={"dataset": config.dataset.model_copy(update={"version": "v10"})})
    detection = last.detection.model_copy(update={"filter": "predicted_neq_given"})
    again = _summary(audit(last.model_copy(update={"detection": detection})))
    assert again["changes"]["predecessor"]["version"] == "v9"
    trend = pq.read_table(tmp_path / "out" / "dataset=fruit" / "trend.parquet", partitioning=None)
    assert list(dict.fromkeys(trend["version"].to_pylist())) == ["v9", "v10"]


def test_audits_of_two_datasets_are_not_compared(tmp_path: Path, versions: Versions) -> None:
    other = audit_insects(tmp_path, "v1", insects(wrong=(0, 10))).audit_url
    opened = [open_audit(Store(url), "") for url in (versions.audits["v1"].audit_url, other)]
    assert opened[0] is not None
    assert opened[1] is not None
    with pytest.raises(ConfigError, match=r"is an audit of 'fruit', .* one of 'insects'"):
        compare_published(opened[0], opened[1])


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10)))
    (record,) = (tmp_path / "out" / "dataset=insects" / "_audits").rglob("*.json")
    record.write_text('{"dataset": "insects"}')
    with pytest.raises(StorageError, match=r"is not the record of an audit: version is missing"):
        audit_insects(tmp_path, "v2", insects(wrong=(0, 10)))
    record.unlink()
    audit_insects(tmp_path, "v1", insects(wrong=(0, 10)))
    assert [asdict(one)["version"] for one in read_history(Store(str(tmp_path / "out")), "insects")] == ["v1"]
