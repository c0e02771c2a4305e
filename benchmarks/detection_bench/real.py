"""Cells whose errors are real: stored probabilities, and audits that `labelaudit run` published."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from detection_bench.cells import Cell, MissingDataError, Name
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.errors import LabelauditError
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import Status
from labelaudit.storage.layout import MANIFEST, dataset_of
from labelaudit.storage.store import Store, open_dataset

TRUE_LABEL = "true_label"
_PROBABILITIES_OF_5K = "cifar10n-5k-pred-probs.npy"
_DYNAMICS = ("margin", "p_given", "spread", "epochs")


def stored_cells(folder: Path) -> Iterator[Cell]:
    """Yield the cells of the files of probabilities in a folder.

    Raises:
        MissingDataError: there are none.
    """
    packs = sorted((folder / "oof").glob("*.parquet"))
    for path in packs:
        table = pq.read_table(path)
        names = json.loads(table.schema.metadata[b"class_names"])
        yield _cell(Name("stored", path.stem, "stored", "real"), table, _lists(table["pred_probs"]), names)
    path = folder / _PROBABILITIES_OF_5K
    if path.exists():
        table = pq.read_table(folder / "cifar10n-5k.parquet", columns=["label", TRUE_LABEL])
        names = sorted(set(table["label"].to_pylist()))
        yield _cell(Name("stored", "cifar10n-5k", "stored", "real"), table, np.load(path), names)
    elif not packs:
        raise MissingDataError("there are no stored probabilities in the folder --data")


def audited_datasets(url: str) -> list[str]:
    """Return the names of the datasets that have audits below an output URL."""
    return [name for name in map(dataset_of, Store(url).folders()) if name is not None]


def audit_cell(url: str, dataset: str, folder: Path) -> Cell:
    """Return the cell of the latest audit of a dataset.

    Args:
        url: the output URL of the audits.
        dataset: the name of the dataset.
        folder: with a file of the same name, if the dataset is no longer at the URL of the audit.

    Raises:
        MissingDataError: the audit or the dataset cannot be read. If only true labels are missing, the given ones
            count as right.
    """
    try:
        audit = find_audit(f"{url.rstrip('/')}/dataset={dataset}")
        examples = _examples(audit)
        names, pred_probs = _probabilities(audit, examples["example_id"].to_pylist())
        true = _true_labels(json.loads(audit.store.read(f"{audit.folder}/{MANIFEST}")), examples, folder)
    except LabelauditError as error:
        raise MissingDataError(str(error)) from error
    kind = "real" if true is not None else "none"
    given = examples["given_label"].to_pylist()
    table = pa.table({"label": given, TRUE_LABEL: given if true is None else true})
    return _cell(Name("audit", dataset, "own audit", kind), table, pred_probs, names, _dynamics(examples))


def _examples(audit: PublishedAudit) -> pa.Table:
    """Return the scored rows. Columns differ between releases, so only those that are there are read."""
    table = pq.read_table(io.BytesIO(audit.read("examples.parquet")))
    return table.filter(np.asarray(table["status"]) == Status.SCORED.value)


def _probabilities(audit: PublishedAudit, example_ids: list[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the class names and (M, K) probabilities, the mean over repeats."""
    files = sorted(name for name in audit.sha256 if name.startswith("pred_probs/"))
    tables = [pq.read_table(io.BytesIO(audit.read(name))) for name in files]
    names: list[str] = json.loads(tables[0].schema.metadata[b"class_names"])
    rows = {example_id: row for row, example_id in enumerate(example_ids)}
    sums, counts = np.zeros((len(rows), len(names))), np.zeros(len(rows))
    for table in tables:
        positions = np.array([rows[example_id] for example_id in table["example_id"].to_pylist()])
        sums[positions] += _lists(table["pred_probs"])
        counts[positions] += 1
    return names, (sums / counts[:, None]).astype(np.float32)


def _true_labels(manifest: dict, examples: pa.Table, folder: Path) -> list[str] | None:
    """Return the column of true labels of the dataset, or None if it has none."""
    url = manifest["config"]["dataset"]["url"]
    local = folder / url.rstrip("/").rpartition("/")[2]
    files = open_dataset(str(local) if local.exists() else url)
    columns: dict[str, list[str]] = {}
    for path in examples["file"].unique().to_pylist():
        with files.open(path) as source:
            file = pq.ParquetFile(source)
            if TRUE_LABEL not in file.schema_arrow.names:
                return None
            columns[path] = file.read([TRUE_LABEL])[TRUE_LABEL].to_pylist()
    places = zip(examples["file"].to_pylist(), examples["row"].to_pylist(), strict=True)
    return [columns[path][row] for path, row in places]


def _dynamics(examples: pa.Table) -> Dynamics | None:
    if f"dynamics_{_DYNAMICS[0]}" not in examples.column_names:
        return None
    columns = {name: examples[f"dynamics_{name}"].to_numpy().astype(np.float32) for name in _DYNAMICS}
    return None if np.isnan(columns["margin"]).all() else Dynamics(**columns)


def _lists(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    return np.stack(column.to_numpy()).astype(np.float32)


def _cell(
    name: Name,
    table: pa.Table,
    pred_probs: npt.NDArray[np.float32],
    names: list[str],
    dynamics: Dynamics | None = None,
) -> Cell:
    numbers = {class_name: k for k, class_name in enumerate(names)}
    labels, truth = (
        np.array([numbers.get(label, -1) for label in table[column].to_pylist()], np.int64)
        for column in ("label", TRUE_LABEL)
    )
    return Cell(name, labels, np.asarray(pred_probs, np.float32), truth, dynamics)
