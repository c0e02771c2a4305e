"""`labelaudit diff` for users: two audits by URL or version, as text and as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.references import AuditReference
from labelaudit.cli.main import main
from labelaudit.schemas import CHANGES
from labelaudit.storage.manifest import sha256_hex
from support.paths import ROOT
from support.probabilities import audit_insects, insects

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `labelaudit diff` in a folder with audits in `out`; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labelaudit", "diff", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(str(stop.value.code or 0)), printed.out, printed.err

    return command


def _two_audits(folder: Path) -> list[AuditReference]:
    """v1 with four wrong labels; v2 with two of them fixed, and two others wrong."""
    first = audit_insects(folder, "v1", insects(wrong=(0, 10, 20, 30)))
    return [first, audit_insects(folder, "v2", insects(wrong=(0, 10, 41, 52)))]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[AuditReference]]:
    folder = tmp_path_factory.mktemp("audits")
    return folder, _two_audits(folder)


@pytest.fixture
def audits(made_once: tuple[Path, list[AuditReference]], tmp_path: Path) -> list[AuditReference]:
    """Two audits that tests must not change."""
    (tmp_path / "out").symlink_to(made_once[0] / "out")
    return made_once[1]


@pytest.fixture
def own_audits(tmp_path: Path) -> list[AuditReference]:
    """Two audits that a test may change."""
    return _two_audits(tmp_path)


def test_text(run: Command, audits: list[AuditReference]) -> None:
    code, out, err = run(audits[0].audit_url, audits[1].audit_url)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("v1, audited 20")
    assert lines[1].endswith("most often fly → ant.") or "look wrong" in lines[1]
    assert "Since v1: 2 new, 2 fixed, 2 persistent." in lines
    assert "Data: 4 relabeled." in lines
    assert sorted(line.split()[2] for line in lines if line.startswith("  new")) == ["i041", "i052"]


def test_an_issue_whose_id_has_changed(run: Command, own_audits: list[AuditReference]) -> None:
    for audit, folder in zip(own_audits, ("", "moved/"), strict=True):
        _move(Path(audit.audit_url), folder)
    _, out, _ = run(*(audit.audit_url for audit in own_audits))
    lines = out.splitlines()
    assert "Data: 4 relabeled." in lines
    (line,) = [line for line in lines if "moved/i041" in line]
    assert line.endswith("(was i041)")


def _move(audit: Path, folder: str) -> None:
    """Give each row of an audit a content digest of its own, and an id in a folder."""
    manifest = json.loads((audit / "manifest.json").read_text())
    for name in ("examples.parquet", "issues.parquet"):
        table = pq.read_table(audit / name, partitioning=None)
        ids = table["example_id"].to_pylist()
        values = {"example_id": [f"{folder}{one}" for one in ids], "content_digest": ids}
        for column in values.keys() & set(table.column_names):
            at = table.schema.get_field_index(column)
            table = table.set_column(at, table.schema.field(at), [values[column]])
        pq.write_table(table, audit / name)
        (entry,) = [entry for entry in manifest["files"] if entry["path"] == name]
        entry["sha256"] = sha256_hex((audit / name).read_bytes())
    (audit / "manifest.json").write_text(json.dumps(manifest))


def test_json(run: Command, audits: list[AuditReference]) -> None:
    _, out, _ = run(*(audit.audit_url for audit in audits), "--json")
    changes = json.loads(out)
    assert changes == json.loads((Path(audits[1].audit_url) / "summary.json").read_text())["changes"]
    _, out, _ = run(audits[1].audit_url, audits[0].audit_url, "--json")
    assert json.loads(out)["predecessor"]["version"] == "v2", "any two audits, in any order"


@pytest.mark.parametrize(
    "named",
    [
        ("out/dataset=insects/version=v1", "out/dataset=insects/version=v2/"),
        ("v1", "v2", "--dataset", "out/dataset=insects"),
        ("v1", "v2", "--dataset", "insects.yaml"),
        ("out/dataset=insects/version=v1", "{now}/report.html"),
        ("{before}/manifest.json", "out/dataset=insects/version=v2"),
    ],
    ids=" ".join,
)
def test_ways_to_name_an_audit(run: Command, audits: list[AuditReference], named: tuple[str, ...]) -> None:
    Path("insects.yaml").write_text("dataset: {url: v1.parquet, name: insects}\noutput: {url: out}\n")
    places = {"before": audits[0].audit_url, "now": audits[1].audit_url}
    code, out, _ = run(*(name.format(**places) for name in named), "--json")
    assert code == 0
    assert json.loads(out)["issues"]["new"] == 2


def test_a_version_stands_for_its_newest_audit(run: Command, tmp_path: Path, own_audits: list[AuditReference]) -> None:
    frame = insects(wrong=(0, 10, 41, 52))
    audit_insects(tmp_path, "v2", frame, filter_by="predicted_neq_given")
    for record in (tmp_path / "out" / "dataset=insects" / "_audits" / "version=v2").glob("*.json"):
        values = json.loads(record.read_text())
        is_later = "predicted_neq_given" in record.read_text()
        record.write_text(json.dumps({**values, "created_at": f"20{30 + is_later}-01-01T00:00:00+00:00"}))
    code, out, _ = run("v1", "v2", "--dataset", "out/dataset=insects")
    assert code == 0
    assert out.startswith(
        "Not only the data changed since v1: detection.filter prune_by_noise_rate → predicted_neq_given."
    )


def test_all_changed_rows_in_a_file(run: Command, audits: list[AuditReference]) -> None:
    code, out, _ = run("v1", "v2", "--dataset", "out/dataset=insects", "--output", "rows.parquet", "--limit", "1")
    assert code == 0
    assert out.count("  new") == 1
    assert "  and 1 more new issues" in out
    table = pq.read_table("rows.parquet")
    assert table.schema.equals(CHANGES, check_metadata=True)
    assert len(table) == 6
    code, _, err = run("v1", "v2", "--dataset", "out/dataset=insects", "--output", "rows.csv")
    assert code == 2
    assert "--output 'rows.csv' must end in .parquet" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v1", "v2"], "No audit is published at v1"),
        (
            ["v1", "v7", "--dataset", "out/dataset=insects"],
            "has no audit of version 'v7'. Audit it, or name another version (last audited: v1, v2)",
        ),
        (
            ["v1", "v2", "--dataset", "out/dataset=birds"],
            "has no audit of version 'v1'. Audit it, or name another version (last audited: none)",
        ),
        (["v1", "v2", "--dataset", "out"], "out is not the folder of a dataset"),
        (["v1"], "Missing argument 'B'"),
    ],
    ids=str,
)
def test_what_cannot_be_compared(
    run: Command, audits: list[AuditReference], arguments: list[str], message: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_an_audit_that_was_removed(run: Command, own_audits: list[AuditReference]) -> None:
    (Path(own_audits[0].audit_url) / "manifest.json").unlink()
    code, _, err = run("v1", "v2", "--dataset", "out/dataset=insects")
    assert code == 1
    assert "is no longer at" in err
    assert "Audit that version again." in err


def test_a_dataset_with_a_manifest_of_its_own(run: Command, tmp_path: Path) -> None:
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "manifest.json").write_text('{"files": []}')
    code, out, err = run("ds", "ds")
    assert (code, out) == (1, "")
    assert re.search(r"ds/manifest\.json is not a manifest of labelaudit \(.*\)\. Name the folder of an audit", err)


def test_two_datasets_are_refused(run: Command, tmp_path: Path, own_audits: list[AuditReference]) -> None:
    other = Path(own_audits[1].audit_url)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "dataset": "birds"}))
    code, _, err = run(*(audit.audit_url for audit in own_audits))
    assert code == 2
    assert "ids of different datasets cannot be matched" in err


def test_control_characters_in_labels_are_replaced(run: Command, tmp_path: Path) -> None:
    hostile = "fly\x1b[2J\u202eant"
    for version, wrong in (("v1", (0, 10)), ("v2", (0, 10, 20))):
        frame = insects(wrong=wrong)
        frame["label"] = frame.label.replace({"ant": hostile, "bee": "bee", "fly": "fly"})
        frame["pred_probs"] = [[p[1], p[2], p[0]] for p in frame.pred_probs]
        audit_insects(tmp_path, version, pd.DataFrame(frame))
    _, out, _ = run("v1", "v2", "--dataset", "out/dataset=insects")
    assert "fly\N{REPLACEMENT CHARACTER}[2J" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_the_query_of_the_docs(run: Command, audits: list[AuditReference]) -> None:
    text = (ROOT / "docs" / "comparing.md").read_text()
    (query,) = re.findall(r"^```sql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    rows = duckdb.sql(query.replace("audits/dataset=fruit/version=v4", "out/dataset=insects/version=v2")).fetchall()
    assert {row[0] for row in rows} == {"i041", "i052"}


def test_audits_in_s3(run: Command, s3: str, tmp_path: Path) -> None:
    first = audit_insects(tmp_path, "v1", insects(wrong=(0, 10)), output=f"{s3}/out")
    audit_insects(tmp_path, "v2", insects(wrong=(0, 10, 20)), output=f"{s3}/out")
    code, out, _ = run(first.audit_url, f"{s3}/out/dataset=insects/version=v2", "--output", f"{s3}/rows.parquet")
    assert code == 0
    assert "Since v1: 1 new, 2 persistent." in out
    assert len(pd.read_parquet(f"{s3}/rows.parquet")) == 3
