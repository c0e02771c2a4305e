"""The audits below one URL, and their files in the local cache."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from labelaudit.audits.history import AuditRecord, find_datasets, list_records, oldest_first, read_records
from labelaudit.audits.published import DECIDED, AuditFacts, PublishedAudit, read_facts
from labelaudit.audits.site import audit_record
from labelaudit.codec import from_record
from labelaudit.errors import LabelauditError, StorageError
from labelaudit.findings import Summary
from labelaudit.storage.cache import Cache
from labelaudit.storage.confined import ConfinedStore
from labelaudit.storage.layout import MANIFEST, latest_key
from labelaudit.storage.manifest import FileEntry, Manifest, load_manifest, read_json
from labelaudit.storage.store import Store, StoredFile

_BLOCK = 8 * 2**20
_CACHED = "file.parquet"


class Library:
    """All that is read of the audits below a URL: records and manifests as they are, tables through the cache.

    A table is fetched once, compared with the sha256 in its manifest, and named by it in the cache, which is bounded.
    Safe for threads.
    """

    def __init__(self, url: str, *, cache: Cache | None = None) -> None:
        self.store = ConfinedStore(url)
        self.cache = cache or Cache(Cache().root / "dashboard")
        self._manifests: dict[str, Manifest] = {}
        self._records: dict[str, dict[StoredFile, AuditRecord]] = {}  # by dataset

    @property
    def knows_decisions(self) -> bool:
        """Whether verdicts, which lie beside the audits of a dataset, are within the URL."""
        return self.store.folder.count("/") == 0

    def datasets(self) -> list[str]:
        return find_datasets(self.store)

    def audits(self, dataset: str) -> list[AuditRecord]:
        """Published audits of a dataset, oldest first. Raises `StorageError` for a record that is none."""
        if not self.knows_decisions:
            return self._audits_of_folder()
        records = self._records_of(dataset)
        # An audit that was published before there were records.
        if self.store.exists(latest_key(dataset)):
            folder = str(read_json(self.store, latest_key(dataset)).get("audit"))
            if all(record.folder != folder for record in records):
                records.append(self._record_of(folder))
        return oldest_first(records)

    def manifest(self, record: AuditRecord) -> Manifest:
        """What the audit was made from; it never changes once it is there. Raises `StorageError` where it is none."""
        if record.folder not in self._manifests:
            key = f"{record.folder}/{MANIFEST}"
            self._manifests[record.folder] = load_manifest(self.store, key, required=DECIDED)
        return self._manifests[record.folder]

    def open(self, record: AuditRecord) -> AuditFiles:
        """The files of an audit, fetched when they are asked for."""
        return AuditFiles(self.store, self.cache, record.folder, self.manifest(record).files)

    def published(self, record: AuditRecord, files: AuditFiles) -> CachedAudit:
        """An audit as the steps know it, with the files that `open` gave."""
        manifest = self.manifest(record)
        sha256 = {entry.path: entry.sha256 for entry in manifest.files}
        return CachedAudit(
            self.store, record.folder, read_facts(self.store, f"{record.folder}/{MANIFEST}", manifest), sha256, files
        )

    def _records_of(self, dataset: str) -> list[AuditRecord]:
        """Records are read once, and again when the storage says that they changed: there may be thousands."""
        known = self._records.get(dataset, {})
        found = list_records(self.store, dataset)
        unread = [file for file in found if file.token is None or file not in known]
        read = known | dict(zip(unread, read_records(self.store, unread), strict=True))
        self._records[dataset] = {file: read[file] for file in found}
        return list(self._records[dataset].values())

    def _audits_of_folder(self) -> list[AuditRecord]:
        """The audits of the one version, or the one audit, whose URL was given."""
        names = [file.path for file in self.store.find(self.store.folder)]
        folders = [name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")]
        return oldest_first(map(self._record_of, folders))

    def _record_of(self, folder: str) -> AuditRecord:
        """The record of an audit without one, from its manifest and summary."""
        try:
            manifest = load_manifest(self.store, f"{folder}/{MANIFEST}", required=DECIDED)
            summary = from_record(Summary, read_json(self.store, f"{folder}/summary.json"))
            return audit_record(folder, AuditFacts.of_manifest(manifest.audit), summary)
        except (KeyError, ValueError) as error:
            raise StorageError(
                f"{self.store.url_of(folder)} holds no audit that can be read ({error!r}). Run the audit again."
            ) from error


class AuditFiles:
    """The files of one audit in the local cache, where they stay as long as this is in use. Safe for threads."""

    def __init__(self, store: Store, cache: Cache, folder: str, entries: Iterable[FileEntry]) -> None:
        self._store = store
        self._cache = cache
        self._folder = folder
        self._entries = {entry.path: entry for entry in entries}
        self._held = contextlib.ExitStack()
        self._paths: dict[str, Path] = {}
        self._lock = threading.Lock()

    def path(self, name: str) -> Path | None:
        """Local path of a file; None where the audit has none of this name."""
        entry = self._entries.get(name)
        if entry is None:
            return None

        def build(folder: Path) -> None:
            _fetch(self._store, f"{self._folder}/{entry.path}", entry, folder / _CACHED)

        with self._lock:
            if name not in self._paths:
                self._paths[name] = self._held.enter_context(self._cache.entry(entry.sha256, build)) / _CACHED
            return self._paths[name]

    def has(self, name: str) -> bool:
        return name in self._entries

    def close(self) -> None:
        """Let the cache evict the files."""
        self._held.close()


@dataclass(frozen=True)
class CachedAudit(PublishedAudit):
    """A published audit whose files are read in the local cache."""

    files: AuditFiles

    def read(self, name: str) -> bytes:
        path = self.files.path(name)
        return super().read(name) if path is None else path.read_bytes()


def _fetch(store: Store, key: str, entry: FileEntry, path: Path) -> None:
    """Copy one object block by block. Raises `StorageError` where it is not what the manifest says."""
    digest, left = hashlib.sha256(), entry.bytes
    with store.open(key) as source, open(path, "wb") as target:
        while left >= 0 and (block := source.read(_BLOCK)):
            digest.update(block)
            target.write(block)
            left -= len(block)
    if left or digest.hexdigest() != entry.sha256:
        raise StorageError(
            f"{store.url_of(key)} is not the file that its manifest names: its size or sha256 differs. "
            "Run the audit again."
        )


def open_library(url: str) -> Library:
    """The library of a URL. Raises `StorageError` where nothing below it can be an audit."""
    library = Library(url)
    if not library.datasets():
        raise LabelauditError(
            f"There is no audit below {url}. Give the URL that audits are published to (--output, output.url), "
            "of one of its `dataset=…` folders, or of an audit."
        )
    return library
