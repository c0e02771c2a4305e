"""The inputs of a version, decoded once per machine into the local cache and memory-mapped from there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from labelaudit.data.columns import Columns
from labelaudit.data.dataset import Examples
from labelaudit.data.readers import BatchHead, read_batches
from labelaudit.errors import DatasetError
from labelaudit.model.inputs import ImageInputs
from labelaudit.model.text import HASHED_FEATURES, HASHING, hash_texts
from labelaudit.steps.prepared import Prepared
from labelaudit.steps.references import PreparedReference
from labelaudit.storage.cache import Cache
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.store import DatasetFiles, open_dataset

# Changes when the files of a cache entry change their meaning.
CACHE_FORMAT = 1


class _Writer(Protocol):
    """Takes the inputs of a version in reading order, and leaves them in the folder of a cache entry."""

    def append(self, inputs: Any) -> None: ...

    def finish(self, positions: np.ndarray) -> None:
        """`positions` (N,) int64 maps the canonical order to the reading order."""


class _ImageWriter:
    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        self._shape = (*columns.image_size, columns.image_channels)
        self._file: BinaryIO = open(folder / "pixels.bin", "wb")  # noqa: SIM115 (closed by finish)

    def append(self, inputs: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(inputs).data)

    def finish(self, positions: np.ndarray) -> None:
        self._file.close()
        np.save(self._folder / "positions.npy", positions)
        (self._folder / "shape.json").write_text(json.dumps([len(positions), *self._shape]))


class _TextWriter:
    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        self._texts: list[str] = []

    def append(self, inputs: list[str]) -> None:
        self._texts += inputs

    def finish(self, positions: np.ndarray) -> None:
        texts = [self._texts[position] for position in positions]
        _write_arrow(self._folder / "texts.arrow", pa.table({"text": pa.array(texts, pa.large_string())}))
        counts = hash_texts(texts)
        for name in ("data", "indices", "indptr"):
            np.save(self._folder / f"{name}.npy", getattr(counts, name))
        (self._folder / "shape.json").write_text(json.dumps(counts.shape))


class _TableWriter:
    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        self._tables: list[pa.Table] = []

    def append(self, inputs: pa.Table) -> None:
        self._tables.append(inputs)

    def finish(self, positions: np.ndarray) -> None:
        table = pa.concat_tables(self._tables, promote_options="permissive")
        _write_arrow(self._folder / "table.arrow", table.take(pa.array(positions)))


_WRITERS: dict[str, Callable[[Path, Columns], _Writer]] = {
    "image": _ImageWriter,
    "text": _TextWriter,
    "table": _TableWriter,
}


def scan(source: DatasetFiles, columns: Columns, folder: Path) -> Examples:
    """Read a version once: its inputs go to `folder`, its rows are returned in canonical order."""
    writer = _WRITERS[columns.kind](folder, columns)

    def heads() -> Iterator[BatchHead]:
        for batch in read_batches(source, columns):
            writer.append(batch.inputs)
            yield batch.head()

    examples = Examples.from_batches(heads(), columns)
    writer.finish(examples.positions)
    return examples


def cache_key(fingerprint: str, columns: Columns) -> str:
    """Key of the cache entry: the content of the version and how it is decoded."""
    decoded = {**asdict(columns), "guesses": (), "label": None, "id": None, "group": None}
    return digest_of(CACHE_FORMAT, HASHING, fingerprint, decoded)[:32]


@contextlib.contextmanager
def open_inputs(reference: PreparedReference, prepared: Prepared) -> Iterator[Path]:
    """Folder of the decoded inputs, built from the dataset where this machine does not have it yet.

    Raises `DatasetError` when the dataset is no longer what was prepared.
    """
    columns = Columns(**prepared.columns)

    def build(folder: Path) -> None:
        source = open_dataset(reference.dataset_url, reference.storage_options, marker=reference.marker)
        if scan(source, columns, folder).fingerprint != prepared.fingerprint:
            raise DatasetError(
                f"{source.url} has changed since this audit began: it is not the version with fingerprint "
                f"{prepared.fingerprint[:12]}. Run the audit again to audit what is there now."
            )

    cache = Cache(max_bytes=reference.cache_bytes)
    with cache.entry(cache_key(prepared.fingerprint, columns), build) as folder:
        yield folder


def model_inputs(folder: Path, kind: str) -> ImageInputs | sparse.csr_matrix | pd.DataFrame:
    """What the estimator of a kind is trained on, N rows in canonical order, memory-mapped."""
    if kind == "image":
        return load_images(folder)
    if kind == "table":
        return load_table_inputs(folder)
    arrays = tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr"))
    return sparse.csr_matrix(arrays, shape=json.loads((folder / "shape.json").read_text()), copy=False)


def load_images(folder: Path) -> ImageInputs:
    shape = tuple(json.loads((folder / "shape.json").read_text()))
    pixels = np.memmap(folder / "pixels.bin", np.uint8, "r", shape=shape)
    return ImageInputs(pixels, np.load(folder / "positions.npy"))


def load_texts(folder: Path, rows: Iterable[int]) -> list[str]:
    texts = _read_arrow(folder / "texts.arrow").take(pa.array(list(rows), pa.int64()))["text"]
    return [str(text) for text in texts]


def load_table_inputs(folder: Path) -> pd.DataFrame:
    frame: pd.DataFrame = _read_arrow(folder / "table.arrow").to_pandas()
    return frame


def _write_arrow(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def _read_arrow(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def input_shape(columns: Columns) -> tuple[int, ...]:
    """Shape of one input: (channels, height, width), (hashed features,) or (columns,)."""
    if columns.kind == "image":
        return (columns.image_channels, *columns.image_size)
    return (HASHED_FEATURES,) if columns.kind == "text" else (len(columns.inputs),)
