"""Whole audits of small datasets of every kind, without worker processes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from labelaudit import environment, schemas
from labelaudit.audit import DirectCaller, run_audit
from labelaudit.audits.results import load_summary
from labelaudit.environment import package_versions
from labelaudit.errors import DatasetError, TrainingError
from labelaudit.pipeline.plan import prepare
from labelaudit.schemas import Status
from labelaudit.storage.manifest import dump_json
from support.audits import (
    InProcess,
    Quiet,
    audit,
    fold_bytes,
    fruit,
    settings,
    table,
    write_fruit,
    write_reviews,
    write_squares,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Return an audit of the fruit and its folder."""
    folder = tmp_path_factory.mktemp("published")
    write_fruit(folder / "data" / "fruit.parquet")
    return audit(settings(folder / "data" / "fruit.parquet", folder / "out")), folder


def test_planted_errors_are_found(published) -> None:  # type: ignore[no-untyped-def]
    reference, _ = published
    frame = fruit()
    wrong = set(frame.id[frame.label != frame.true_label])
    found = set(table(reference, "issues")["example_id"].to_pylist())
    assert len(found & wrong) >= 0.8 * len(wrong)
    assert len(found - wrong) <= 0.05 * len(frame)
    assert reference.issues == len(found)
    assert reference.examples == reference.scored == len(frame)


def test_tables_have_the_schemas_of_the_contract(published) -> None:  # type: ignore[no-untyped-def]
    reference, _ = published
    for name in ("examples", "issues", "classes", "confusions", "folds"):
        expected = getattr(schemas, name.upper())
        assert table(reference, name).schema.equals(expected, check_metadata=True), name


def test_rows_agree_between_tables(published) -> None:  # type: ignore[no-untyped-def]
    reference, _ = published
    examples = table(reference, "examples").to_pandas()
    issues = table(reference, "issues").to_pandas()
    assert examples.example_id.is_monotonic_increasing
    assert list(issues["rank"]) == list(range(1, len(issues) + 1))
    assert issues.p_wrong.is_monotonic_decreasing
    assert examples.p_wrong.notna().eq(examples.status == "scored").all()
    flagged = examples[examples.is_label_issue.eq(True)].set_index("example_id")
    assert set(flagged.index) == set(issues.example_id)
    merged = issues.set_index("example_id").join(flagged, suffixes=("", "_of_examples"))
    assert (merged.suggested_label == merged.predicted_label).all()
    assert (merged.given_label != merged.suggested_label).all()
    classes = table(reference, "classes").to_pandas()
    assert classes.label_issues.sum() == len(issues) == table(reference, "confusions").to_pandas().examples.sum()
    assert classes.examples.sum() == len(examples)
    folds = table(reference, "folds").to_pandas()
    assert folds.held_out_examples.sum() == len(examples)
    assert (folds.training_examples + folds.held_out_examples == len(examples)).all()


def test_probabilities_are_out_of_fold(published) -> None:  # type: ignore[no-untyped-def]
    reference, _ = published
    held_out: list[str] = []
    examples = table(reference, "examples").to_pandas().set_index("example_id")
    for fold in range(3):
        part = pq.read_table(Path(reference.audit_url) / f"pred_probs/fold={fold}/part.parquet", partitioning=None)
        assert json.loads(part.schema.metadata[b"class_names"]) == ["apple", "pear", "plum"]
        ids = part["example_id"].to_pylist()
        assert set(examples.fold[ids]) == {fold}
        sums = [sum(row) for row in part["pred_probs"].to_pylist()]
        assert sums == pytest.approx([1.0] * len(ids), abs=1e-5)
        held_out += ids
    assert sorted(held_out) == list(examples.index)


def test_the_manifest_has_a_checksum_of_every_file(published) -> None:  # type: ignore[no-untyped-def]
    reference, _ = published
    folder = Path(reference.audit_url)
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {entry["path"] for entry in manifest["files"]} == files - {"manifest.json"}
    for entry in manifest["files"]:
        assert hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert manifest["fingerprint"]
    assert manifest["versions"]["torch"]
    assert manifest["config"]["training"]["epochs"] == 4


def test_latest_json_and_the_summary(published) -> None:  # type: ignore[no-untyped-def]
    reference, folder = published
    pointer = json.loads((folder / "out" / "dataset=fruit" / "latest.json").read_text())
    assert folder / "out" / pointer["audit"] == Path(reference.audit_url)
    summary = json.loads((Path(reference.audit_url) / "summary.json").read_text())
    assert summary["issues"] == reference.issues
    assert summary["statuses"] == {"scored": 240}
    assert summary["audit_url"] == reference.audit_url


def test_sql_reads_the_tables_as_they_are(published) -> None:  # type: ignore[no-untyped-def]
    reference, folder = published
    files = f"{folder}/out/dataset=*/version=*/audit=*/examples.parquet"
    query = f"""
        select dataset, version, count(*) filter (is_label_issue)
        from read_parquet('{files}', hive_partitioning = true)
        group by all
    """
    assert duckdb.sql(query).fetchall() == [("fruit", reference.version, reference.issues)]


def test_the_same_audit_is_found_and_not_run_again(published) -> None:  # type: ignore[no-untyped-def]
    reference, folder = published
    before = {path: path.stat().st_mtime_ns for path in Path(reference.audit_url).rglob("*")}
    caller = InProcess()
    again = audit(settings(folder / "data" / "fruit.parquet", folder / "out"), caller)
    assert again.status == "already_published"
    assert again.audit_url == reference.audit_url
    assert caller.steps == ["choose_version", "prepare", "find_published"]
    assert {path: path.stat().st_mtime_ns for path in Path(reference.audit_url).rglob("*")} == before


def test_another_filter_is_another_audit_of_the_same_folds(published) -> None:  # type: ignore[no-untyped-def]
    reference, folder = published
    work = folder / "out" / "dataset=fruit" / "_work" / "folds"
    committed = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    config = settings(folder / "data" / "fruit.parquet", folder / "out", detection={"filter": "predicted_neq_given"})
    other = audit(config)
    assert other.audit_id != reference.audit_id
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == committed
    assert fold_bytes(other) == fold_bytes(reference)
    assert Path(reference.audit_url, "manifest.json").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"training": {"seed": 1}},
        {"training": {"epochs": 5}},
        {"training": {"batch_size": 16}},
        {"training": {"learning_rate": 0.01}},
        {"cross_validation": {"folds": 4}},
        {"model": {"network": "mlp", "kwargs": {"hidden": [32]}}},
    ],
    ids=str,
)
def test_training_settings_change_the_folds(published, changed) -> None:  # type: ignore[no-untyped-def]
    reference, folder = published
    other = audit(settings(folder / "data" / "fruit.parquet", folder / "out", **changed))
    assert other.audit_id != reference.audit_id
    assert fold_bytes(other) != fold_bytes(reference)


def test_order_of_rows_and_shards_do_not_matter(published, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    reference, _ = published
    shuffled = fruit().sample(frac=1, random_state=3)
    for number, part in enumerate((shuffled[:50], shuffled[50:60], shuffled[60:])):
        write_fruit(tmp_path / "fruit" / f"shard-{number}.parquet", part)
    sharded = audit(settings(tmp_path / "fruit", tmp_path / "out"))
    assert sharded.version == reference.version, "the fingerprint is the same"
    assert sharded.audit_id != reference.audit_id, "its tables name other files"
    assert fold_bytes(sharded) == fold_bytes(reference)


def test_repeats_average_the_probabilities(published, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _, folder = published
    config = settings(folder / "data" / "fruit.parquet", tmp_path, cross_validation={"folds": 3, "repeats": 2})
    repeated = audit(config)
    folds = table(repeated, "folds").to_pandas()
    assert list(folds.fold) == [0, 1, 2, 3, 4, 5]
    assert list(folds.repeat) == [0, 0, 0, 1, 1, 1]
    assert len(set(folds.seed)) == 6
    parts = [
        pq.read_table(Path(repeated.audit_url) / f"pred_probs/fold={fold}/part.parquet", partitioning=None)
        for fold in range(6)
    ]
    given = table(repeated, "examples").to_pandas().set_index("example_id")
    mean = (
        pd.concat([pd.Series(part["pred_probs"].to_pylist(), index=part["example_id"].to_pylist()) for part in parts])
        .apply(lambda row: row[0])
        .groupby(level=0)
        .agg(["mean", "count"])
    )
    assert (mean["count"] == 2).all()
    apples = given[given.given_label == "apple"]
    assert apples.p_given.to_numpy() == pytest.approx(mean.loc[apples.index, "mean"].to_numpy(), abs=1e-5)


def test_every_row_has_a_status(tmp_path: Path) -> None:
    frame = fruit()
    frame.loc[3, "label"] = None
    frame.loc[4, "label"] = "  "
    frame.loc[[5, 6], "label"] = "quince"
    conflicting = frame.loc[[8]].assign(weight=99.0)
    frame = pd.concat([frame, frame.loc[[7]], conflicting], ignore_index=True)
    write_fruit(tmp_path / "fruit.parquet", frame)
    reference = audit(settings(tmp_path / "fruit.parquet", tmp_path / "out"))
    examples = table(reference, "examples").to_pandas()
    assert len(examples) == 242
    by_status = examples.groupby("status").example_id.apply(sorted)
    assert by_status["unlabeled"] == ["fruit-0003", "fruit-0004"]
    assert by_status["rare_class"] == ["fruit-0005", "fruit-0006"]
    assert by_status["duplicate_id"] == ["fruit-0007", "fruit-0008", "fruit-0008"]
    assert len(by_status["scored"]) == 235
    unscored = examples[examples.status != Status.SCORED]
    assert unscored[["fold", "label_score", "is_label_issue", "predicted_label", "margin"]].isna().all(axis=None)
    classes = table(reference, "classes").to_pandas()
    assert classes.class_name.iloc[-1] == "quince"
    assert classes.status.iloc[-1] == "rare_class"
    page = Path(reference.report_url).read_text()
    for word in ("rare class", "unlabeled", "duplicate id"):
        assert word in page


def test_an_image_folder(tmp_path: Path) -> None:
    folder = write_squares(tmp_path / "squares")
    (folder / "red" / "00.png").write_bytes(b"<html>not an image</html>")
    config = settings(folder, tmp_path / "out", training={"batch_size": 8})
    reference = audit(config)
    assert (reference.examples, reference.scored) == (40, 39)
    unreadable = table(reference, "examples").to_pandas().query("status == 'unreadable'")
    assert list(unreadable.example_id) == ["red/00.png"]
    assert list(unreadable.given_label) == ["red"]


def test_texts_from_json_lines(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "reviews.jsonl")
    reference = audit(settings(path, tmp_path / "out", training={"batch_size": 16}))
    assert table(reference, "folds").to_pandas().agreement.min() > 0.9
    # What was guessed about the columns is a note, in the summary and on the page.
    (note,) = [note for note in load_summary(reference, {}).notes if note.lower().startswith("text column")]
    assert "'text'" in note
    assert "text column" in Path(reference.report_url).read_text().lower()


def test_a_csv_of_any_fsspec_url(tmp_path: Path) -> None:
    fruit().to_csv(tmp_path / "fruit.csv", index=False)
    reference = audit(settings(f"file://{tmp_path}/fruit.csv", f"file://{tmp_path}/out"))
    assert reference.scored == 240
    assert Path(reference.report_url).is_file()


def test_a_dataset_on_s3_is_audited_to_s3(s3: str, tmp_path: Path) -> None:
    frame = fruit()
    frame.to_parquet(f"{s3}/fruit/v1/part-0.parquet", index=False)
    reference = audit(settings(f"{s3}/fruit/v1", f"{s3}/audits"))
    assert reference.version == "v1"
    assert reference.audit_url.startswith(f"{s3}/audits/dataset=fruit/version=v1/audit=")
    local = audit(settings(write_fruit(tmp_path / "fruit.parquet"), tmp_path / "out"))
    issues = pd.read_parquet(f"{reference.audit_url}/issues.parquet")
    assert issues.drop(columns=["file"]).equals(table(local, "issues").to_pandas().drop(columns=["file"]))


def test_a_dataset_that_changes_while_it_is_audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_fruit(tmp_path / "fruit.parquet")

    class Changing(InProcess):
        def train_folds(self, workers, reference, folds):  # type: ignore[no-untyped-def]
            write_fruit(path, fruit(seed=9))
            # Another machine that has not decoded the dataset yet.
            monkeypatch.setenv("LABELAUDIT_CACHE_DIR", str(tmp_path / "other-machine"))
            return super().train_folds(workers, reference, folds)

    with pytest.raises(DatasetError, match="has changed since this audit began"):
        audit(settings(path, tmp_path / "out"), Changing())
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match="contains no files"):
        audit(settings(tmp_path / "data", tmp_path / "out"))


def test_a_missing_dataset_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Nothing is stored at"):
        audit(settings(tmp_path / "none.parquet", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_missing_gpu_is_an_error(tmp_path: Path) -> None:
    path = write_fruit(tmp_path / "fruit.parquet")
    with pytest.raises(TrainingError, match="no CUDA device is visible"):
        run_audit(settings(path, tmp_path / "out", training={"device": "cuda"}), DirectCaller(Quiet()))


def test_packages_that_are_not_installed_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit of local files without a Prefect API needs neither Prefect nor s3fs."""
    found = package_versions()

    def version(name: str) -> str:
        if name in ("prefect", "s3fs"):
            raise importlib.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(environment, "_installed_version", version)
    assert found.keys() - package_versions().keys() == {"prefect", "s3fs"}


def test_hostile_labels_stay_text(tmp_path: Path) -> None:
    frame = fruit()
    hostile = "<script>alert(1)</script>"
    frame["label"] = frame.label.replace({"apple": hostile})
    frame["id"] = [f'"><img src=x onerror=alert({number})>' for number in range(len(frame))]
    reference = audit(settings(write_fruit(tmp_path / "fruit.parquet", frame), tmp_path / "out"))
    page = Path(reference.report_url).read_text()
    assert hostile not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<img src=x" not in page
    assert hostile in set(table(reference, "examples")["given_label"].to_pylist())


def test_the_plan_of_a_killed_run_is_kept(tmp_path: Path) -> None:
    """The audit keeps its time. Everything else is decided again from the config."""
    path = write_fruit(tmp_path / "fruit.parquet")
    reference = prepare(settings(path, tmp_path / "out"))
    record = tmp_path / "out" / reference.key
    first = json.loads(record.read_bytes())
    earlier = {**first, "created_at": "2020-01-01T00:00:00+00:00", "machine": {"cores": "1"}}
    record.write_bytes(dump_json(earlier))
    assert prepare(settings(path, tmp_path / "out", workers={"max_parallel": 1})).sha256 != reference.sha256
    assert json.loads(record.read_bytes()) == earlier
    # An attacker who can write there makes the audit call another function.
    foreign = {**earlier, "recipe": {**first["recipe"], "network": "os:system"}}
    record.write_bytes(dump_json(foreign))
    assert prepare(settings(path, tmp_path / "out")).sha256 == hashlib.sha256(record.read_bytes()).hexdigest()
    assert json.loads(record.read_bytes())["recipe"] == first["recipe"]
