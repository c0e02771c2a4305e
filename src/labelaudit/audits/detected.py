"""The findings and tables of an audit, which detection stores and publishing reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.references import FilesReference
from labelaudit.audits.work_files import load_file, parquet_bytes, store_files
from labelaudit.codec import from_record, to_record
from labelaudit.findings import Findings
from labelaudit.storage.manifest import dump_json
from labelaudit.storage.store import Store

FINDINGS = "findings.json"


@dataclass(frozen=True)
class AuditTables:
    """The tables of an audit, each with the schema of its name in `labelaudit.schemas`."""

    examples: pa.Table
    issues: pa.Table
    classes: pa.Table
    confusions: pa.Table
    folds: pa.Table
    canaries: pa.Table
    changes: pa.Table | None  # None if the audit is not compared with another one
    class_changes: pa.Table | None

    def to_files(self) -> dict[str, bytes]:
        """Return the tables as Parquet files by name."""
        tables = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f"{name}.parquet": parquet_bytes(table) for name, table in tables.items() if table is not None}


@dataclass(frozen=True)
class Detected:
    """What detection found, and the tables of the audit."""

    findings: Findings
    tables: AuditTables
    stored: Mapping[str, bytes] | None = None  # the tables as the Parquet files that they were read from

    def to_files(self) -> Mapping[str, bytes]:
        """Return the tables as Parquet files by name."""
        return self.tables.to_files() if self.stored is None else self.stored

    def save(self, store: Store, plan: Plan) -> FilesReference:
        """Store it in the work folder of an audit."""
        files = {**self.tables.to_files(), FINDINGS: dump_json(to_record(self.findings))}
        return store_files(store, plan.work_folder, files)

    @classmethod
    def load(cls, store: Store, reference: FilesReference) -> Detected:
        """Read what `save` stored.

        Raises:
            StorageError: it was changed since.
        """
        findings = from_record(Findings, json.loads(load_file(store, reference, FINDINGS)))
        names = [field.name for field in fields(AuditTables)]
        stored = {
            f"{name}.parquet": load_file(store, reference, f"{name}.parquet")
            for name in names
            if f"{name}.parquet" in reference.sha256
        }
        tables = {name: _table(stored.get(f"{name}.parquet")) for name in names}
        return cls(findings, AuditTables(**tables), stored)


def _table(data: bytes | None) -> pa.Table | None:
    return None if data is None else pq.read_table(pa.BufferReader(data), pre_buffer=False)
