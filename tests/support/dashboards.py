"""Small audits, published without a pipeline, for the tests of the dashboard."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from streamlit.testing.v1 import AppTest

from labelaudit.audits.decisive_settings import MADE_UP_IDS, DecisiveSettings
from labelaudit.audits.history import AuditRecord, write_audit_record
from labelaudit.codec import to_record
from labelaudit.detection.rows import row_digests
from labelaudit.findings import ErrorRange, Noise, NoiseKind, RateBasis, Summary
from labelaudit.report.audit_tables import issues_table
from labelaudit.report.previews import Preview, image_preview, previews_file
from labelaudit.report.slices import slices_found, slices_table
from labelaudit.schemas import (
    CHANGES,
    CLASSES,
    CONFUSIONS,
    EXAMPLES,
    MAP,
    NEIGHBOURS_TABLE,
    SCHEMA_VERSION,
    SLICES,
    IssueChange,
    Status,
    pred_probs_schema,
)
from labelaudit.storage import manifest
from labelaudit.storage.layout import audit_folder
from labelaudit.storage.store import Store

CLASS_NAMES = ("cat", "dog", "owl")


def publish_small(
    store: Store,
    *,
    rows: int = 60,
    version: str = "v1",
    dataset: str = "pets",
    class_names: Sequence[str] = CLASS_NAMES,
    day: int = 1,
    new_ids: Sequence[str] | None = None,
    has_made_up_ids: bool = False,
    epochs: int = 3,
    more: Sequence[Mapping[str, Any]] = (),
    batches: Sequence[str] = (),
    neighbours: Mapping[str, Sequence[str]] | None = None,
    has_map: bool = False,
) -> AuditRecord:
    """Publish an audit of images in which every fourth row is flagged and the last row is unlabeled.

    new_ids: new flags. more: additional rows of examples.parquet, without a preview. batches: names of slices, which
    rows are in by turns. The first has more wrong labels than the others. neighbours: nearest rows by id. has_map: it
    has a map.
    """
    examples = small_examples(rows, class_names)
    issues = issues_table(examples)
    ids = examples["example_id"].to_pylist()
    files = {
        "examples.parquet": parquet(pa.concat_tables([examples, pa.Table.from_pylist(list(more), schema=EXAMPLES)])),
        "issues.parquet": parquet(issues),
        "classes.parquet": parquet(_classes(examples, class_names)),
        "confusions.parquet": parquet(_confusions(issues)),
        "previews.parquet": previews_file((example_id, _picture(at)) for at, example_id in enumerate(ids[:-1])),
        "pred_probs/fold=0/part.parquet": parquet(_pred_probs(ids[:-1], class_names)),
    }
    slices = _slices(examples, batches)
    if slices is not None:
        of_rows = pa.array([batches[at % len(batches)] for at in range(rows)]).dictionary_encode()
        files["examples.parquet"] = parquet(examples.append_column("slice_batch", of_rows))
        files["slices.parquet"] = parquet(slices)
    if new_ids is not None:
        changes = [{"example_id": name, "issue_change": IssueChange.NEW.value} for name in new_ids]
        files["changes.parquet"] = parquet(pa.Table.from_pylist(changes, schema=CHANGES))
    if neighbours is not None:
        near = [
            {"example_id": name, "rank": rank, "neighbour_id": other, "distance": rank / 10}
            for name, others in neighbours.items()
            for rank, other in enumerate(others, 1)
        ]
        files["neighbours.parquet"] = parquet(pa.Table.from_pylist(near, schema=NEIGHBOURS_TABLE))
    if has_map:
        # On a circle, in the order of their ids.
        angle = np.linspace(0, 2 * np.pi, rows - 1, endpoint=False)
        columns = {"example_id": ids[:-1], "x": np.cos(angle), "y": np.sin(angle)}
        files["map.parquet"] = parquet(pa.table(columns).cast(MAP))
    audit_id = f"{day:012x}"
    made_from = {
        "config": {"training": {"epochs": epochs}},
        "columns": {"kind": "image", MADE_UP_IDS: has_made_up_ids},
        "recipe": {"batch_size": rows},
        "versions": {},
        "code": None,
    }
    record = AuditRecord(
        dataset=dataset,
        version=version,
        audit_id=audit_id,
        created_at=f"2025-01-{day:02d}T10:00:00+00:00",
        folder=audit_folder(dataset, version, audit_id),
        fingerprint=f"{day:064x}",
        deciding=DecisiveSettings.of_audit(made_from),
        summary=Summary(
            audit_url=store.url_of(audit_folder(dataset, version, audit_id)),
            dataset=dataset,
            version=version,
            fingerprint=f"{day:064x}",
            status="published",
            verdict=f"{len(issues)} examples are flagged of {rows}; most often {class_names[0]}.",
            examples=rows,
            scored=rows - 1,
            issues=len(issues),
            error_range=ErrorRange(0.25, 0.2, 0.3, RateBasis.PROBABILITIES),
            noise=Noise(NoiseKind.HARD_EXAMPLES, 0.9, "Hard examples are assumed to have more errors."),
            flag_precision=0.75,
            cut=0.5,
            statuses={"scored": rows - 1, "unlabeled": 1},
            classes=(),
            confusions=(),
            notes=(f"a note on {class_names[0]}",),
            slices=None if slices is None else slices_found(slices),
        ),
        gate="passed",
        has_made_up_ids=has_made_up_ids,
    )
    about = {name: getattr(record, name) for name in ("dataset", "version", "audit_id", "created_at", "fingerprint")}
    about |= made_from
    published = {**files, "summary.json": manifest.dump_json(to_record(record.summary))}
    manifest.publish_files(store, record.folder, published, about, SCHEMA_VERSION)
    write_audit_record(store, record)
    return record


def _slices(examples: pa.Table, batches: Sequence[str]) -> pa.Table | None:
    if not batches:
        return None
    count = len(batches)
    ratio = np.where(np.arange(count) == 0, 4.0, 1.0)
    frame = pd.DataFrame(dict.fromkeys(SLICES.names[:-2], np.nan), index=range(count)).assign(
        column="batch", value=list(batches), rows=len(examples) // count, scored=5, flagged=1, expected_wrong=1.0,
        share=0.2, ratio=ratio, low=ratio / 2, high=ratio * 2, p_value=ratio / 4000,
    )  # fmt: skip
    return slices_table([frame], np.where(ratio > 1, 0.001, 0.5))


def small_examples(rows: int, class_names: Sequence[str] = CLASS_NAMES) -> pa.Table:
    names = np.array(class_names, dtype=object)
    at = np.arange(rows)
    flagged = at % 4 == 0
    given = at % len(names)
    predicted = np.where(flagged, (given + 1) % len(names), given)
    score = np.where(flagged, at / (4 * rows), 0.5 + at / (4 * rows))
    frame = pd.DataFrame(
        {
            "example_id": [f"example-{number:03d}" for number in at],
            "given_label": names[given],
            "status": Status.SCORED.value,
            "fold": 0,
            "predicted_label": names[predicted],
            "label_score": score,
            "is_label_issue": flagged,
            "is_dismissed": False,
            "p_given": score,
            "p_predicted": np.where(flagged, 1 - score, score),
            "margin": np.where(flagged, 2 * score - 1, score),
            "file": "data.parquet",
            "row": at,
            "content_digest": [f"{number:032x}" for number in at],
            "verdict": None,
            "right_label": None,
            "p_wrong": np.where(flagged, 1 - score / 2, 0.4 - score / 4).astype(np.float32),
        }
    ).astype({"fold": "Int16", "is_label_issue": "boolean", "is_dismissed": "boolean"})
    measured = [
        "given_label",
        "fold",
        "predicted_label",
        "label_score",
        "is_label_issue",
        "p_given",
        "p_predicted",
        "p_wrong",
    ]
    frame.loc[rows - 1, [*measured, "is_dismissed", "margin"]] = None
    frame.loc[rows - 1, "status"] = Status.UNLABELED.value
    frame = frame.reindex(columns=EXAMPLES.names)
    return pa.Table.from_pandas(frame, schema=EXAMPLES, preserve_index=False).replace_schema_metadata(EXAMPLES.metadata)


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@contextlib.contextmanager
def unreadable(name: str) -> Iterator[None]:
    """Let the local disk fail when files with this name are read."""
    read = LocalFileSystem.cat_file

    def cat_file(disk: LocalFileSystem, path: str, *args: Any, **kwargs: Any) -> bytes:
        if path.endswith(f"/{name}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return bytes(read(disk, path, *args, **kwargs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFileSystem, "cat_file", cat_file)
        yield


def texts(app: AppTest) -> str:
    """Return all markup of a page."""
    return " ".join(str(element.proto.body) for element in app.get("html"))


def _picture(seed: int) -> Preview:
    return image_preview(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8))


def _classes(examples: pa.Table, class_names: Sequence[str]) -> pa.Table:
    given = examples["given_label"].to_pylist()
    records: list[dict[str, Any]] = [
        {"class_name": name, "status": "scored", "examples": given.count(name), "label_issues": 5, "label_noise": 0.1}
        for name in class_names
    ]
    return pa.Table.from_pylist(records, schema=CLASSES)


def _confusions(issues: pa.Table) -> pa.Table:
    counts = issues.group_by(["given_label", "suggested_label"]).aggregate([([], "count_all")])
    records = [
        {"given_label": given, "suggested_label": suggested, "examples": count}
        for given, suggested, count in zip(*counts.to_pydict().values(), strict=True)
    ]
    return pa.Table.from_pylist(records, schema=CONFUSIONS)


def _pred_probs(ids: Sequence[str], class_names: Sequence[str]) -> pa.Table:
    shares = np.linspace(1, 2, len(class_names))
    pred_probs = np.tile((shares / shares.sum()).astype(np.float32), (len(ids), 1))
    digests = row_digests(np.array(ids, dtype=object), pred_probs)
    columns = [
        pa.array(ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(pred_probs.ravel(), len(class_names)),
        pa.array(digests),
    ]
    return pa.Table.from_arrays(columns, schema=pred_probs_schema(tuple(class_names)))
