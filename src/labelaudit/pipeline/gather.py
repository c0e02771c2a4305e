"""Gather the folds into one table of out-of-fold probabilities, after proving that they are that."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.prepared import (
    load_prepared,
    load_rows,
    output_store,
    parquet_bytes,
    store_files,
)
from labelaudit.audits.references import FilesReference, FoldReference, PreparedReference
from labelaudit.detection.out_of_fold import FoldProbabilities, gather_folds
from labelaudit.errors import Fault, IntegrityError, StorageError
from labelaudit.schemas import pred_probs_schema
from labelaudit.storage.manifest import dump_json, read_json, sha256_hex
from labelaudit.storage.store import Store

PRED_PROBS = "pred_probs.parquet"
HEALTH = "health.json"


def gather(reference: PreparedReference, folds: list[FoldReference]) -> FilesReference:
    """Join all folds by example id; leaves the (M, K) probabilities and what was seen of each fold.

    Raises `IntegrityError` for anything that is not exactly one sound row per example and repeat.
    """
    store = output_store(reference)
    prepared = load_prepared(reference)
    rows = load_rows(reference, prepared)
    scored = rows.scored
    records = [read_json(store, fold.key) for fold in sorted(folds, key=lambda fold: fold.fold)]
    data = [_fold_bytes(store, record) for record in records]
    gathered = gather_folds(
        [_fold_probabilities(record, content) for record, content in zip(records, data, strict=True)],
        example_ids=rows.examples.example_ids[scored],
        labels=rows.examples.labels[scored],
        fold_of=rows.fold_of[:, scored],
        class_names=prepared.class_names,
    )
    # After the named faults, which say more: whatever else was changed since the fold was committed.
    for record, content in zip(records, data, strict=True):
        _check_unchanged(store, record, content)
    table = pa.Table.from_arrays(
        [
            pa.array(rows.examples.example_ids[scored], pa.string()),
            pa.FixedSizeListArray.from_arrays(gathered.pred_probs.ravel(), len(prepared.class_names)),
        ],
        schema=pred_probs_schema(prepared.class_names).remove(2),
    )
    health = {"folds": [asdict(fold) for fold in gathered.folds], "notes": list(gathered.notes)}
    files = {PRED_PROBS: parquet_bytes(table), HEALTH: dump_json({**health, "records": records})}
    return store_files(store, prepared.work_folder, files)


def read_pred_probs(data: bytes) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], np.ndarray | None]:
    """`example_ids` (n,), `pred_probs` (n, K) float32, `class_names` and `row_digests` (n,) of a file."""
    table = pq.read_table(io.BytesIO(data))
    class_names = tuple(json.loads((table.schema.metadata or {})[b"class_names"]))
    column = table["pred_probs"].combine_chunks()
    # Not the type's own list size: a damaged file may have ragged rows, which the gate names.
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    digests = table["row_digest"].to_numpy() if "row_digest" in table.column_names else None
    width = len(values) // max(1, len(table))
    ids = table["example_id"].to_numpy()
    return ids, values[: width * len(table)].reshape(len(table), width), class_names, digests


def _fold_bytes(store: Store, record: dict[str, Any]) -> bytes:
    try:
        return store.read(record["key"])
    except StorageError as error:
        raise IntegrityError(
            Fault.ROWS_MISSING,
            f"all {record['held_out_examples']:,} rows are missing: {error}",
            "Run the audit again: only this fold is trained anew.",
            fold=record["fold"],
            rows=record["held_out_examples"],
        ) from error


def _fold_probabilities(record: dict[str, Any], data: bytes) -> FoldProbabilities:
    try:
        example_ids, pred_probs, class_names, digests = read_pred_probs(data)
    except (pa.ArrowException, KeyError, ValueError) as error:
        problem = f"{record['key']} is not the Parquet file that was committed ({type(error).__name__}: {error})"
        raise _altered(record, problem) from error
    return FoldProbabilities(
        fold=record["fold"],
        repeat=record["repeat"],
        example_ids=example_ids,
        pred_probs=pred_probs,
        class_names=class_names,
        row_digests=digests,
        trained_on=record["trained_on"],
    )


def _check_unchanged(store: Store, record: dict[str, Any], data: bytes) -> None:
    if sha256_hex(data) != record["sha256"]:
        raise _altered(record, f"{store.url_of(record['key'])} does not have the checksum of its record")


def _altered(record: dict[str, Any], problem: str) -> IntegrityError:
    return IntegrityError(
        Fault.ROWS_ALTERED,
        problem,
        "Remove that file and run the audit again: only this fold is trained anew.",
        fold=record["fold"],
        rows=record["held_out_examples"],
    )
