"""Files of a review: rows to fill in, verdicts, corrected labels, and importing filled files."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelaudit.audits.published import PublishedAudit
from labelaudit.errors import ReviewError
from labelaudit.reviews.audit_review import add_drafts, draw_by_flag, status
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.files import ExportKind, FileFormat, export, read_filled, sample_file
from labelaudit.reviews.verdict_store import append_verdicts
from labelaudit.schemas import EXAMPLES, PREVIEWS, Decision
from labelaudit.storage.manifest import sha256_hex
from support.reviewed import IDS, ROWS, WRONG, make_verdict, right_label, truly


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def as_csv(rows: list[dict[str, str]]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def filled(data: bytes) -> bytes:
    """Fill the file like a reviewer who knows the right labels."""
    rows = rows_of(data)
    for row in rows:
        said = truly(row["example_id"])
        row["verdict"], row["right_label"] = str(said.verdict), said.right_label or ""
    return as_csv(rows)


def test_exported_issues_can_be_filled_and_imported(audit: PublishedAudit) -> None:
    data = export(audit, ExportKind.ISSUES, "issues.csv")
    rows = rows_of(data)
    assert list(rows[0]) == [
        "example_id",
        "given_label",
        "suggested_label",
        "label_score",
        "verdict",
        "right_label",
        "remove_reason",
        "file",
        "row",
        "content_digest",
    ]
    assert sorted(row["example_id"] for row in rows) == WRONG
    assert read_filled(data, "issues.csv") == []
    assert len(add_drafts(audit, read_filled(filled(data), "issues.csv"), reviewer="ann").new) == 8
    assert rows_of(export(audit, ExportKind.ISSUES, "issues.csv")) == []
    corrected = rows_of(export(audit, ExportKind.CORRECTED, "c.csv"))
    assert corrected == [{"example_id": name, "label": right_label(name)} for name in WRONG]


def test_a_sample_can_be_filled_and_imported(audit: PublishedAudit) -> None:
    sample = draw_by_flag(audit, flagged=8, unflagged=60, seed=0)
    data = sample_file(audit, sample, FileFormat.CSV).data
    rows = rows_of(data)
    # Nothing distinguishes flagged rows from others.
    shown = ["example_id", "given_label", "verdict", "right_label", "remove_reason", "file", "row", "content_digest"]
    assert list(rows[0]) == shown
    assert [row["example_id"] for row in rows] == [row.example_id for row in sample.shuffled()]
    # The reviewer starts at the top and stops when all flagged rows are reviewed.
    end = max(position for position, row in enumerate(rows) if row["example_id"] in WRONG) + 1
    assert 28 <= end < 68
    add_drafts(audit, read_filled(filled(as_csv(rows[:end])), "sample.csv"), reviewer="ann")
    found = status(audit).to_record()
    assert sum(stratum["judged"] for stratum in found["sample"]["strata"]) == end
    assert found["error_rate"]["low"] <= 8 / 120 <= found["error_rate"]["high"]
    assert rows_of(sample_file(audit, sample, FileFormat.CSV).data) == rows[end:]


def test_verdicts_of_the_whole_dataset(audit: PublishedAudit) -> None:
    add_drafts(audit, [truly("i015"), truly("i001")], reviewer="=ann")
    append_verdicts(audit.store, "insects", [make_verdict("i000", given_label="wasp")])
    rows = rows_of(export(audit, ExportKind.VERDICTS, "v.csv"))
    assert [(row["example_id"], row["verdict"], row["holds"]) for row in rows] == [
        ("i000", "fine", "False"),
        ("i001", "fine", "True"),
        ("i015", "wrong", "True"),
    ]
    assert rows[2]["reviewer"] == "'=ann"
    table = pq.read_table(io.BytesIO(export(audit, ExportKind.VERDICTS, "v.parquet")))
    assert table["reviewer"].to_pylist() == ["ann", "=ann", "=ann"]
    assert export(audit, ExportKind.CORRECTED, "c.csv") == b'"example_id","label"\r\n"i015","ant"\r\n'
    assert pq.read_table(io.BytesIO(export(audit, ExportKind.CORRECTED, "c.parquet"))).to_pylist() == [
        {"example_id": "i015", "label": "ant"}
    ]


def test_a_file_of_another_version_is_refused(audit: PublishedAudit) -> None:
    rows = rows_of(export(audit, ExportKind.ISSUES, "issues.csv"))
    rows[0].update(verdict="fine", given_label="wasp")
    with pytest.raises(
        ReviewError, match=r"line 2: 'i\d+' has the label '\w+' in this audit, but the reviewer saw 'wasp'"
    ):
        add_drafts(audit, read_filled(as_csv(rows), "issues.csv"), reviewer="ann")


def with_previews(audit: PublishedAudit, media_type: str, data: bytes, count: int = 2) -> PublishedAudit:
    """The audit as if it had been published with previews of the first rows."""
    table = pa.table([IDS[:count], [media_type] * count, [data] * count], schema=PREVIEWS)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    audit.store.write(f"{audit.folder}/previews.parquet", sink.getvalue())
    return replace(audit, sha256={**audit.sha256, "previews.parquet": sha256_hex(sink.getvalue())})


def test_label_studio_tasks_can_be_filled_and_imported(audit: PublishedAudit) -> None:
    audit = with_previews(audit, "image/png", b"\x89PNG")
    tasks = json.loads(export(audit, ExportKind.ISSUES, "tasks.json"))
    by_id = {task["data"]["example_id"]: task for task in tasks}
    assert sorted(by_id) == WRONG
    assert by_id["i000"]["data"]["image"].startswith("data:image/png;base64,")
    assert by_id["i015"]["data"]["text"] == "insects.parquet, row 15"
    assert all(task["data"]["image"].startswith("data:image/") for task in tasks)
    # As Label Studio exports a project in which every suggestion was accepted.
    for task in tasks:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    assert len(add_drafts(audit, read_filled(json.dumps(tasks).encode(), "export.json"), reviewer="ann").new) == 8
    assert status(audit).to_record()["known_wrong"] == 8
    interface = ElementTree.fromstring(export(audit, ExportKind.INTERFACE, "interface.xml"))
    assert [one.attrib["name"] for one in interface.iter("Image")] == ["example"]


def test_an_interface_for_texts_and_a_sample_without_suggestions(audit: PublishedAudit) -> None:
    audit = with_previews(audit, "text/plain", b"a small insect")
    interface = ElementTree.fromstring(export(audit, ExportKind.INTERFACE, "interface.xml"))
    assert [one.attrib["value"] for one in interface.iter("Choice")][4:7] == ["ant", "bee", "fly"]
    assert not list(interface.iter("Image"))
    sample = draw_by_flag(audit, flagged=8, unflagged=112, seed=0)
    file = sample_file(with_previews(audit, "text/plain", b"a small insect", ROWS), sample, FileFormat.LABEL_STUDIO)
    tasks = json.loads(file.data)
    assert file.without_preview == 0
    for task in tasks:
        assert set(task) == {"data"}
        assert set(task["data"]) == {"example_id", "given_label", "file", "row", "content_digest", "text"}
        assert task["data"]["text"] == "a small insect"


@pytest.mark.parametrize("media_type", ["image/png", "text/plain"])
def test_previews_do_not_reveal_which_rows_of_a_sample_are_flagged(audit: PublishedAudit, media_type: str) -> None:
    """All rows are shown or none: most rows without a preview are not flagged."""
    sample = draw_by_flag(audit, flagged=8, unflagged=112, seed=0)
    file = sample_file(with_previews(audit, media_type, b"seen", ROWS - 1), sample, FileFormat.LABEL_STUDIO)
    data = [task["data"] for task in json.loads(file.data)]
    assert file.without_preview == 1
    assert len({one.get("image") for one in data}) == 1
    assert {one["text"] for one in data} == {f"insects.parquet, row {number}" for number in range(ROWS)}
    whole = sample_file(with_previews(audit, media_type, b"seen", ROWS), sample, FileFormat.LABEL_STUDIO)
    assert whole.without_preview == 0
    assert whole.data != file.data


def with_contents(audit: PublishedAudit, content: str) -> PublishedAudit:
    """The audit as if its rows had been read, each with this content."""
    table = audit.table("examples.parquet", EXAMPLES)
    digests = pa.array([content] * len(table), pa.string())
    table = table.set_column(table.column_names.index("content_digest"), EXAMPLES.field("content_digest"), digests)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    key = f"{audit.folder}-{content}"
    for name in ("issues.parquet", "classes.parquet"):
        audit.store.write(f"{key}/{name}", audit.read(name))
    audit.store.write(f"{key}/examples.parquet", sink.getvalue())
    return replace(audit, folder=key, sha256={**audit.sha256, "examples.parquet": sha256_hex(sink.getvalue())})


@pytest.mark.parametrize("name", ["issues.csv", "tasks.json"])
def test_verdicts_are_about_the_content_that_the_reviewer_saw(audit: PublishedAudit, name: str) -> None:
    looked_at, changed = with_contents(audit, "c1"), with_contents(audit, "c2")
    data = export(looked_at, ExportKind.ISSUES, name)
    if name == "issues.csv":
        data = filled(data)
    else:
        tasks = [{**task, "annotations": [{"result": task["predictions"][0]["result"]}]} for task in json.loads(data)]
        data = json.dumps(tasks).encode()
    for other in (changed, audit):
        with pytest.raises(ReviewError, match=r"'i\d+' has other content in this audit than the reviewer saw"):
            add_drafts(other, read_filled(data, name), reviewer="ann")
    assert len(add_drafts(looked_at, read_filled(data, name), reviewer="ann").new) == 8
    assert rows_of(export(looked_at, ExportKind.ISSUES, "issues.csv")) == []
    assert len(rows_of(export(changed, ExportKind.ISSUES, "issues.csv"))) == 8


@pytest.mark.parametrize(
    ("what", "name", "format", "message"),
    [
        (
            ExportKind.ISSUES,
            "issues.txt",
            None,
            "issues.txt cannot be a file of this kind here. Give a name that ends in .csv",
        ),
        (
            ExportKind.ISSUES,
            "issues.parquet",
            None,
            "be parquet here. Give a name that ends in .csv (csv) or .json",
        ),
        (ExportKind.CORRECTED, "c", "label-studio", "c cannot be label-studio here"),
        (ExportKind.INTERFACE, "i.csv", None, "cannot be csv here. Give a name that ends in .xml (xml)"),
    ],
)
def test_an_unsupported_format(
    audit: PublishedAudit, what: ExportKind, name: str, format: str | None, message: str
) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        export(audit, what, name, format)


def test_a_format_by_name(audit: PublishedAudit) -> None:
    assert export(audit, ExportKind.ISSUES, "-", "csv") == export(audit, ExportKind.ISSUES, "a.csv")
    assert read_filled(b"[]", "noted", "label-studio") == []
    assert read_filled(b"example_id,verdict\ni000,fine", "noted.csv") == [Draft("i000", Decision.FINE, None, "line 2")]
