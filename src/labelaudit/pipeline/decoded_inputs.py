"""The inputs of a version, decoded once per machine into the local cache and memory-mapped from there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import PlanReference
from labelaudit.audits.stored_answers import load_answers
from labelaudit.config import AuditConfig
from labelaudit.data.columns import Columns
from labelaudit.data.dataset import Examples
from labelaudit.data.majority_vote import Majority, majority_of
from labelaudit.data.misleading import SampledInputs
from labelaudit.data.readers import BatchHead, read_batches
from labelaudit.duplicates.content_codes import ContentCodes
from labelaudit.errors import DatasetError
from labelaudit.memory import held_bytes
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.ngrams import HASHED_FEATURES, HASHING
from labelaudit.pipeline.input_writers import WRITERS, Nowhere
from labelaudit.quality.input_quality import InputMeasures
from labelaudit.storage.cache import Cache
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.store import DatasetFiles, open_dataset

if TYPE_CHECKING:
    from scipy import sparse

# Increase it if the same files are decoded to other inputs. Then every audit trains again.
DECODING = 2
# Increase it if the files of a cache entry change their meaning.
LAYOUT = 3
# Memory to put rows into canonical order, in addition to the rows themselves; 250 bytes were measured.
SORTING_BYTES_PER_ROW = 300
# With more threads, the work of the thread that reads takes longer than the decoding.
_MOST_DECODING_THREADS = 8


def scan(
    source: DatasetFiles,
    columns: Columns,
    folder: Path | None,
    *,
    threads: int = 1,
    memory_limit: int | None = None,
    sample: SampledInputs | None = None,
    codes: ContentCodes | None = None,
    majority: Majority | None = None,
    measures: InputMeasures | None = None,
) -> Examples:
    """Read a version once, write its inputs to `folder` (None: do not), and return its rows in canonical order.

    Args:
        source: the files of the version.
        columns: how they are read.
        folder: the folder of a cache entry.
        threads: images that are decoded side by side.
        memory_limit: bytes that this process may use; None: no limit.
        sample: takes a sample of the inputs.
        codes: takes the codes of all inputs.
        majority: the labels if they are the majority of the annotations.
        measures: takes measures of the quality of all inputs.

    Raises:
        DatasetError: the rows do not fit into `memory_limit` bytes.
    """
    with contextlib.closing(Nowhere() if folder is None else WRITERS[columns.kind](folder, columns)) as writer:

        def heads() -> Iterator[BatchHead]:
            rows = 0
            for batch in read_batches(source, columns, threads):
                writer.append(batch.inputs)
                if sample is not None:
                    sample.add(batch.inputs, batch.digests)
                if codes is not None:
                    codes.add(batch.inputs)
                if measures is not None:
                    measures.add(batch.inputs, batch.sizes)
                rows += len(batch.digests)
                _check_memory(rows, memory_limit)
                yield batch.head()

        examples = Examples.from_batches(heads(), columns, majority)
        writer.finish(examples.position)
    return examples


def decoding_threads(config: AuditConfig) -> int:
    """Return how many images are decoded side by side: one if memory is limited, because each needs some."""
    if config.limits.memory is not None:
        return 1
    return min(_MOST_DECODING_THREADS, config.workers.threads or len(os.sched_getaffinity(0)))


def _check_memory(rows: int, limit: int | None) -> None:
    needed = held_bytes() + rows * SORTING_BYTES_PER_ROW
    if limit is not None and needed > limit:
        raise DatasetError(
            f"The ids, labels and digests of the first {rows:,} rows need {needed >> 20:,} MiB, more than the "
            f"{limit >> 20:,} MiB of limits.memory. Raise that limit, or audit the dataset in parts."
        )


def decoding_key(fingerprint: str, columns: Columns) -> str:
    """Return a digest of the content of a version and of how it is decoded."""
    # The fingerprint contains digests of what the others of these say how to read.
    read = dict.fromkeys(
        (
            "label",
            "id",
            "group",
            "split",
            "partitions",
            "excluded",
            "rename",
            "csv",
            "text_columns",
            "image_side",
            "slices",
        )
    )
    decoded = {**asdict(columns), **read, "guesses": None, "left_out": None, "stored_rows": None}
    return digest_of(DECODING, HASHING, fingerprint, decoded)[:32]


def cache_key(fingerprint: str, columns: Columns) -> str:
    """Return the key of the cache entry of a decoded version."""
    return f"{decoding_key(fingerprint, columns)}-{LAYOUT}"


@contextlib.contextmanager
def open_inputs(reference: PlanReference, plan: Plan) -> Iterator[Path]:
    """Yield the folder of the decoded inputs, built from the dataset if this machine does not have it yet.

    Raises:
        DatasetError: the dataset has changed since it was prepared.
    """
    columns = plan.columns
    assert columns is not None, "no dataset is read for external probabilities"

    def build(folder: Path) -> None:
        source = open_dataset(reference.dataset_url, reference.storage_options, marker=reference.marker)
        majority = majority_of(load_answers(reference, plan)) if columns.is_voted else None
        examples = scan(source, columns, folder, threads=decoding_threads(plan.config), majority=majority)
        if examples.fingerprint != plan.fingerprint:
            raise DatasetError(
                f"{source.url} has changed since this audit began: it no longer has the fingerprint "
                f"{plan.fingerprint[:12]}. Run the audit again to audit the present content."
            )

    cache = Cache(max_bytes=reference.cache_bytes)
    with cache.entry(cache_key(plan.fingerprint, columns), build) as folder:
        yield folder


def model_inputs(folder: Path, kind: str) -> ImageInputs | np.ndarray | sparse.csr_matrix | pd.DataFrame:
    """Return the inputs for the estimator of a kind, N rows in canonical order, memory-mapped."""
    if kind == "image":
        return load_images(folder)
    if kind == "vector":
        return load_vectors(folder)
    if kind == "table":
        return load_table_inputs(folder)
    from scipy import sparse  # slow to import, and only texts need it

    arrays = tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr"))
    return sparse.csr_matrix(arrays, shape=json.loads((folder / "shape.json").read_text()), copy=False)


def load_images(folder: Path) -> ImageInputs:
    shape = tuple(json.loads((folder / "shape.json").read_text()))
    pixels = np.memmap(folder / "pixels.bin", np.uint8, "r", shape=shape)
    return ImageInputs(pixels, np.load(folder / "positions.npy"))


def load_vectors(folder: Path) -> np.ndarray:
    """Return all vectors, (N, d) float32 in canonical order, memory-mapped."""
    vectors: np.ndarray = np.load(folder / "vectors.npy", mmap_mode="r")
    return vectors


def load_texts(folder: Path) -> Callable[[int], dict[str, str]]:
    """Return a function that reads the texts of a row by column, by its position in the canonical order."""
    texts = _read_arrow(folder / "texts.arrow")
    positions = np.load(folder / "positions.npy", mmap_mode="r")
    # Read one by one, because `take` would first join all texts in memory.
    return lambda row: {name: str(texts[name][int(positions[row])]) for name in texts.column_names}


def load_table_inputs(folder: Path) -> pd.DataFrame:
    """Return all rows in canonical order."""
    frame: pd.DataFrame = _read_arrow(folder / "table.arrow").to_pandas().take(np.load(folder / "positions.npy"))
    return frame.set_axis(pd.RangeIndex(len(frame)), axis="index")


def _read_arrow(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def input_shape(columns: Columns) -> tuple[int, ...]:
    """Return the shape of one input: (channels, height, width), (d,), (hashed features,) or (columns,)."""
    if columns.kind == "image":
        return (columns.image_channels, *columns.image_size)
    if columns.kind == "vector":
        return (columns.vector_length,)
    return (HASHED_FEATURES,) if columns.kind == "text" else (len(columns.inputs),)
