"""A published audit as people name it: by the URL of its folder, or of its dataset's."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.errors import ReviewError
from labelaudit.schemas import SCHEMA_VERSION
from labelaudit.storage.layout import MANIFEST, audit_folder, dataset_folder, dataset_of, latest_key
from labelaudit.storage.manifest import read_checked, read_json
from labelaudit.storage.store import Store


@dataclass(frozen=True)
class PublishedAudit:
    """One audit below an output URL, known from its manifest."""

    store: Store  # at the output URL
    dataset: str
    version: str
    audit_id: str
    fingerprint: str
    files: dict[str, str]  # name in the folder -> sha256

    @property
    def folder(self) -> str:
        return audit_folder(self.dataset, self.version, self.audit_id)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table of the audit, `name` without suffix. Raises `StorageError` where it was changed."""
        data = read_checked(self.store, f"{self.folder}/{name}.parquet", self.files[f"{name}.parquet"])
        return pq.read_table(io.BytesIO(data), columns=columns)


def open_audit(url: str, options: Mapping[str, Any] | None = None) -> PublishedAudit:
    """The audit at a URL `…/dataset=<name>/version=<version>/audit=<id>`, or the latest at `…/dataset=<name>`.

    Raises `ReviewError` where the URL is neither, or nothing is published there.
    """
    path = url.rstrip("/")
    parts = path.split("/")
    is_audit = len(parts) > 2 and parts[-1].startswith("audit=") and parts[-2].startswith("version=")
    depth = 3 if is_audit else 1
    dataset = dataset_of(parts[-depth]) if len(parts) >= depth else None
    if dataset is None:
        raise ReviewError(
            f"{url} names no audit. Give the folder of an audit (…/dataset=<name>/version=<version>/audit=<id>), as "
            "`labelaudit run` prints it, or that of a dataset (…/dataset=<name>) for its latest audit."
        )
    root = "/".join(parts[:-depth]) or ("/" if path.startswith("/") else ".")
    store = Store(root, options)
    if is_audit:
        version, audit_id = (unquote(part.partition("=")[2]) for part in parts[-2:])
    else:
        version, audit_id = _latest(store, dataset)
    return _read(store, dataset, version, audit_id)


def _latest(store: Store, dataset: str) -> tuple[str, str]:
    if not store.exists(latest_key(dataset)):
        raise ReviewError(
            f"No audit of the dataset {dataset!r} is published at {store.url_of(dataset_folder(dataset))}. "
            "Check the URL, or audit the dataset first."
        )
    pointer = read_json(store, latest_key(dataset))
    return pointer["version"], pointer["audit_id"]


def _read(store: Store, dataset: str, version: str, audit_id: str) -> PublishedAudit:
    folder = audit_folder(dataset, version, audit_id)
    if not store.exists(f"{folder}/{MANIFEST}"):
        raise ReviewError(f"No audit is published at {store.url_of(folder)}: it has no {MANIFEST}. Check the URL.")
    manifest = read_json(store, f"{folder}/{MANIFEST}")
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise ReviewError(
            f"The tables of {store.url_of(folder)} have schema {manifest['schema_version']}; this release reviews "
            f"audits of schema {SCHEMA_VERSION}. Audit the version again."
        )
    files = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    return PublishedAudit(store, dataset, version, audit_id, manifest["fingerprint"], files)
