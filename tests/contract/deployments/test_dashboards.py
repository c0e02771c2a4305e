"""The SQL for other dashboards, run over real audits: views, panels, and the export for Athena."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pytest

from labelaudit.audit import audit_probabilities
from labelaudit.config import build_config
from labelaudit.pipeline.external_probabilities import ExternalProbabilities
from support.paths import ROOT

DASHBOARDS = ROOT / "deployments" / "dashboards"
GRAFANA = json.loads((DASHBOARDS / "grafana.json").read_text())
CLASSES = ("apple", "pear")
ROWS = 200
# Names that look like a date, a number and a path.
VERSIONS = ("2026-01-05", "20260106", "candidate/7 %")


def audit(folder: Path, output: Path, version: str, wrong: int) -> int:
    """Audit ROWS rows with certain probabilities and wrong first labels, and return the number of flags."""
    right = np.arange(ROWS) % 2
    given = right.copy()
    given[:wrong] = 1 - given[:wrong]
    sure = np.random.default_rng(0).uniform(0.9, 0.99, ROWS)
    pred_probs = np.where(right[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
    frame = pd.DataFrame({"id": [f"fruit-{row:03d}" for row in range(ROWS)], "label": np.array(CLASSES)[given]})
    frame.assign(pred_probs=list(pred_probs)).to_parquet(folder / "oof.parquet")
    dataset = {"url": str(folder / "oof.parquet"), "name": "fruit", "version": version}
    config = build_config({"dataset": dataset, "output": {"url": str(output)}})
    return audit_probabilities(config, ExternalProbabilities(dataset["url"], "label", "id", "pred_probs")).issues


class Published(NamedTuple):
    output: Path
    flagged: list[int]  # of each version


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("dashboards")
    wrong = (30, 20, 10)
    flagged = [audit(folder, folder / "audits", version, w) for version, w in zip(VERSIONS, wrong, strict=True)]
    # The same version again, which replaces the audit before, and one that is still being published.
    flagged[1] = audit(folder, folder / "audits", VERSIONS[1], 24)
    unfinished = next((folder / "audits").glob("dataset=*/version=*/audit=*"))
    copy = unfinished.parent / "audit=0123456789ab"
    copy.mkdir()
    (copy / "issues.parquet").write_bytes((unfinished / "issues.parquet").read_bytes())
    assert len(set(flagged)) == len(flagged)
    assert min(flagged) > 0
    return Published(folder / "audits", flagged)


def statements(file: str, **urls: str) -> str:
    text = (DASHBOARDS / file).read_text()
    for bucket, url in urls.items():
        text = text.replace(f"s3://{bucket.replace('_', '-')}", url)
    return text


@pytest.fixture
def sql(published: Published) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(statements("duckdb.sql", audits=str(published.output)))
    return connection


def test_views_show_the_newest_audit_of_each_version(sql: duckdb.DuckDBPyConnection, published: Published) -> None:
    versions = sql.sql("SELECT version, position, label_issues, is_newest FROM labelaudit_versions ORDER BY position")
    numbered = enumerate(zip(VERSIONS, published.flagged, strict=True), start=1)
    assert versions.fetchall() == [(version, place, count, place == 3) for place, (version, count) in numbered]
    issues = sql.sql("SELECT version, count(*), min(rank) FROM labelaudit_issues GROUP BY ALL")
    assert {version: count for version, count, first in issues.fetchall() if first == 1} == dict(
        zip(VERSIONS, published.flagged, strict=True)
    )
    examples = sql.sql("SELECT count(*), count(DISTINCT version) FROM labelaudit_examples").fetchall()
    assert examples == [(3 * ROWS, 3)]
    classes = sql.sql("SELECT class_name, sum(label_issues) FROM labelaudit_classes GROUP BY ALL ORDER BY 1").fetchall()
    assert [name for name, _ in classes] == list(CLASSES)
    assert sum(count for _, count in classes) == sum(published.flagged)


def as_grafana_asks(query: str) -> str:
    """Return a panel's query with its macros and variables replaced."""
    query = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN now() - INTERVAL 1 DAY AND now() + INTERVAL 1 DAY", query)
    return query.replace("${dataset:sqlstring}", "'fruit'")


@pytest.mark.parametrize("panel", GRAFANA["panels"], ids=lambda panel: panel["title"])
def test_every_panel_of_grafana_shows_something(sql: duckdb.DuckDBPyConnection, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        query = as_grafana_asks(target["rawSql"])
        assert "$" not in query
        found = sql.sql(query).to_arrow_table()
        assert len(found) > 0
        if target["format"] == 0:
            assert found.column_names == ["time", "metric", "value"]
            assert len(found) == len(VERSIONS)


def test_the_variable_of_grafana_lists_datasets(sql: duckdb.DuckDBPyConnection) -> None:
    (variable,) = (one for one in GRAFANA["templating"]["list"] if one["type"] == "query")
    assert sql.sql(variable["query"]).fetchall() == [("fruit",)]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in GRAFANA["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Return the folder of exports with its subfolders, which DuckDB does not create on a local disk."""
    for name in ("versions", "classes", "issues"):
        (tmp_path / "tables" / name).mkdir(parents=True)
    return tmp_path / "tables"


def test_the_export_has_the_columns_that_athena_is_told(sql: duckdb.DuckDBPyConnection, tables: Path) -> None:
    sql.execute(statements("export.sql", audit_tables=str(tables)))
    declared = re.findall(
        r"CREATE EXTERNAL TABLE IF NOT EXISTS labelaudit_(\w+) \((.*?)\)\nSTORED AS PARQUET LOCATION '(.*?)'",
        (DASHBOARDS / "athena.sql").read_text(),
        re.DOTALL,
    )
    assert {name: url for name, _, url in declared} == {
        path.name: f"s3://audit-tables/{path.name}/" for path in tables.iterdir()
    }
    types = {"string": "VARCHAR", "timestamp": "TIMESTAMP WITH TIME ZONE"}
    for name, columns, _ in declared:
        stored = sql.sql(f"DESCRIBE SELECT * FROM read_parquet('{tables}/{name}/*')")
        pairs = [column.strip().replace("`", "").split(" ") for column in columns.split(",")]
        assert [(column, types.get(type, type.upper())) for column, type in pairs] == [
            (column, type) for column, type, *_ in stored.fetchall()
        ]
        assert _rows(sql, f"read_parquet('{tables}/{name}/*')") == _rows(sql, f"labelaudit_{name}") != set()


def _rows(sql: duckdb.DuckDBPyConnection, table: str) -> set[tuple[Any, ...]]:
    return set(sql.sql(f"SELECT * FROM {table}").fetchall())


def test_an_export_keeps_nothing_of_the_one_before(tmp_path: Path, tables: Path) -> None:
    """A version is audited again, and none of its rows is flagged any longer."""
    output = tmp_path / "audits"
    for wrong in (20, 0):
        flagged = audit(tmp_path, output, "v1", wrong)
        connection = duckdb.connect()
        connection.execute(statements("duckdb.sql", audits=str(output)))
        connection.execute(statements("export.sql", audit_tables=str(tables)))
        assert len(_rows(connection, f"read_parquet('{tables}/issues/*')")) == flagged
        assert len(_rows(connection, f"read_parquet('{tables}/versions/*')")) == 1
    assert flagged == 0


def test_the_export_to_s3(s3: str, published: Published) -> None:
    connection = duckdb.connect()
    connection.execute(statements("duckdb.sql", audits=str(published.output)))
    filesystem, folder = fsspec.url_to_fs(s3)
    connection.register_filesystem(filesystem)
    for _ in range(2):
        connection.execute(statements("export.sql", audit_tables=s3))
    assert sorted(filesystem.find(folder)) == [
        f"{folder}/{name}/{name}.parquet" for name in ("classes", "issues", "versions")
    ]
    assert len(pd.read_parquet(f"{s3}/issues/issues.parquet")) == sum(published.flagged)


def test_views_need_a_published_audit(tmp_path: Path) -> None:
    """docs/dashboards-of-others.md gives this command."""
    with pytest.raises(duckdb.IOException, match="No files found that match the pattern"):
        duckdb.connect().execute(statements("duckdb.sql", audits=str(tmp_path)))
