"""The rows of a dataset version, as all steps of an audit use them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from labelaudit.audits.audit_plan import Plan, output_store
from labelaudit.audits.references import PlanReference
from labelaudit.audits.work_files import ROW_GROUP_ROWS, parquet_file, read_columns, unchanged_file
from labelaudit.data.dataset import FEW_VALUES, Examples
from labelaudit.memory import release_if_grown
from labelaudit.schemas import SLICE_PREFIX
from labelaudit.storage.file_on_disk import FileOnDisk
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.strings import Strings

ROWS = "rows.parquet"
IDS_AND_LABELS = ("example_id", "label")
# What an audit publishes of a row, apart from scores.
PUBLISHED_COLUMNS = (
    *IDS_AND_LABELS,
    "given_label",
    "status",
    "content_digest",
    "file",
    "row",
    "split",
    "cluster",
    "copy_distance",
)

_Column = TypeVar("_Column", np.ndarray, Strings)


@dataclass(frozen=True)
class Version:
    """The rows of a prepared version in canonical order, and the fold that holds out each row."""

    examples: Examples
    fold_of: np.ndarray  # (repeats, N) int16, -1 if not scored

    @cached_property
    def scored(self) -> np.ndarray:
        """The positions of the scored rows, (M,) int64."""
        return np.flatnonzero(self.examples.label >= 0)

    def of_scored(self, column: _Column) -> _Column:
        """Return the values of the M scored rows from a column of all rows. Without a copy if all are scored."""
        return column if len(self.scored) == len(column) else column[self.scored]

    @property
    def fold_of_scored(self) -> np.ndarray:
        """The folds that hold out the scored rows, (repeats, M) int16."""
        return self.fold_of if len(self.scored) == self.fold_of.shape[1] else self.fold_of[:, self.scored]

    def places(self) -> str:
        """Return a digest of file, row number and slices of each row. The fingerprint covers the other content."""
        codes, files = pd.factorize(self.examples.file)
        hasher = hashlib.sha256()
        for numbers in (codes, self.examples.row):
            hasher.update(np.ascontiguousarray(numbers, "<i8").data)
        slices = self.examples.slices
        for values in slices.values():
            hasher.update(np.ascontiguousarray(values.code, "<i4").data)
        named = [{name: values.names for name, values in slices.items()}] if slices else []
        return digest_of(files.tolist(), hasher.hexdigest(), *named)

    def held_out(self, fold: int, folds: int) -> np.ndarray:
        """Return the positions that a fold holds out."""
        return np.flatnonzero(self.fold_of[fold // folds] == fold)

    def training(self, fold: int, folds: int) -> np.ndarray:
        """Return the positions that the fold's model is trained on."""
        of_repeat = self.fold_of[fold // folds]
        return np.flatnonzero((of_repeat >= 0) & (of_repeat != fold))

    def to_file(self, files: TemporaryFiles) -> FileOnDisk:
        """Write the version as a Parquet file, which `load_version` reads."""
        return parquet_file(self._tables(), files)

    def _tables(self) -> Iterator[pa.Table]:
        start = 0
        for table in self.examples.tables(ROW_GROUP_ROWS):
            end = start + len(table)
            for repeat, fold_of in enumerate(self.fold_of):
                table = table.append_column(f"fold_of_repeat_{repeat}", pa.array(fold_of[start:end], pa.int16()))
            yield table
            start = end


def load_version(reference: PlanReference, plan: Plan, columns: Sequence[str] = IDS_AND_LABELS) -> Version:
    """Read the rows of a plan.

    Args:
        columns: the columns of `Examples` that are read. Strings of others are None, numbers -1.

    Raises:
        StorageError: they were changed since.
    """
    files = TemporaryFiles()
    file = unchanged_file(output_store(reference), f"{plan.work_folder}/{ROWS}", plan.rows_sha256, files)
    names = [f"fold_of_repeat_{repeat}" for repeat in range(plan.repeats)]
    few = [name for name in columns if name in FEW_VALUES or name.startswith(SLICE_PREFIX)]
    fold_of = np.stack([column.to_numpy() for column in read_columns(file.path, names).columns])
    version = Version(Examples.from_columns(read_columns(file.path, columns, few)), fold_of)
    release_if_grown()
    return version
