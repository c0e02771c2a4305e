"""What whole audits say about outliers: of vectors and tables, between versions, and without features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelaudit.audits.audit_plan import load_plan
from labelaudit.audits.comparison import compare_published
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.audits.version import PUBLISHED_COLUMNS, load_version
from labelaudit.config import AuditConfig
from labelaudit.nearest import find_nearest
from labelaudit.pipeline import near_rows
from labelaudit.pipeline.feature_space import search_space
from labelaudit.pipeline.plan import prepare
from labelaudit.schemas import EXAMPLES, ISSUES, MAP, NEIGHBOURS_TABLE, OUTLIERS, PREVIEWS
from support.audits import audit, settings, table
from support.tiny_encoder import TinyEncoder, prepared

ROWS, FOREIGN = 240, ["v005", "v100"]


def vectors(foreign: list[str]) -> pd.DataFrame:
    """Return vectors of three classes, some of them far from all others. Row v010 is a copy of v005."""
    generator = np.random.default_rng(0)
    label = np.arange(ROWS) % 3
    values = 3 * generator.normal(size=(3, 12))[label] + generator.normal(size=(ROWS, 12))
    ids = [f"v{number:03d}" for number in range(ROWS)]
    for number, name in enumerate(foreign):
        values[ids.index(name)] = 40 * (-1) ** number
    if foreign:
        values[10] = values[5]
    return pd.DataFrame({"id": ids, "label": [f"class {number}" for number in label], "vector": list(values)})


def config(folder: Path, version: str) -> AuditConfig:
    dataset = {"name": "vectors", "version": version, "label": "label", "id": "id"}
    views = {"views": ["network"]}
    url = folder / "vectors" / "{version}.parquet"
    return settings(url, folder / "out", dataset=dataset, cross_validation={"folds": 2}, model=views)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audit v1 with two foreign contents, and v2 with none."""
    folder = tmp_path_factory.mktemp("versions")
    (folder / "vectors").mkdir()
    for version, foreign in (("v1", FOREIGN), ("v2", [])):
        vectors(foreign).to_parquet(folder / "vectors" / f"{version}.parquet", index=False)
        audit(config(folder, version))
    return folder


def published(versions: Path, version: str) -> PublishedAudit:
    return find_audit(version, dataset_url=f"{versions}/out/dataset=vectors")


def test_foreign_rows_are_listed(versions: Path) -> None:
    found = published(versions, "v1")
    listed = found.table("outliers.parquet", OUTLIERS).to_pandas()
    # A copy has the score of its original.
    assert set(listed["example_id"]) == {"v005", "v010", "v100"}
    assert listed["outlier_score"].is_monotonic_decreasing
    examples = found.table("examples.parquet", EXAMPLES).to_pandas().set_index("example_id")
    assert examples["outlier_score"].notna().all()
    assert examples["outlier_score"].nlargest(3).tolist() == listed["outlier_score"].tolist()
    summary = found.summary()
    assert summary.outliers is not None
    assert (summary.outliers.rows, summary.outliers.undecided) == (3, 3)
    assert summary.outliers.cut is not None
    assert 1 < summary.outliers.cut < listed["outlier_score"].min()
    assert "3 rows are unlike all others; see outliers.parquet. About one is expected by chance." in summary.notes
    assert {"v005", "v010", "v100"} <= set(found.table("previews.parquet", PREVIEWS)["example_id"].to_pylist())
    page = found.read("report.html").decode()
    assert 'id="outliers"' in page
    assert "40, 40, 40" in page.partition('id="outliers"')[2].partition("</section>")[0]


def test_neighbours_of_reviewed_rows(versions: Path) -> None:
    found = published(versions, "v1")
    near = found.table("neighbours.parquet", NEIGHBOURS_TABLE).to_pandas()
    assert near["example_id"].is_monotonic_increasing
    assert near.groupby("example_id")["rank"].agg(list).map(lambda ranks: ranks == list(range(1, 7))).all()
    assert (near["example_id"] != near["neighbour_id"]).all()
    assert near.groupby("example_id")["distance"].is_monotonic_increasing.all()
    copies = near[near["rank"] == 1].set_index("example_id")
    assert copies.loc["v005", ["neighbour_id", "distance"]].tolist() == ["v010", 0]
    assert copies.loc["v010", "neighbour_id"] == "v005"
    previewed = set(found.table("previews.parquet", PREVIEWS)["example_id"].to_pylist())
    assert set(near["example_id"]) | set(near["neighbour_id"]) <= previewed
    flagged = found.table("issues.parquet", ISSUES)["example_id"].to_pylist()
    assert {*flagged, "v005", "v010", "v100"} <= set(near["example_id"])


def test_the_map(versions: Path) -> None:
    found = published(versions, "v2")
    places = found.table("map.parquet", MAP).to_pandas()
    examples = found.table("examples.parquet", EXAMPLES).to_pandas()
    assert places["example_id"].tolist() == examples["example_id"].tolist()
    # Classes are groups.
    label = examples["given_label"].to_numpy()
    near = find_nearest(places[["x", "y"]].to_numpy(), 5).positions
    assert (label[near] == label[:, None]).mean() > 0.9


def test_a_large_map_is_a_sample(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = prepare(config(versions, "v2"))
    plan = load_plan(reference)
    rows = load_version(reference, plan, PUBLISHED_COLUMNS)
    space = search_space(reference, plan, rows)
    assert space is not None
    whole = near_rows.map_of(rows, space)
    monkeypatch.setattr(near_rows, "_MAPPED_ROWS", 50)
    some = near_rows.map_of(rows, space)
    assert len(some) == 50
    assert set(map(tuple, some.to_pandas().to_numpy())) < set(map(tuple, whole.to_pandas().to_numpy()))


def test_the_next_version(versions: Path) -> None:
    now = published(versions, "v2")
    listed = now.table("outliers.parquet", OUTLIERS)
    # One is expected by chance.
    assert len(listed) <= 1
    sentence = f"Rows unlike all others: {len(listed)}, compared with 3 in version v1."
    changes = now.summary().changes
    assert changes is not None
    assert sentence in changes.notes
    assert sentence in compare_published(published(versions, "v1"), now).changes.notes


def test_rows_of_a_table(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(200, 6)) * [1, 10, 100, 1, 1, 1], columns=list("abcdef"))
    frame["colour"] = generator.choice(["red", "blue"], 200)
    frame["label"] = np.where(frame["a"] > 0, "up", "down")
    frame.loc[7, ["a", "b", "c", "d", "e", "f"]] = [30, -300, 3_000, 30, -30, 30]
    frame.to_csv(tmp_path / "data.csv", index=False)
    found = audit(settings(tmp_path / "data.csv", tmp_path / "out", dataset={"label": "label"}))
    assert table(found, "outliers")["row"].to_pylist() == [7]


def test_texts_need_an_encoder(tmp_path: Path) -> None:
    words = np.array(["red", "green", "blue", "apple", "pear", "plum", "grape"])
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(words, 12)) for _ in range(60)]
    pd.DataFrame({"text": texts, "label": ["a", "b"] * 30}).to_csv(tmp_path / "texts.csv", index=False)
    reference = prepare(settings(tmp_path / "texts.csv", tmp_path / "out"))
    plan = load_plan(reference)
    assert search_space(reference, plan, load_version(reference, plan, PUBLISHED_COLUMNS)) is None
    with TinyEncoder().installed():
        reference, plan = prepared(settings(tmp_path / "texts.csv", tmp_path / "other"))
        rows = load_version(reference, plan, PUBLISHED_COLUMNS)
        space = search_space(reference, plan, rows)
    assert space is not None
    assert len(space.contents) == len(set(texts))
    # With norm 1, no two features are farther apart than 2.
    assert space.exact.distances.max() <= 2
    # Fewer than 100 contents: scores, but no list.
    found = space.outliers()
    assert len(found.score) == 60
    assert not found.is_outlier.any()
