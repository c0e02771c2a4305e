"""Audits of several views: what is trained, checked, blended and published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.references import AuditReference
from labelaudit.audits.results import load_summary
from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, Fault, IntegrityError
from labelaudit.findings import Encoding
from labelaudit.pipeline import train
from labelaudit.pipeline.gather import gather
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import train_and_commit
from labelaudit.storage.manifest import sha256_hex
from support.audits import CLASSES, InProcess, audit, png, settings, table, write_reviews, write_squares
from support.users_encoder import NAME, install_encoder

ROWS, FOLDS = 240, 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write vectors of three classes that overlap. Every tenth label is wrong."""
    generator = np.random.default_rng(0)
    right = generator.integers(0, 3, ROWS)
    values = generator.normal(size=(ROWS, 12)) + 2 * np.eye(3, 12)[right]
    given = np.where(np.arange(ROWS) % 10 == 3, (right + 1) % 3, right)
    columns = {
        "id": [f"v{number:03d}" for number in range(ROWS)],
        "label": [CLASSES[label] for label in given],
        "vector": pa.array(values.tolist(), pa.list_(pa.float32())),
    }
    path = tmp_path_factory.mktemp("data") / "vectors.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def config_of(data: Path, output: Path, views: list[str] | str, **sections: object) -> AuditConfig:
    return settings(data, output, model={"views": views}, dataset={"name": "vectors"}, **sections)


def fold_records(output: Path) -> dict[str, bytes]:
    """Return the records of committed folds, by view and fold."""
    records = {}
    for path in output.glob("dataset=*/_work/folds/*/fold=*.json"):
        record = json.loads(path.read_bytes())
        records[f"{record['view']} {record['fold']}"] = path.read_bytes()
    return records


@pytest.fixture(scope="module")
def three_views(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit with all views, and return the folder of the audit."""
    output = tmp_path_factory.mktemp("three") / "out"
    views = ["network", "probe", "neighbours"]
    return Path(audit(config_of(data, output, views, training={"epochs": 20})).audit_url)


def test_tables_describe_each_view_and_the_blend(three_views: Path) -> None:
    views = pq.read_table(three_views / "views.parquet").to_pandas().set_index("view")
    assert list(views.index) == ["network", "probe", "neighbours", "blend"]
    assert views.weight[:3].sum() == pytest.approx(1)
    assert views.log_loss["blend"] < 1.05 * views.log_loss[:3].min()
    assert (views.other_label == (ROWS * (1 - views.agreement)).round()).all()
    assert (views.confirmed[:3] <= views.other_label[:3]).all()
    folds = pq.read_table(three_views / "folds.parquet").to_pandas()
    assert folds.view.value_counts().to_dict() == dict.fromkeys(views.index, FOLDS)
    blended = folds[folds.view == "blend"]
    assert np.average(blended.agreement, weights=blended.held_out_examples) == pytest.approx(views.agreement["blend"])
    assert blended.training_loss.isna().all()


def test_the_published_probabilities_are_the_blend(three_views: Path) -> None:
    examples = pq.read_table(three_views / "examples.parquet").to_pandas().set_index("example_id")
    rows = 0
    for path in three_views.glob("pred_probs/fold=*/part.parquet"):
        part = pq.read_table(path).to_pandas().set_index("example_id")
        pred_probs = np.stack(part.pred_probs)
        assert pred_probs.sum(axis=1) == pytest.approx(np.ones(len(part)), abs=1e-5)
        given = [CLASSES.index(label) for label in examples.given_label[part.index]]
        found = examples.label_score[part.index].to_numpy()
        assert found == pytest.approx(pred_probs[np.arange(len(part)), given], abs=1e-6)
        rows += len(part)
    assert rows == ROWS


def test_wrong_labels_rank_first_and_views_agree_on_them(three_views: Path) -> None:
    examples = pq.read_table(three_views / "examples.parquet").to_pandas()
    is_wrong = examples.example_id.str[1:].astype(int) % 10 == 3
    assert average_precision_score(is_wrong, examples.p_wrong) > 0.6
    assert examples.views_agree[is_wrong].mean() > 2
    assert examples.views_agree[~is_wrong].mean() < 1
    assert set(examples.views_agree) <= {0, 1, 2, 3}
    issues = pq.read_table(three_views / "issues.parquet").to_pandas()
    assert issues.views_agree.notna().all()


def test_the_report_has_a_section_on_views(three_views: Path) -> None:
    page = (three_views / "report.html").read_text()
    assert 'id="views"' in page
    assert "the labels of the nearest rows in the space of these features" in page


def test_one_view_is_published_as_it_is(data: Path, tmp_path: Path) -> None:
    reference = audit(config_of(data, tmp_path / "out", ["probe"]))
    (views,) = table(reference, "views").to_pylist()
    assert (views["view"], views["weight"], views["log_loss"]) == ("probe", 1.0, None)
    assert table(reference, "examples")["views_agree"].null_count == ROWS
    assert 'id="views"' not in (Path(reference.audit_url) / "report.html").read_text()
    published = {path.read_bytes() for path in Path(reference.audit_url).glob("pred_probs/*/part.parquet")}
    assert published == {
        path.read_bytes() for path in (tmp_path / "out").glob("dataset=*/_work/folds/*/fold=*.parquet")
    }


def test_vectors_get_probe_and_neighbours_by_default(data: Path, tmp_path: Path) -> None:
    caller = InProcess()
    audit(config_of(data, tmp_path / "out", "auto"), caller)
    assert [view.name for view in load_plan(caller.references[0]).views] == ["probe", "neighbours"]
    assert not [step for step in caller.steps if "encod" in step]


def test_another_view_is_trained_alone(data: Path, tmp_path: Path) -> None:
    audit(config_of(data, tmp_path / "out", ["probe"]))
    before = fold_records(tmp_path / "out")
    audit(config_of(data, tmp_path / "out", ["probe", "neighbours"]))
    after = fold_records(tmp_path / "out")
    assert after.keys() == {f"{view} {fold}" for view in ("probe", "neighbours") for fold in range(FOLDS)}
    # A record contains the seconds of its training.
    assert {name: after[name] for name in before} == before


def test_a_fold_that_stops_between_views_resumes_there(
    data: Path, tmp_path: Path, three_views: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = ["network", "probe", "neighbours"]
    config = config_of(data, tmp_path / "out", views, training={"epochs": 20})

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(train._FIT, "neighbours", fail)
        with pytest.raises(KeyboardInterrupt):
            audit(config)
    before = fold_records(tmp_path / "out")
    assert before.keys() == {"network 0", "probe 0"}
    resumed = Path(audit(config).audit_url)
    after = fold_records(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    for name in ("examples.parquet", "issues.parquet", "views.parquet", "pred_probs/fold=0/part.parquet"):
        assert (resumed / name).read_bytes() == (three_views / name).read_bytes()


def test_a_damaged_view_is_named(data: Path, tmp_path: Path) -> None:
    reference = prepare(config_of(data, tmp_path / "out", ["probe", "neighbours"]))
    folds = [train_and_commit(reference, fold) for fold in range(FOLDS)]
    record_path = tmp_path / "out" / folds[1].keys[1]
    record = json.loads(record_path.read_text())
    rows = pq.read_table(tmp_path / "out" / record["key"])
    pq.write_table(rows.slice(1), tmp_path / "out" / record["key"])
    record["sha256"] = sha256_hex((tmp_path / "out" / record["key"]).read_bytes())
    record_path.write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match=r"^\[rows-missing\] view neighbours, fold 1: 1 rows") as raised:
        gather(reference, folds)
    assert (raised.value.fault, raised.value.view, raised.value.fold) == (Fault.ROWS_MISSING, "neighbours", 1)


def test_texts_with_the_users_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_encoder(tmp_path, monkeypatch)
    data = write_reviews(tmp_path / "reviews.jsonl")
    model = {"encoder": NAME}
    caller = InProcess()
    reference = audit(settings(data, tmp_path / "out", model=model, training={"epochs": 2}), caller)
    assert caller.steps.count("encode_shard") == 1
    assert table(reference, "views")["view"].to_pylist() == ["network", "probe", "neighbours", "blend"]
    manifest = json.loads((Path(reference.audit_url) / "manifest.json").read_text())
    assert manifest["encoder"]["name"] == NAME
    assert len(manifest["encoder"]["weights_sha256"]) == 64
    assert load_summary(reference, {}).encoding == Encoding(NAME, 120, 0)
    assert f"This audit encoded 120 of 120 different contents with {NAME}." in report_of(reference)
    again = InProcess()
    second = audit(settings(data, tmp_path / "out", model=model, training={"epochs": 2, "seed": 1}), again)
    assert "encode_shard" not in again.steps
    assert load_summary(second, {}).encoding == Encoding(NAME, 0, 120)
    assert "The features of all 120 different contents were stored by earlier audits." in report_of(second)


def audit_reviews(folder: Path, version: str, rows: int) -> AuditReference:
    """Audit a version of the first reviews with the user's encoder."""
    lines = write_reviews(folder / "reviews.jsonl").read_text().splitlines(keepends=True)
    (folder / version).mkdir()
    (folder / version / "reviews.jsonl").write_text("".join(lines[:rows]))
    dataset = {"name": "reviews", "version": version}
    model = {"encoder": NAME, "views": ["probe"]}
    return audit(settings(folder / "{version}", folder / "out", dataset=dataset, model=model))


def test_a_new_version_encodes_its_new_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_encoder(tmp_path, monkeypatch)
    audits = [audit_reviews(tmp_path, version, rows) for version, rows in (("v1", 110), ("v2", 112))]
    summaries = [load_summary(reference, {}) for reference in audits]
    assert [summary.encoding for summary in summaries] == [Encoding(NAME, 110, 0), Encoding(NAME, 2, 110)]
    assert not any("damaged" in note for summary in summaries for note in summary.notes)


def test_damaged_features_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_encoder(tmp_path, monkeypatch)
    audit_reviews(tmp_path, "v1", 110)
    (data,) = (tmp_path / "out").rglob("_features/*/*.parquet")
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    data.write_bytes(damaged)
    second = audit_reviews(tmp_path, "v2", 112)
    notes = load_summary(second, {}).notes
    assert "1 file of stored features is damaged. Rows that the audit needs were encoded again." in notes
    assert [note for note in notes if note.startswith(f"The features in {data} are not used: its sha256 is ")]
    assert "1 file of stored features is damaged." in report_of(second)


def report_of(reference: AuditReference) -> str:
    return (Path(reference.audit_url) / "report.html").read_text()


@pytest.mark.parametrize(
    ("write", "model", "message"),
    [
        (
            write_squares,
            {"encoder": "none", "views": ["probe"]},
            r"needs features of an encoder\. model\.encoder is none",
        ),
        (
            write_squares,
            {"encoder": NAME, "views": ["network"]},
            r"names only the network, which uses no encoder\. Add probe",
        ),
        (
            lambda path: write_reviews(path.with_suffix(".jsonl")),
            {"encoder": "efficientnet-lite0"},
            r"'efficientnet-lite0' is for the kind 'image', but the rows are of kind 'text'",
        ),
    ],
)
def test_settings_that_contradict_each_other(
    write: Callable[[Path], Path], model: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(settings(write(tmp_path / "data"), tmp_path / "out", model=model))
    assert not list((tmp_path / "out").rglob("prepared.json"))


def test_vectors_need_no_encoder(data: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "out", model={"encoder": "minilm"})
    with pytest.raises(ConfigError, match=r"the inputs are vectors, which need no encoder\. Remove model\.encoder"):
        prepare(config)


def test_tables_have_no_features(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,label\n" + "".join(f"{n},{n % 7},{'xy'[n % 2]}\n" for n in range(40)))
    with pytest.raises(ConfigError, match=r"There is no encoder for the kind table\. Remove the view"):
        prepare(settings(path, tmp_path / "out", model={"encoder": "auto", "views": ["network", "probe"]}))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"encoder": "none"}, "model.encoder is none"),
        ({"views": ["network"]}, "model.views names only the network"),
    ],
)
def test_arguments_of_no_encoder(model: dict[str, object], reason: str, tmp_path: Path) -> None:
    data = write_squares(tmp_path / "data")
    model = {**model, "encoder_kwargs": {"input_size": 64}}
    with pytest.raises(ConfigError, match=f"model.encoder_kwargs has no effect, because {reason}"):
        prepare(settings(data, tmp_path / "out", model=model))


def test_the_encoder_sees_photographs_at_its_own_size(tmp_path: Path) -> None:
    """Whatever the size for the network is, so that another network encodes nothing."""
    data = write_photographs(tmp_path / "data")
    for size in (16, 32):
        model = {"encoder": "efficientnet-lite0", "kwargs": {"image_size": size}}
        reference = prepare(settings(data, tmp_path / "out", model=model))
        encoder = load_plan(reference).encoder
        assert encoder is not None
        assert encoder.input_size == 224


def write_photographs(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 255, (90, 120, 3), np.uint8)
            (folder / name / f"{number}.png").write_bytes(png(pixels))
    return folder
