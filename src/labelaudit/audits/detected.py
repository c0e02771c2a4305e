"""The findings and tables of an audit, which detection stores and publishing reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import pyarrow as pa

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import FilesReference
from labelaudit.audits.work_files import load_file, parquet_file, read_columns, store_files, unchanged_file
from labelaudit.codec import from_record, to_record
from labelaudit.findings import Findings
from labelaudit.storage.file_on_disk import FileOnDisk
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

FINDINGS = "findings.json"


@dataclass(frozen=True)
class AuditTables:
    """The tables of an audit, each with the schema of its name in `labelaudit.schemas`."""

    examples: pa.Table
    issues: pa.Table
    classes: pa.Table
    confusions: pa.Table
    folds: pa.Table
    views: pa.Table
    canaries: pa.Table
    duplicates: pa.Table | None = None  # None for external probabilities, whose contents are unknown
    outliers: pa.Table | None = None  # None if there are no features, or too few rows
    neighbours: pa.Table | None = None  # None as for outliers
    map: pa.Table | None = None  # None as for outliers
    consensus: pa.Table | None = None  # None without answers of annotators, as the next two
    annotators: pa.Table | None = None
    answers: pa.Table | None = None
    slices: pa.Table | None = None  # None if the config names no slices
    quality: pa.Table | None = None  # None as for `duplicates`
    changes: pa.Table | None = None  # None if the audit is not compared with another one
    class_changes: pa.Table | None = None

    def to_files(self, files: TemporaryFiles) -> dict[str, FileOnDisk]:
        """Write the tables as Parquet files, and return them by name."""
        tables = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f"{name}.parquet": parquet_file([table], files) for name, table in tables.items() if table is not None}


@dataclass(frozen=True)
class Detected:
    """What detection found, and the tables of the audit."""

    findings: Findings
    tables: AuditTables
    stored: Mapping[str, FileOnDisk] | None = None  # the tables as the Parquet files that they were read from

    def to_files(self, files: TemporaryFiles) -> Mapping[str, FileOnDisk]:
        """Return the tables as Parquet files by name."""
        return self.tables.to_files(files) if self.stored is None else self.stored

    def save(self, store: Store, plan: Plan) -> FilesReference:
        """Store it in the work folder of an audit."""
        files = TemporaryFiles()
        stored: dict[str, bytes | FileOnDisk] = {
            **self.tables.to_files(files),
            FINDINGS: dump_json(to_record(self.findings)),
        }
        return store_files(store, plan.work_folder, stored)

    @classmethod
    def load(cls, store: Store, reference: FilesReference, files: TemporaryFiles, columns: Sequence[str]) -> Detected:
        """Read what `save` stored, but of the examples only some columns.

        Raises:
            StorageError: it was changed since.
        """
        findings = from_record(Findings, json.loads(load_file(store, reference, FINDINGS)))
        names = [field.name for field in fields(AuditTables)]
        stored = {
            name: unchanged_file(store, f"{reference.folder}/{name}", reference.sha256[name], files)
            for name in (f"{name}.parquet" for name in names)
            if name in reference.sha256
        }
        read = {name: columns if name == "examples" else None for name in names}
        tables = {name: _table(stored.get(f"{name}.parquet"), read[name]) for name in names}
        return cls(findings, AuditTables(**tables), stored)

    def with_examples(self, columns: Sequence[str]) -> Detected:
        """Return what `load` returned with other columns of the examples."""
        assert self.stored is not None, "it was not loaded"
        examples = _table(self.stored["examples.parquet"], columns)
        return replace(self, tables=replace(self.tables, examples=examples))


def _table(file: FileOnDisk | None, columns: Sequence[str] | None) -> pa.Table | None:
    return None if file is None else read_columns(file.path, columns)
