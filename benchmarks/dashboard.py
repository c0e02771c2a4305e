"""Time the dashboard's queries over an audit of a million rows.

    python benchmarks/dashboard.py [--rows 1000000] [--folder FOLDER]

Creates the tables of an audit with labelaudit's schemas, publishes them with a manifest and a record, and prints the
median time of five runs for each query that a click waits for. With --folder the audit is kept there, and
`labelaudit dashboard FOLDER` shows it.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.comparison import compare_published
from labelaudit.audits.decisive_settings import DecisiveSettings
from labelaudit.audits.history import AuditRecord, write_audit_record
from labelaudit.dashboard.library import Library
from labelaudit.dashboard.queries import AuditQueries, Filters, Reviewed, Shown, VerdictColumns, connect
from labelaudit.findings import ErrorRange, RateBasis, Summary
from labelaudit.report.audit_tables import issues_table
from labelaudit.report.previews import image_preview, previews_file
from labelaudit.schemas import CLASSES, CONFUSIONS, EXAMPLES, SCHEMA_VERSION
from labelaudit.storage import manifest
from labelaudit.storage.layout import audit_folder
from labelaudit.storage.store import Store

CLASS_NAMES = [f"class {number:02d}" for number in range(20)]
FLAGGED_SHARE = 0.05
REPEATS = 5


def examples(rows: int, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    names = np.array(CLASS_NAMES, dtype=object)
    given = np.random.default_rng(0).integers(0, 20, rows)
    score = generator.beta(5, 1, rows)
    flagged = generator.random(rows) < FLAGGED_SHARE
    score[flagged] = generator.beta(1, 8, int(flagged.sum()))
    predicted = np.where(flagged, (given + generator.integers(1, 20, rows)) % 20, given)
    columns: dict[str, Any] = {
        "example_id": [f"example-{number:08d}" for number in range(rows)],
        "given_label": names[given],
        "status": ["scored"] * rows,
        "fold": generator.integers(0, 5, rows),
        "predicted_label": names[predicted],
        "label_score": score,
        "is_label_issue": flagged,
        "is_dismissed": np.zeros(rows, bool),
        "p_given": score.astype(np.float32),
        "p_predicted": np.where(flagged, 1 - score, score).astype(np.float32),
        "margin": np.where(flagged, 2 * score - 1, 0.5).astype(np.float32),
        "file": ["part-0.parquet"] * rows,
        "row": np.arange(rows),
        "content_digest": [f"{number:032x}" for number in range(rows)],
        "verdict": pa.nulls(rows, pa.string()),
        "right_label": pa.nulls(rows, pa.string()),
    }
    return pa.table(columns, schema=EXAMPLES)


def publish(store: Store, version: str, rows: int, seed: int) -> AuditRecord:
    table = examples(rows, seed)
    issues = issues_table(table)
    generator = np.random.default_rng(seed)
    shown = issues["example_id"][:2000].to_pylist()
    pictures = ((i, image_preview(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8))) for i in shown)
    count = issues.group_by(["given_label", "suggested_label"]).aggregate([([], "count_all")])
    confusions = [
        {"given_label": given, "suggested_label": suggested, "examples": number}
        for given, suggested, number in zip(*count.to_pydict().values(), strict=True)
    ]
    classes = [
        {
            "class_name": name,
            "status": "scored",
            "examples": rows // 20,
            "label_issues": rows // 400,
            "label_noise": 0.05,
        }
        for name in CLASS_NAMES
    ]
    files = {
        "examples.parquet": parquet(table),
        "issues.parquet": parquet(issues),
        "classes.parquet": parquet(pa.Table.from_pylist(classes, schema=CLASSES)),
        "confusions.parquet": parquet(pa.Table.from_pylist(confusions, schema=CONFUSIONS)),
        "previews.parquet": previews_file(pictures),
    }
    record = AuditRecord(
        dataset="million",
        version=version,
        audit_id=f"{seed:012x}",
        created_at=f"2025-01-{seed:02d}T00:00:00+00:00",
        folder=audit_folder("million", version, f"{seed:012x}"),
        fingerprint=f"{seed:064x}",
        deciding=DecisiveSettings("image", {}, {}, None, {}),
        summary=Summary(
            audit_url=store.url_of(audit_folder("million", version, f"{seed:012x}")),
            dataset="million",
            version=version,
            fingerprint=f"{seed:064x}",
            status="published",
            verdict=f"{len(issues):,} examples are flagged of {rows:,}.",
            examples=rows,
            scored=rows,
            issues=len(issues),
            error_range=ErrorRange(FLAGGED_SHARE, FLAGGED_SHARE / 2, 2 * FLAGGED_SHARE, RateBasis.PROBABILITIES),
            statuses={"scored": rows},
            classes=(),
            confusions=(),
            notes=(),
        ),
        gate=None,
    )
    about = {name: getattr(record, name) for name in ("dataset", "version", "audit_id", "created_at", "fingerprint")}
    about |= {"config": {}, "columns": {"kind": "image"}, "recipe": {}, "versions": {}, "code": None}
    manifest.publish_files(store, record.folder, files, about, SCHEMA_VERSION)
    write_audit_record(store, record)
    return record


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=128 * 1024)
    return sink.getvalue()


def timed(name: str, call: Callable[[], object]) -> None:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    print(f"{name:48} {1000 * statistics.median(seconds):8.0f} ms")  # noqa: T201


def measure(folder: str, rows: int) -> None:
    store = Store(folder)
    before, after = (publish(store, version, rows, seed) for seed, version in ((1, "v1"), (2, "v2")))
    library = Library(folder)
    start = time.perf_counter()
    with closing(library.open(before)) as old, closing(library.open(after)) as new:
        for files in (old, new):
            files.path("examples.parquet")
        print(f"{'both audits into the cache':48} {1000 * (time.perf_counter() - start):8.0f} ms")  # noqa: T201
        connection = connect(library.cache.root)
        tables = AuditQueries(connection, new.path)
        start = time.perf_counter()
        tables.count(Filters())
        print(f"{'flagged rows into memory':48} {1000 * (time.perf_counter() - start):8.0f} ms")  # noqa: T201
        flagged = Filters()
        first = tables.page(flagged)[0]
        rows = tables.page(flagged, limit=10_000)
        verdicts = VerdictColumns(
            [row.example_id for row in rows],
            [row.content_digest for row in rows],
            [str(row.given_label) for row in rows],
            ["fine"] * len(rows),
        )
        timed("the first page of flagged rows", lambda: tables.page(flagged))
        timed("how many are flagged", lambda: tables.count(flagged))
        timed("page 1,000", lambda: tables.page(flagged, offset=24_000))
        pair = Filters(given_label="class 01", suggested_label="class 02")
        timed("a pair of classes", lambda: tables.page(pair))
        start = time.perf_counter()
        sample = Filters(shown=Shown.SAMPLE, sample=tables.random_sample(after.fingerprint))
        print(f"{'drawing a random sample':48} {1000 * (time.perf_counter() - start):8.0f} ms")  # noqa: T201
        timed("a random sample", lambda: tables.page(sample))
        timed(
            "how many of it are undecided", lambda: tables.count(replace(sample, reviewed=Reviewed.UNDECIDED), verdicts)
        )
        timed("all rows, the most doubtful first", lambda: tables.page(Filters(shown=Shown.ALL)))
        timed("an id within all rows", lambda: tables.page(Filters(shown=Shown.ALL, id_contains="999")))
        undecided = Filters(reviewed=Reviewed.UNDECIDED)
        timed("undecided, with 10,000 verdicts", lambda: tables.page(undecided, verdicts))
        timed("the next undecided after one", lambda: tables.neighbour(first, undecided, verdicts))
        timed("one row by its address", lambda: tables.find(first.address, flagged))
        timed("24 previews", lambda: tables.previews([row.example_id for row in tables.page(flagged)]))
        timed("scores of all rows", tables.score_histogram)
        both = library.published(before, old), library.published(after, new)
        timed("two audits compared row by row", lambda: compare_published(*both))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {arguments.rows:,} rows an audit")  # noqa: T201
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.setdefault("LABELAUDIT_CACHE_DIR", f"{temporary}/cache")
        measure(arguments.folder or f"{temporary}/audits", arguments.rows)


if __name__ == "__main__":
    main()
