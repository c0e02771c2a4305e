"""Read published audits: the manifest first, then files, each checked against it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.history import AuditFacts, AuditRecord, find_datasets, newest_of_versions, read_history
from labelaudit.codec import from_record
from labelaudit.errors import ConfigError, StorageError
from labelaudit.findings import Summary
from labelaudit.schemas import SLICE_PREFIX
from labelaudit.storage.layout import MANIFEST, dataset_folder, dataset_of, latest_key
from labelaudit.storage.manifest import Manifest, load_manifest, read_checked, read_json
from labelaudit.storage.store import Store
from labelaudit.text import closest, listing

# Files whose URL people copy from a browser or a log instead of the folder's.
FILES_OF_PEOPLE = ("report.html", "index.html", "summary.json", MANIFEST)
SHOWN_VERSIONS = 10
# Keys that readers of a manifest need.
DECIDED = (
    *("dataset", "version", "audit_id", "created_at", "fingerprint"),
    *("config", "columns", "recipe", "versions"),
)


@dataclass(frozen=True)
class PublishedAudit:
    """An audit in storage."""

    store: Store  # at the output URL
    folder: str  # below it; empty if the audit is not in the folder of a dataset (the store is at the audit's folder)
    facts: AuditFacts
    sha256: dict[str, str]  # by file name

    @property
    def url(self) -> str:
        return self.store.url_of(self.folder)

    @property
    def dataset(self) -> str:
        return self.facts.dataset

    @property
    def version(self) -> str:
        return self.facts.version

    @property
    def audit_id(self) -> str:
        return self.facts.audit_id

    @property
    def created_at(self) -> str:
        return self.facts.created_at

    @property
    def fingerprint(self) -> str:
        return self.facts.fingerprint

    @property
    def has_made_up_ids(self) -> bool:
        """Whether its ids are row numbers, which mean other rows in another version."""
        return self.facts.has_made_up_ids

    def table(self, name: str, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a table by file name, with all columns or some. Columns that were added since then are null.

        Raises:
            StorageError: the file cannot be read, is not a table, or has another schema.
        """
        url = self.store.url_of(_key(self.folder, name))
        try:
            file = pq.ParquetFile(io.BytesIO(self.read(name)))
        except pa.ArrowInvalid as error:
            raise StorageError(f"{url} is not a Parquet file ({error}). Audit that version again.") from error
        names = file.schema_arrow.names
        fixed = pa.schema(field for field in file.schema_arrow if not field.name.startswith(SLICE_PREFIX))
        # Columns are added at the end.
        if not fixed.equals(pa.schema(list(schema)[: len(fixed)])):
            raise StorageError(
                f"{url} has the columns of another version of labelaudit "
                f"({listing(names, shown=20)}). Audit that version of the dataset again."
            )
        wanted = schema.names if columns is None else columns
        table = file.read([name for name in wanted if name in names])
        for field in schema:
            if field.name in wanted and field.name not in names:
                table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        return table

    def summary(self) -> Summary:
        """Return its `summary.json`.

        Raises:
            StorageError: the file is missing or damaged.
        """
        return from_record(Summary, json.loads(self.read("summary.json")))

    def read(self, name: str) -> bytes:
        """Return the bytes of one of its files.

        Raises:
            StorageError: the file is missing or damaged.
        """
        if name not in self.sha256:
            raise StorageError(
                f"The manifest of the audit at {self.url} does not list {name}. Audit that version again."
            )
        return read_checked(self.store, _key(self.folder, name), self.sha256[name])


def open_audit(store: Store, folder: str) -> PublishedAudit | None:
    """Return the audit in a folder; None if none is published there.

    Raises:
        StorageError: the manifest is not valid.
    """
    key = _key(folder, MANIFEST)
    if not store.exists(key):
        return None
    manifest = load_manifest(store, key, required=DECIDED)
    sha256 = {entry.path: entry.sha256 for entry in manifest.files}
    return PublishedAudit(store, folder, read_facts(store, key, manifest), sha256)


def read_facts(store: Store, key: str, manifest: Manifest) -> AuditFacts:
    """Return what the manifest at `key` says about its audit.

    Raises:
        StorageError: it is not the manifest of an audit.
    """
    try:
        return AuditFacts.of_manifest(manifest.audit)
    except ValueError as error:
        raise StorageError(
            f"{store.url_of(key)} is not a manifest of labelaudit ({error}). Name the folder of an audit, or remove "
            "the file and run the audit again."
        ) from error


def find_audit(
    target: str, options: Mapping[str, object] | None = None, *, dataset_url: str | None = None
) -> PublishedAudit:
    """Find an audit from what a user typed.

    Args:
        target: the URL of an audit's folder, or of a file in it. The URL of a version's folder stands for its newest
            audit, that of a dataset's folder for its latest one. With `dataset_url`, the name of a version.
        options: storage options.
        dataset_url: the folder of a dataset below the output URL.

    Raises:
        ConfigError: no audit is published there.
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
    hint = "" if dataset_of(last) is None else _known_datasets(folder, last, options)
    raise ConfigError(
        f"No audit is published at {url}. Name the folder of an audit "
        f"(…/dataset=NAME/version=VERSION/audit=ID), of a version or of a dataset, or name versions with "
        f"--dataset.{hint}"
    )


def _audit_at(url: str, options: Mapping[str, object] | None) -> PublishedAudit | None:
    *root, dataset, version, audit = ["", "", *url.split("/")]
    if dataset_of(dataset) is not None and version.startswith("version=") and audit.startswith("audit="):
        return open_audit(_store("/".join(root[2:]), url, options), f"{dataset}/{version}/{audit}")
    return open_audit(Store(url, options), "")


def _latest_audit(dataset_url: str, options: Mapping[str, object] | None) -> PublishedAudit | None:
    output, dataset = _output_and_dataset(dataset_url)
    store = _store(output, dataset_url, options)
    if not store.exists(latest_key(dataset)):
        return None
    return open_audit(store, str(read_json(store, latest_key(dataset))["audit"]))


def _newest_audit(dataset_url: str, version: str, options: Mapping[str, object] | None) -> PublishedAudit:
    output, dataset = _output_and_dataset(dataset_url)
    store = _store(output, dataset_url, options)
    newest: dict[str, AuditRecord] = {
        record.version: record for record in newest_of_versions(read_history(store, dataset))
    }
    if version not in newest:
        known = ", ".join(list(newest)[-SHOWN_VERSIONS:]) or "none"
        close = closest(version, newest)
        hint = f" Did you mean {close!r}?" if close else ""
        if not newest:
            hint = _known_datasets(output, dataset_url.rstrip("/").rpartition("/")[2], options)
        raise ConfigError(
            f"{dataset_url} has no audit of version {version!r}. Audit it, or name another version "
            f"(last audited: {known}).{hint}"
        )
    found = open_audit(store, newest[version].folder)
    if found is None:
        raise StorageError(
            f"The audit of version {version!r} is no longer at {store.url_of(newest[version].folder)}. "
            "Audit that version again."
        )
    return found


def _known_datasets(output: str, folder: str, options: Mapping[str, object] | None) -> str:
    """Return a sentence with the dataset below an output URL whose folder has nearly this name; empty if none has."""
    folders = [dataset_folder(name) for name in find_datasets(_store(output, f"{output}/{folder}", options))]
    close = closest(folder, [name for name in folders if name != folder])
    return f" Did you mean {close}?" if close else ""


def _output_and_dataset(dataset_url: str) -> tuple[str, str]:
    output, _, name = dataset_url.rstrip("/").rpartition("/")
    dataset = dataset_of(name)
    if dataset is None:
        raise ConfigError(f"{dataset_url} is not the folder of a dataset. Name a folder dataset=NAME below output.url.")
    return output, dataset


def _store(output: str, url: str, options: Mapping[str, object] | None) -> Store:
    """Return the store at `output`, the first part of `url`."""
    return Store(output or ("/" if url.startswith("/") else "."), options)


def _key(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
