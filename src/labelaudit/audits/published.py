"""A published audit as its readers see it: manifest first, each file checked against it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.decisive_settings import has_made_up_ids
from labelaudit.audits.history import AuditRecord, newest_of_versions, read_history
from labelaudit.errors import ConfigError, StorageError
from labelaudit.storage.layout import MANIFEST, dataset_of, latest_key
from labelaudit.storage.manifest import load_manifest, read_checked, read_json
from labelaudit.storage.store import Store
from labelaudit.text import listing

# What people copy from a browser or a log in place of the folder.
FILES_OF_PEOPLE = ("report.html", "index.html", "summary.json", MANIFEST)
SHOWN_VERSIONS = 10
# What the manifest of an audit tells: its readers count on it.
DECIDED = (
    *("dataset", "version", "audit_id", "created_at", "fingerprint"),
    *("config", "columns", "recipe", "versions"),
)


@dataclass(frozen=True)
class PublishedAudit:
    """An audit in storage. `audit` holds what its manifest says: dataset, version, audit_id, config, versions, …"""

    store: Store  # at the output URL
    folder: str  # below it; empty where the audit lies apart from a dataset, and the store is at its own folder
    audit: dict[str, Any]
    sha256: dict[str, str]  # by file name

    @property
    def url(self) -> str:
        return self.store.url_of(self.folder)

    @property
    def dataset(self) -> str:
        return str(self.audit["dataset"])

    @property
    def version(self) -> str:
        return str(self.audit["version"])

    @property
    def audit_id(self) -> str:
        return str(self.audit["audit_id"])

    @property
    def fingerprint(self) -> str:
        return str(self.audit["fingerprint"])

    @property
    def has_made_up_ids(self) -> bool:
        """Whether its ids are row numbers, which mean other rows in another version."""
        return has_made_up_ids(self.audit)

    def table(self, name: str, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
        """One of its tables by file name, all columns or some.

        Raises `StorageError` as `read` does, and for what is no table or has another schema.
        """
        url = self.store.url_of(_key(self.folder, name))
        try:
            file = pq.ParquetFile(io.BytesIO(self.read(name)))
        except pa.ArrowInvalid as error:
            raise StorageError(f"{url} is no Parquet file ({error}). Audit that version again.") from error
        if not file.schema_arrow.equals(schema):
            raise StorageError(
                f"{url} has the columns of another version of labelaudit "
                f"({listing(file.schema_arrow.names, shown=20)}). Audit that version of the dataset again."
            )
        return file.read(columns)

    def summary(self) -> dict[str, Any]:
        """Its `summary.json`. Raises `StorageError` as `read` does."""
        summary: dict[str, Any] = json.loads(self.read("summary.json"))
        return summary

    def read(self, name: str) -> bytes:
        """Bytes of one of its files. Raises `StorageError` where it is missing or damaged."""
        if name not in self.sha256:
            raise StorageError(f"The manifest of the audit at {self.url} names no {name}. Audit that version again.")
        return read_checked(self.store, _key(self.folder, name), self.sha256[name])


def open_audit(store: Store, folder: str) -> PublishedAudit | None:
    """The audit in a folder, None where none is published there. Raises `StorageError` for a broken manifest."""
    key = _key(folder, MANIFEST)
    if not store.exists(key):
        return None
    manifest = load_manifest(store, key, required=DECIDED)
    return PublishedAudit(store, folder, manifest.audit, {entry.path: entry.sha256 for entry in manifest.files})


def find_audit(
    target: str, options: Mapping[str, Any] | None = None, *, dataset_url: str | None = None
) -> PublishedAudit:
    """The audit that a person means.

    `target` is the URL of an audit's folder (or of a file in it), of a version's folder, whose newest audit is
    meant, or of a dataset's folder, whose latest audit is; with `dataset_url`, the folder of a dataset below the
    output URL, it is the name of a version. Raises `ConfigError` where no audit is published there.
    """
    if dataset_url is not None:
        return _newest_audit(dataset_url, target, options)
    url = target.rstrip("/")
    for name in FILES_OF_PEOPLE:
        url = url.removesuffix(f"/{name}")
    folder, _, last = url.rpartition("/")
    if last.startswith("version="):
        return _newest_audit(folder, unquote(last.removeprefix("version=")), options)
    found = _latest_audit(url, options) if dataset_of(last) is not None else _audit_at(url, options)
    if found is not None:
        return found
    raise ConfigError(
        f"No audit is published at {url}. Name the folder of an audit "
        "(…/dataset=NAME/version=VERSION/audit=ID), that of a version or dataset, or versions with --dataset."
    )


def _audit_at(url: str, options: Mapping[str, Any] | None) -> PublishedAudit | None:
    *root, dataset, version, audit = ["", "", *url.split("/")]
    if dataset_of(dataset) is not None and version.startswith("version=") and audit.startswith("audit="):
        return open_audit(_store("/".join(root[2:]), url, options), f"{dataset}/{version}/{audit}")
    return open_audit(Store(url, options), "")


def _latest_audit(dataset_url: str, options: Mapping[str, Any] | None) -> PublishedAudit | None:
    output, dataset = _output_and_dataset(dataset_url)
    store = _store(output, dataset_url, options)
    if not store.exists(latest_key(dataset)):
        return None
    return open_audit(store, read_json(store, latest_key(dataset))["audit"])


def _newest_audit(dataset_url: str, version: str, options: Mapping[str, Any] | None) -> PublishedAudit:
    output, dataset = _output_and_dataset(dataset_url)
    store = _store(output, dataset_url, options)
    newest: dict[str, AuditRecord] = {
        record.version: record for record in newest_of_versions(read_history(store, dataset))
    }
    if version not in newest:
        known = ", ".join(list(newest)[-SHOWN_VERSIONS:]) or "none"
        raise ConfigError(f"{dataset_url} has no audit of version {version!r}; the last audited versions: {known}.")
    found = open_audit(store, newest[version].folder)
    if found is None:
        raise StorageError(
            f"The audit of version {version!r} is not at {store.url_of(newest[version].folder)} any more. "
            "Audit that version again."
        )
    return found


def _output_and_dataset(dataset_url: str) -> tuple[str, str]:
    output, _, name = dataset_url.rstrip("/").rpartition("/")
    dataset = dataset_of(name)
    if dataset is None:
        raise ConfigError(
            f"{dataset_url} is not the folder of a dataset: its last part must be dataset=NAME, as below output.url."
        )
    return output, dataset


def _store(output: str, url: str, options: Mapping[str, Any] | None) -> Store:
    """At the output URL that was cut from the start of `url`."""
    return Store(output or ("/" if url.startswith("/") else "."), options)


def _key(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
