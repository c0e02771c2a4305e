"""External probabilities: what is accepted, and what is refused with which message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelaudit.audit as audit_module
from labelaudit.audit import audit_probabilities
from labelaudit.audits.comparison import compare_published
from labelaudit.audits.published import find_audit
from labelaudit.audits.references import AuditReference
from labelaudit.config import build_config
from labelaudit.errors import ConfigError, DatasetError, ReviewError
from labelaudit.pipeline.external_probabilities import ExternalProbabilities
from labelaudit.reviews.audit_review import audit_to_review
from labelaudit.reviews.verdict_store import append_verdicts
from labelaudit.storage.manifest import sha256_hex
from labelaudit.storage.store import Store
from support.reviewed import make_verdict

ROWS = 120
RIGHT = np.arange(ROWS) % 3
GIVEN = np.where(np.arange(ROWS) % 15 == 0, (RIGHT + 1) % 3, RIGHT)
NAMES = np.array(["ant", "bee", "fly"])
PRED_PROBS = 0.05 + 0.85 * np.eye(3)[RIGHT]


def _audit(output: Path, url: object, name: str | None = None, **arguments: object) -> AuditReference:
    config = build_config({"dataset": {"url": str(url), "name": name}, "output": {"url": str(output)}})
    return audit_probabilities(config, ExternalProbabilities(str(url), **arguments))  # type: ignore[arg-type]


def _write(path: Path, metadata: dict[str, str] | None = None, **columns: object) -> Path:
    values = {"id": [f"i{number}" for number in range(ROWS)], "label": NAMES[GIVEN], "pred_probs": list(PRED_PROBS)}
    table = pa.table({name: value for name, value in {**values, **columns}.items() if value is not None})
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def _issues(reference: AuditReference) -> set[str]:
    return set(pd.read_parquet(Path(reference.audit_url) / "issues.parquet").example_id)


WRONG = {f"i{number}" for number in range(0, ROWS, 15)}


def test_class_names_from_metadata_and_the_same_audit_again(tmp_path: Path) -> None:
    order = [2, 0, 1]
    path = _write(
        tmp_path / "p.parquet",
        {"class_names": json.dumps(NAMES[order].tolist())},
        pred_probs=list(PRED_PROBS[:, order]),
    )
    first = _audit(tmp_path / "out", path)
    assert _issues(first) == WRONG
    again = _audit(tmp_path / "out", path)
    assert (again.status, again.audit_url) == ("already_published", first.audit_url)


def test_the_same_probabilities_from_another_file(tmp_path: Path) -> None:
    """Tables and page name the file, so another file gives another audit and the first one stays complete."""
    first = _audit(tmp_path / "out", _write(tmp_path / "p.parquet"), name="fruit")
    before = _files(first)
    second = _audit(tmp_path / "out", _write(tmp_path / "q.parquet"), name="fruit")
    assert (second.status, second.version) == ("published", first.version)
    assert second.audit_url != first.audit_url
    assert _files(first) == before
    assert set(pd.read_parquet(Path(second.audit_url) / "examples.parquet").file) == {"q.parquet"}


def test_the_same_probabilities_in_another_order_of_rows(tmp_path: Path) -> None:
    first = _audit(tmp_path / "out", _write(tmp_path / "p.parquet"))
    table = pq.read_table(tmp_path / "p.parquet")
    pq.write_table(table.take(np.arange(ROWS)[::-1]), tmp_path / "p.parquet")
    second = _audit(tmp_path / "out", tmp_path / "p.parquet")
    assert second.version == first.version
    assert second.audit_id != first.audit_id


def _files(audit: AuditReference) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(audit.audit_url).rglob("*") if path.is_file()}


@pytest.mark.parametrize("other", ["p.parquet", "q.parquet"])
def test_two_runs_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """The second audit starts and ends after the first one has found nothing published and before it has written."""
    path = _write(tmp_path / "p.parquet")
    others = [_write(tmp_path / other)]
    find = audit_module.existing_audit

    def look_and_be_overtaken(*arguments: Any) -> AuditReference | None:
        found = find(*arguments)
        if others:
            _audit(tmp_path / "out", others.pop(), name="fruit")
        return found

    monkeypatch.setattr(audit_module, "existing_audit", look_and_be_overtaken)
    assert _audit(tmp_path / "out", path, name="fruit").status == "published"
    manifests = list((tmp_path / "out").rglob("manifest.json"))
    assert len(manifests) == (1 if other == "p.parquet" else 2)
    for manifest in manifests:
        for entry in json.loads(manifest.read_text())["files"]:
            assert sha256_hex((manifest.parent / entry["path"]).read_bytes()) == entry["sha256"]


def test_the_plan_of_a_killed_or_simultaneous_run_is_kept(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet")
    folder = Path(_audit(tmp_path / "out", path).audit_url)
    (record,) = (tmp_path / "out").rglob("prepared.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "created_at": "2026-01-01T00:00:00+00:00"}))
    (folder / "manifest.json").unlink()
    _audit(tmp_path / "out", path)
    assert json.loads((folder / "manifest.json").read_text())["created_at"] == "2026-01-01T00:00:00+00:00"
    assert "2026-01-01T00:00:00" in (folder / "report.html").read_text()


def test_rows_in_any_order(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(ROWS)
    ids = np.array([f"i{number}" for number in range(ROWS)])
    path = _write(tmp_path / "p.parquet", id=ids[order], label=NAMES[GIVEN[order]], pred_probs=list(PRED_PROBS[order]))
    reference = _audit(tmp_path / "out", path)
    assert _issues(reference) == WRONG
    examples = pd.read_parquet(Path(reference.audit_url) / "examples.parquet")
    assert examples.example_id.is_monotonic_increasing
    assert (ids[order][examples["row"]] == examples.example_id).all()


def test_labels_may_be_class_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", {"class_names": json.dumps(NAMES.tolist())}, label=GIVEN)
    reference = _audit(tmp_path / "out", path)
    assert _issues(reference) == WRONG
    examples = pd.read_parquet(Path(reference.audit_url) / "examples.parquet")
    assert set(examples.given_label) == set(NAMES)


def test_rows_without_label_and_without_ids(tmp_path: Path) -> None:
    labels = NAMES[GIVEN].astype(object)
    labels[5] = None
    path = _write(tmp_path / "p.parquet", id=None, label=labels)
    reference = _audit(tmp_path / "out", path)
    assert (reference.examples, reference.scored) == (ROWS, ROWS - 1)
    assert _issues(reference) == {f"row-{number:03d}" for number in range(0, ROWS, 15)}
    notes = json.loads((Path(reference.audit_url) / "summary.json").read_text())["notes"]
    assert any("ids: row numbers" in note for note in notes)
    assert any("neither --classes nor metadata names them" in note for note in notes)


def _without_ids(
    folder: Path, version: str, drop: int = 0, ids: list[str] | None = None, **gate: int
) -> AuditReference:
    """Return a version without its first rows, so that all others move up."""
    kept = slice(drop, None)
    path = _write(folder / f"{version}.parquet", id=ids, label=NAMES[GIVEN][kept], pred_probs=list(PRED_PROBS[kept]))
    dataset = {"url": str(path), "name": "insects", "version": version}
    config = build_config({"dataset": dataset, "output": {"url": str(folder / "out")}, "gate": gate})
    return audit_probabilities(config, ExternalProbabilities(str(path)))


def _summary(reference: AuditReference) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((Path(reference.audit_url) / "summary.json").read_text())
    return summary


def test_row_numbers_are_not_used_in_another_version(tmp_path: Path) -> None:
    """Neither a verdict nor a comparison confuses row 15 of one version with row 15 of the next."""
    first = _without_ids(tmp_path, "v1")
    assert _summary(first)["changes"] is None
    fine = make_verdict("row-015", content_digest=None, given_label=NAMES[GIVEN[15]])
    append_verdicts(Store(str(tmp_path / "out")), "insects", [fine])
    second = _without_ids(tmp_path, "v2", drop=15, max_new_issues=0)
    summary = _summary(second)
    assert second.issues == 7
    assert summary["review"]["dismissed"] == sum(summary["review"]["verdicts"].values()) == 0
    assert summary["changes"] is None
    assert not (Path(second.audit_url) / "changes.parquet").exists()
    assert any("Name the ids with --id" in note for note in summary["notes"])
    assert summary["gate"]["verdict"] == "warned"
    assert "row numbers" in summary["gate"]["rules"][0]["sentence"]


def test_versions_with_ids_pass_over_one_without(tmp_path: Path) -> None:
    ids = [f"i{number}" for number in range(ROWS)]
    _without_ids(tmp_path, "v1", ids=ids)
    _without_ids(tmp_path, "v2")
    third = _summary(_without_ids(tmp_path, "v3", ids=ids))
    assert third["changes"]["predecessor"]["version"] == "v1"
    only = tmp_path / "only"
    only.mkdir()
    _without_ids(only, "v1")
    second = _summary(_without_ids(only, "v2", ids=ids, max_new_issues=0))
    assert (second["changes"], second["gate"]["verdict"]) == (None, "warned")
    assert second["notes"][0].startswith("Not compared with version v1, the previous audit. Rows without an id column")


def test_audits_of_row_numbers_are_neither_reviewed_nor_compared(tmp_path: Path) -> None:
    audits = [find_audit(_without_ids(tmp_path, version).audit_url) for version in ("v1", "v2")]
    with pytest.raises(
        ReviewError, match=r"cannot be reviewed\. Rows without an id column .* name their ids with --id"
    ):
        audit_to_review(audits[0].url)
    with pytest.raises(
        ConfigError, match=r"cannot be compared\. Rows without an id column .* name their ids with --id"
    ):
        compare_published(*audits)


def test_dictionary_labels_and_probabilities_outside_the_table(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.parquet", label=pa.array(NAMES[GIVEN]).dictionary_encode(), pred_probs=None)
    np.save(tmp_path / "p.npy", PRED_PROBS.astype(np.float32))
    assert _issues(_audit(tmp_path / "out", path, pred_probs=str(tmp_path / "p.npy"))) == WRONG


def _npy(path: Path, value: object) -> str:
    np.save(path, np.asarray(value))
    return str(path)


REFUSED: dict[str, tuple[Callable[[Path], tuple[Path, dict[str, object]]], str]] = {
    "no label at all": (
        lambda folder: (_write(folder / "p.parquet", label=pa.nulls(ROWS, pa.string())), {}),
        "No row of .* has a label",
    ),
    "missing column": (
        lambda folder: (_write(folder / "p.parquet"), {"label": "lable"}),
        r"has no column 'lable'\. Name one of its columns: id, label, pred_probs",
    ),
    "fewer labels than rows": (
        lambda folder: (
            folder / "p.npy",
            {"label": _npy(folder / "y.npy", GIVEN[1:]), "x": _npy(folder / "p.npy", PRED_PROBS)},
        ),
        "There are 119 labels but 120 rows of probabilities",
    ),
    "fewer ids than rows": (
        lambda folder: (_write(folder / "p.parquet"), {"id": _npy(folder / "i.npy", np.arange(9))}),
        "There are 9 ids but 120 labels",
    ),
    "null ids": (
        lambda folder: (_write(folder / "p.parquet", id=[None, *map(str, range(1, ROWS))]), {}),
        "1 of 120 rows have no id in 'id'",
    ),
    "another number of classes": (
        lambda folder: (_write(folder / "p.parquet"), {"class_names": ("ant", "bee")}),
        "3 columns of probabilities for 2 classes",
    ),
    "labels outside the classes": (
        lambda folder: (_write(folder / "p.parquet"), {"class_names": ("ant", "bee", "cat")}),
        r"1 labels are not among the 3 classes of the probabilities \(fly\)",
    ),
    "a flat array": (
        lambda folder: (folder / "p.npy", {"label": "y.npy", "x": _npy(folder / "p.npy", GIVEN)}),
        r"contains an array of shape \(120,\) and dtype int64\. Save probabilities as floats",
    ),
    "labels in two dimensions": (
        lambda folder: (_write(folder / "p.parquet"), {"label": _npy(folder / "y.npy", PRED_PROBS)}),
        r"contains an array of shape \(120, 3\)\. Save one value per row",
    ),
    "a column of a .npy file": (
        lambda folder: (folder / "p.npy", {"label": "label", "x": _npy(folder / "p.npy", PRED_PROBS)}),
        "contains only probabilities, so it has no column 'label'",
    ),
    "probabilities that are numbers": (
        lambda folder: (_write(folder / "p.parquet", pred_probs=np.arange(ROWS) / ROWS), {}),
        "must contain one list of K probabilities in every row, but its type is double",
    ),
    "names that are not JSON": (
        lambda folder: (_write(folder / "p.parquet", {"class_names": "ant, bee, fly"}), {}),
        "class_names in the file's metadata must be a JSON list of strings",
    ),
    "quantities as labels": (
        lambda folder: (_write(folder / "p.parquet", label=np.arange(ROWS) + 0.5), {}),
        r"contains 120 distinct numbers with fractions, such as 0\.5 .*These are quantities",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    url, arguments = make(tmp_path)
    arguments.pop("x", None)
    with pytest.raises(DatasetError, match=message):
        _audit(tmp_path / "out", url, **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.parquet", b"<html></html>", "cannot be read as Parquet"),
        ("p.npy", b"<html></html>", "is not a .npy file of numbers or strings"),
        ("p.npy", b"", "is not a .npy file of numbers or strings"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message.replace(".", r"\.")):
        _audit(tmp_path / "out", tmp_path / name)


def test_a_pickle_in_a_npy_file_is_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"is not a \.npy file"):
        _audit(tmp_path / "out", tmp_path / "p.npy")
