"""The queries of the dashboard against plain pandas, and what DuckDB may reach."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelaudit.audits.published import open_audit
from labelaudit.dashboard.queries import (
    Address,
    AuditQueries,
    Box,
    Filters,
    MapKind,
    Order,
    Reviewed,
    Shown,
    Slice,
    connect,
)
from labelaudit.errors import StorageError
from labelaudit.report.audit_tables import issues_table
from labelaudit.report.charts import Measured
from labelaudit.reviews.audit_review import draw_sample
from labelaudit.reviews.sampling import DEFAULT_SEED, PREVIEWED_ROWS
from labelaudit.reviews.suggestions import suggested_labels
from labelaudit.schemas import ANNOTATORS, CONSENSUS, DUPLICATES, EXAMPLES, MAP, OUTLIERS, Decision, Status
from labelaudit.storage.store import Store
from support.dashboards import publish_small, small_examples

NAMES = ["cat", "dog", "o'wl\" OR 1=1 --"]


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    status = draw(st.sampled_from([Status.SCORED, Status.SCORED, Status.SCORED, Status.UNLABELED, Status.DUPLICATE_ID]))
    row: dict[str, Any] = {"status": status.value, "file": draw(st.sampled_from(["a", None])), "content_digest": None}
    row["given_label"] = None if status == Status.UNLABELED else draw(st.sampled_from(NAMES))
    if status == Status.SCORED:
        flagged = draw(st.booleans())
        others = [name for name in NAMES if name != row["given_label"]]
        predicted = draw(st.sampled_from(others)) if flagged else row["given_label"]
        # Few different scores, so that many rows tie.
        score = draw(st.integers(0, 4)) / 4
        measures = {"label_score": score, "p_given": score, "p_predicted": 0.5, "margin": 0.0}
        measures["p_wrong"] = draw(st.integers(0, 2)) / 2
        measures["views_agree"] = draw(st.none() | st.integers(0, 3))
        row |= {**measures, "is_label_issue": flagged, "predicted_label": predicted, "fold": draw(st.integers(0, 2))}
        row["content_digest"] = draw(st.sampled_from(["d1", None]))
    return row


filters = st.builds(
    Filters,
    shown=st.sampled_from([Shown.FLAGGED, Shown.NOT_FLAGGED, Shown.ALL, *Status]),
    given_label=st.none() | st.sampled_from(NAMES),
    suggested_label=st.none() | st.sampled_from(NAMES),
    lowest=st.sampled_from([0.0, 0.25]),
    highest=st.sampled_from([1.0, 0.5]),
    least_wrong=st.sampled_from([0.0, 0.5]),
    most_wrong=st.sampled_from([1.0, 0.5]),
    order=st.sampled_from(Order),
    fold=st.none() | st.integers(0, 2),
    reviewed=st.sampled_from([*Reviewed, *Decision]),
    id_contains=st.sampled_from(["", "1", "%", "x'"]),
    slice=st.none() | st.builds(Slice, st.just("o\"n'e"), st.sampled_from(NAMES)),
)


def tables_of(folder: Path, examples: pa.Table, issues: pa.Table | None = None) -> AuditQueries:
    pq.write_table(examples, folder / "examples.parquet")
    pq.write_table(issues_table(examples) if issues is None else issues, folder / "issues.parquet")
    paths = {path.name: path for path in folder.iterdir()}
    return AuditQueries(connect(folder), paths.get)


def examples_of(records: list[dict[str, Any]]) -> pa.Table:
    # Rows that are not scored may share an id.
    ids = [f"id-{at:02d}" if r["status"] == "scored" else f"id-{at // 2:02d}x" for at, r in enumerate(records)]
    full = [
        {**record, "example_id": name, "row": at} for at, (name, record) in enumerate(zip(ids, records, strict=True))
    ]
    return pa.Table.from_pylist(full, schema=EXAMPLES)


def expected(frame: pd.DataFrame, asked: Filters, verdicts: dict[tuple[Any, ...], str]) -> list[int]:
    """Row numbers that must be shown, in order: row by row, in plain Python."""
    found = []
    for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        content = (row["example_id"], row["content_digest"])
        is_removed = any(key[:2] == content for key, decision in verdicts.items() if decision == "remove")
        decision = "remove" if is_removed else verdicts.get((*content, row["given_label"]))
        matches = {
            Shown.FLAGGED: row["is_label_issue"] is True,
            Shown.NOT_FLAGGED: row["is_label_issue"] is False,
            Shown.ALL: True,
        }
        score = row["label_score"]
        wrong = row["p_wrong"]
        suggested = None if row["predicted_label"] == row["given_label"] else row["predicted_label"]
        is_bounded = (asked.lowest, asked.highest) != (0.0, 1.0)
        is_cut = (asked.least_wrong, asked.most_wrong) != (0.0, 1.0)
        keep = (
            matches.get(asked.shown, row["status"] == asked.shown),
            asked.given_label in (None, row["given_label"]),
            asked.suggested_label in (None, suggested),
            not is_bounded or (score is not None and asked.lowest <= score <= asked.highest),
            not is_cut or (wrong is not None and asked.least_wrong <= wrong <= asked.most_wrong),
            asked.fold in (None, row["fold"]),
            asked.slice is None or row["slice_o\"n'e"] == asked.slice.value,
            asked.id_contains.lower() in row["example_id"].lower(),
            {
                Reviewed.ANY: True,
                Reviewed.DECIDED: decision is not None,
                Reviewed.UNDECIDED: decision is None and row["given_label"] and row["status"] != "duplicate_id",
            }.get(asked.reviewed, decision == asked.reviewed),
        )
        if all(keep):
            by_score = 2.0 if score is None else score
            position = by_score if wrong is None or asked.order == Order.LABEL_SCORE else -wrong
            if asked.order == Order.VIEWS_AGREE:
                position -= row["views_agree"] or 0
            found.append((position, by_score, row["example_id"], row["file"] or "", row["row"]))
    return [row for *_, row in sorted(found)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(rows(), min_size=1, max_size=20), asked=filters, data=st.data())
def test_filters_pages_and_neighbours(
    records: list[dict[str, Any]], asked: Filters, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    examples = examples_of(records)
    values = pa.array([NAMES[at % 3] for at in range(len(records))]).dictionary_encode()
    examples = examples.append_column("slice_o\"n'e", values)
    tables = tables_of(tmp_path_factory.mktemp("tables"), examples)
    frame = examples.to_pandas()
    judged = frame[frame["given_label"].notna()].drop_duplicates(["example_id", "content_digest", "given_label"])
    keys = [
        tuple(None if pd.isna(v) else v for v in key)
        for key in judged[["example_id", "content_digest", "given_label"]].to_numpy()
    ]
    decisions = data.draw(
        st.lists(st.none() | st.sampled_from(["fine", "wrong", "remove"]), min_size=len(keys), max_size=len(keys))
    )
    verdicts = {key: decision for key, decision in zip(keys, decisions, strict=True) if decision}
    # A removal is the only current verdict on its content.
    removed = {key[:2]: key for key, decision in verdicts.items() if decision == "remove"}
    verdicts = {key: decision for key, decision in verdicts.items() if removed.get(key[:2], key) == key}
    columns = tuple(list(column) for column in zip(*verdicts, strict=True)) if verdicts else ([], [], [])
    columns = (*columns, list(verdicts.values()))

    wanted = expected(frame, asked, verdicts)
    found = tables.page(asked, columns, limit=100)
    assert [row.row for row in found] == wanted
    assert tables.count(asked, columns) == len(wanted)
    assert [row.row for row in tables.page(asked, columns, offset=1, limit=2)] == wanted[1:3]
    for before, after in pairwise(found):
        assert tables.neighbour(before, asked, columns) == after
        assert tables.neighbour(after, asked, columns, forward=False) == before
    if found:
        assert tables.neighbour(found[-1], asked, columns) is None
        if found[0].status == "scored":
            assert tables.find(found[0].address, asked) == found[0]


def test_many_sessions_open_an_audit_at_once(tmp_path: Path) -> None:
    sessions = 4
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        tables = tables_of(folder, small_examples(200))
        together = threading.Barrier(sessions)

        def count(tables: AuditQueries = tables, together: threading.Barrier = together) -> int:
            together.wait()
            return tables.count(Filters())

        with ThreadPoolExecutor(sessions) as pool:
            assert [future.result() for future in [pool.submit(count) for _ in range(sessions)]] == [50] * sessions


@pytest.mark.parametrize("damaged", ["examples.parquet", "issues.parquet"])
def test_a_damaged_table(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "classes.parquet").write_bytes(b"no table")
    tables = tables_of(tmp_path, small_examples(20))
    (tmp_path / damaged).write_bytes(b"no table")
    for ask in (lambda: tables.count(Filters()), tables.classes):
        with pytest.raises(StorageError, match=r"cannot be read \(\w+: .*\)\. Load the page again"):
            ask()


def test_a_sample_keeps_its_order(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, small_examples(20))
    sample = ("example-007", "example-000", "example-013")
    asked = Filters(shown=Shown.SAMPLE, sample=sample)
    found = tables.page(asked)
    assert tuple(row.example_id for row in found) == sample
    assert tables.neighbour(found[0], asked) == found[1]
    assert tables.find(Address("example-000"), asked) == found[1]
    assert tables.find(Address("example-001"), asked) is None


def test_copies_with_different_labels_are_shown_group_by_group(tmp_path: Path) -> None:
    listed = [(1, 7, True), (1, 0, True), (2, 13, True), (2, 4, True), (3, 5, False), (3, 6, False)]
    names = small_examples(20).select(["example_id", "file", "row"]).to_pylist()
    copies = [
        {**names[at], "cluster": cluster, "has_other_labels": has_other_labels}
        for cluster, at, has_other_labels in listed
    ]
    pq.write_table(pa.Table.from_pylist(copies, DUPLICATES), tmp_path / "duplicates.parquet")
    tables = tables_of(tmp_path, small_examples(20))
    asked = Filters(shown=Shown.COPIES)
    found = tables.page(asked)
    assert [row.example_id for row in found] == ["example-007", "example-000", "example-013", "example-004"]
    assert tables.count(asked) == 4
    assert tables.neighbour(found[1], asked) == found[2]
    assert tables.neighbour(found[1], asked, forward=False) == found[0]
    assert tables.find(found[3].address, asked) == found[3]
    assert tables.find(Address("example-005"), asked) is None


def test_rows_that_need_another_opinion_come_first(tmp_path: Path) -> None:
    ranks = [(7, 2, False, 0.1), (0, 1, True, 0.4), (13, 3, True, 0.9)]
    rows = [
        {"example_id": f"example-{at:03d}", "opinion_rank": rank, "is_disputed": disputed, "p_wrong_of_model": p_wrong}
        for at, rank, disputed, p_wrong in ranks
    ]
    pq.write_table(pa.Table.from_pylist(rows, CONSENSUS), tmp_path / "consensus.parquet")
    tables = tables_of(tmp_path, small_examples(20))
    asked = Filters(shown=Shown.OPINIONS)
    found = tables.page(asked)
    assert [row.example_id for row in found] == ["example-000", "example-007", "example-013"]
    assert tables.neighbour(found[0], asked) == found[1]
    assert tables.find(Address("example-005"), asked) is None
    assert [row.example_id for row in tables.page(Filters(shown=Shown.DISPUTED))] == ["example-013", "example-000"]


@pytest.mark.parametrize("has_answers", [True, False])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(rows(), min_size=5, max_size=20),
    agreed=st.lists(st.sampled_from([*NAMES, None]), min_size=20, max_size=20),
    removed=st.sets(st.integers(0, 19)),
)
def test_the_same_label_is_suggested_as_in_cleaned_labels(
    records: list[dict[str, Any]],
    agreed: list[str | None],
    removed: set[int],
    has_answers: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Rows to be removed are not flagged.
    records = [
        {**record, "verdict": "remove", "is_label_issue": False} if at in removed else record
        for at, record in enumerate(records)
    ]
    folder, examples = tmp_path_factory.mktemp("tables"), examples_of(records)
    consensus = consensus_of(examples, agreed) if has_answers else None
    if consensus is not None:
        pq.write_table(consensus, folder / "consensus.parquet")
    wanted = suggested_labels(examples, issues_table(examples), consensus).to_pylist()
    tables = tables_of(folder, examples)
    for shown in (Shown.ALL, Shown.FLAGGED):
        for row in tables.page(Filters(shown=shown), limit=100):
            assert row.suggested_label == wanted[row.row or 0]
            assert row.suggested_label is None or row.suggested_label != row.given_label


def consensus_of(examples: pa.Table, labels: list[str | None]) -> pa.Table:
    """Return the consensus of scored rows; rows whose label is None have no answers."""
    names = zip(examples["example_id"].to_pylist(), examples["status"].to_pylist(), labels, strict=False)
    found = [
        {"example_id": name, "consensus_label": label} for name, status, label in names if status == "scored" and label
    ]
    return pa.Table.from_pylist(found, CONSENSUS)


def test_the_consensus_is_suggested_for_a_row_that_is_not_flagged(tmp_path: Path) -> None:
    # The models agree with the given labels of both rows: dog and owl.
    agreed = {"example_id": ["example-001", "example-002"], "consensus_label": ["cat", "owl"]}
    consensus = pa.Table.from_pylist(pa.table(agreed).to_pylist(), CONSENSUS)
    pq.write_table(consensus, tmp_path / "consensus.parquet")
    tables = tables_of(tmp_path, small_examples(20))
    found = {row.example_id: row.suggested_label for row in tables.page(Filters(shown=Shown.ALL), limit=20)}
    assert [found[f"example-{at:03d}"] for at in range(4)] == ["dog", "cat", None, None]
    asked = Filters(shown=Shown.NOT_FLAGGED, suggested_label="cat")
    assert [row.example_id for row in tables.page(asked)] == ["example-001"]


def test_answers_of_the_best_annotators_first(tmp_path: Path) -> None:
    answers = [("example-001", "x", "cat"), ("example-001", "y", "dog"), ("example-002", "x", "dog")]
    columns = zip(("example_id", "annotator", "label"), zip(*answers, strict=True), strict=True)
    given = pa.table({name: list(values) for name, values in columns})
    pq.write_table(given.append_column("p_right", pa.array([0.5] * 3, pa.float32())), tmp_path / "answers.parquet")
    qualities = [{"annotator": "x", "quality": 0.6}, {"annotator": "y", "quality": 0.9}]
    pq.write_table(pa.Table.from_pylist(qualities, ANNOTATORS), tmp_path / "annotators.parquet")
    tables = tables_of(tmp_path, small_examples(20))
    assert tables.answers("example-001") == [("y", "dog", 0.9), ("x", "cat", 0.6)]
    assert tables.answers("example-003") == []
    assert tables.annotators()["annotator"].to_pylist() == ["x", "y"]


def test_an_audit_without_answers(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, small_examples(20))
    assert tables.page(Filters(shown=Shown.OPINIONS)) == []
    assert tables.answers("example-001") == []
    assert len(tables.annotators()) == 0


def test_outliers_are_shown_in_their_order(tmp_path: Path) -> None:
    names = small_examples(20).select(["example_id", "file", "row"]).to_pylist()
    listed = [{**names[at], "rank": rank} for rank, at in enumerate((9, 2, 14), 1)]
    pq.write_table(pa.Table.from_pylist(listed, OUTLIERS), tmp_path / "outliers.parquet")
    tables = tables_of(tmp_path, small_examples(20))
    asked = Filters(shown=Shown.OUTLIERS)
    found = tables.page(asked)
    assert [row.example_id for row in found] == ["example-009", "example-002", "example-014"]
    assert tables.neighbour(found[0], asked) == found[1]
    assert tables.find(Address("example-005"), asked) is None
    assert tables.page(Filters(shown=Shown.OUTLIERS, given_label=found[0].given_label))[0] == found[0]


def test_a_box_of_the_map(tmp_path: Path) -> None:
    examples = small_examples(20)
    names = examples["example_id"].to_pylist()[:19]
    places = [{"example_id": name, "x": float(at), "y": float(at % 2)} for at, name in enumerate(names)]
    pq.write_table(pa.Table.from_pylist(places, MAP), tmp_path / "map.parquet")
    tables = tables_of(tmp_path, examples)
    asked = Filters(shown=Shown.ALL, box=Box(4, 7, 0, 0.5))
    assert {row.example_id for row in tables.page(asked)} == {"example-004", "example-006"}
    assert [row.example_id for row in tables.page(replace(asked, shown=Shown.FLAGGED))] == ["example-004"]
    assert tables.count(replace(asked, box=Box(30, 40, 0, 1))) == 0
    # Rows 0, 4, 8, 12 and 16 are flagged.
    points = tables.map_points()
    assert [point.x for point in points if point.kind == MapKind.FLAGGED] == [0, 4, 8, 12, 16]
    assert [point.kind for point in points[-5:]] == [MapKind.FLAGGED] * 5
    assert sum(point.rows for point in points) == 19


def test_the_map_counts_close_rows_together(tmp_path: Path) -> None:
    names = small_examples(40)["example_id"].to_pylist()
    places = [{"example_id": name, "x": 1e-6 * at, "y": 0.0} for at, name in enumerate(names[:38])]
    places.append({"example_id": names[38], "x": 50.0, "y": 50.0})
    pq.write_table(pa.Table.from_pylist(places, MAP), tmp_path / "map.parquet")
    pq.write_table(pa.table({"example_id": [names[38]]}), tmp_path / "outliers.parquet")
    found = tables_of(tmp_path, small_examples(40)).map_points()
    others = [point for point in found if point.kind == MapKind.OTHER]
    assert [point.rows for point in others] == [28]
    assert [(point.x, point.rows) for point in found if point.kind == MapKind.OUTLIER] == [(50.0, 1)]
    assert sum(point.kind == MapKind.FLAGGED for point in found) == 10


def test_an_audit_without_a_map(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, small_examples(20))
    assert tables.map_points() == []
    assert tables.page(Filters(box=Box(0, 1, 0, 1))) == []


@pytest.mark.parametrize("shown", [Shown.COPIES, Shown.OUTLIERS])
def test_an_audit_without_such_a_table(tmp_path: Path, shown: Shown) -> None:
    tables = tables_of(tmp_path, small_examples(20))
    assert tables.page(Filters(shown=shown)) == []


def test_the_random_sample_is_the_one_that_the_command_draws(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = publish_small(store, rows=1_000)
    tables = AuditQueries(connect(tmp_path), {path.name: path for path in (tmp_path / record.folder).iterdir()}.get)
    audit = open_audit(store, record.folder)
    assert audit is not None
    drawn = draw_sample(audit, rows=PREVIEWED_ROWS, seed=DEFAULT_SEED).shuffled()
    shown = tables.random_sample(record.fingerprint)
    assert list(shown) == [row.example_id for row in drawn]
    # Where a row stands does not tell its stratum, however much larger one is than the other.
    flagged = {row.example_id for row in tables.page(Filters(), limit=1_000)}
    assert 70 < sum(example_id in flagged for example_id in shown[:200]) < 130
    assert tables.random_sample("another version") != shown


def test_new_flags_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = publish_small(store, rows=20, new_ids=["example-004", "example-005"])
    paths = {path.name: path for path in (tmp_path / record.folder).iterdir()}
    tables = AuditQueries(connect(tmp_path), paths.get)
    # Row 5 is new in the data, but not flagged.
    assert [row.example_id for row in tables.page(Filters(new_only=True))] == ["example-004"]
    del paths["changes.parquet"]
    assert tables.page(Filters(new_only=True)) == []


def test_a_slice_that_the_audit_does_not_have(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, small_examples(8))
    assert tables.page(Filters(slice=Slice("batch", "b1"))) == []
    assert len(tables.slices()) == 0


def test_other_tables_of_an_audit(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = publish_small(store, rows=20)
    folder = tmp_path / record.folder
    tables = AuditQueries(connect(tmp_path), lambda name: folder / name if (folder / name).exists() else None)
    assert tables.folds() == [0]
    assert tables.previews(["example-003", "missing"])["example-003"].media_type == "image/png"
    assert list(tables.probabilities("example-003", 0)) == ["owl", "dog", "cat"]
    assert tables.probabilities("example-003", 7) == {}
    assert tables.probabilities("missing", 0) == {}
    assert tables.class_names() == ["cat", "dog", "owl"]
    assert AuditQueries(connect(tmp_path), {}.get).classes().num_rows == 0
    found = tables.histogram(0.5)
    assert (sum(found.flagged), sum(found.others), found.measured, found.cut) == (5, 14, Measured.P_WRONG, 0.5)


def test_an_audit_of_an_earlier_release_has_no_p_wrong(tmp_path: Path) -> None:
    examples = small_examples(8)
    issues = issues_table(examples)
    tables = tables_of(tmp_path, examples.drop_columns("p_wrong"), issues.drop_columns("p_wrong"))
    rows = tables.page(Filters(shown=Shown.ALL))
    assert {row.p_wrong for row in rows} == {None}
    assert [row.label_score for row in rows][:-1] == sorted(row.label_score or 0.0 for row in rows[:-1])
    assert tables.page(Filters(shown=Shown.ALL, least_wrong=0.1)) == []
    found = tables.histogram(None)
    assert (sum(found.flagged), sum(found.others), found.measured, found.cut) == (2, 5, Measured.LABEL_SCORE, None)


def test_a_row_that_the_detector_flagged_but_a_person_dismissed(tmp_path: Path) -> None:
    examples = small_examples(8)
    dismissed = pa.array([at == 1 for at in range(8)])
    at = EXAMPLES.get_field_index("is_dismissed")
    tables = tables_of(tmp_path, examples.set_column(at, "is_dismissed", dismissed), issues_table(examples))
    found = {row.example_id: row.was_flagged for row in tables.page(Filters(shown=Shown.ALL))}
    assert [name for name, flagged in found.items() if flagged] == ["example-000", "example-004", "example-001"]


def test_an_early_audit_without_dismissed_flags(tmp_path: Path) -> None:
    examples = small_examples(8)
    tables = tables_of(tmp_path, examples.drop_columns("is_dismissed"), issues_table(examples))
    assert [row.was_flagged for row in tables.page(Filters())] == [True, True]


def test_an_audit_without_its_tables(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"has no examples\.parquet"):
        AuditQueries(connect(tmp_path), {}.get).count(Filters())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM read_text('{folder}/../outside.txt')",
        "COPY (SELECT 1) TO '/tmp/labelaudit-escape.csv'",
        "ATTACH '/tmp/labelaudit-escape.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM frame",
    ],
)
def test_duckdb_reaches_nothing_but_its_folder(tmp_path: Path, query: str) -> None:
    frame = pd.DataFrame({"secret": [1]})
    assert len(frame) == 1
    (tmp_path / "cache").mkdir()
    (tmp_path / "outside.txt").write_text("secret")
    connection = connect(tmp_path / "cache")
    with pytest.raises(duckdb.Error, match=r"(?i)permission|cannot|not exist"):
        connection.execute(query.format(folder=tmp_path / "cache"))
