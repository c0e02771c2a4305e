"""The audits below one URL, and their files in the local cache."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from labelaudit.audits.history import AuditFacts, AuditRecord, find_datasets, list_records, oldest_first, read_records
from labelaudit.audits.published import DECIDED, PublishedAudit, read_facts
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
    """The audits below a URL: their records, their manifests, and their tables through a local cache.

    A table is fetched once and compared with the sha256 in its manifest. The size of the cache is limited. Thread-safe.
    """

    def __init__(self, url: str, *, cache: Cache | None = None) -> None:
        self.store = ConfinedStore(url)
        self.cache = cache or Cache(Cache().root / "dashboard")
        self._manifests: dict[str, Manifest] = {}
        self._records: dict[str, dict[StoredFile, AuditRecord]] = {}  # by dataset

    @property
    def contains_verdicts(self) -> bool:
        """Whether the URL contains verdicts, which are stored in the folder of the dataset."""
        return self.store.folder.count("/") == 0

    def datasets(self) -> list[str]:
        return find_datasets(self.store)

    def audits(self, dataset: str) -> list[AuditRecord]:
        """Return the published audits of a dataset, oldest first.

        Raises:
            StorageError: if a record cannot be read.
        """
        if not self.contains_verdicts:
            return self._audits_of_folder()
        records = self._records_of(dataset)
        # Early versions of labelaudit published audits without records.
        if self.store.exists(latest_key(dataset)):
            folder = str(read_json(self.store, latest_key(dataset)).get("audit"))
            if all(record.folder != folder for record in records):
                records.append(self._record_of(folder))
        return oldest_first(records)

    def manifest(self, record: AuditRecord) -> Manifest:
        """Return the manifest of an audit, which never changes.

        Raises:
            StorageError: if it cannot be read.
        """
        if record.folder not in self._manifests:
            key = f"{record.folder}/{MANIFEST}"
            self._manifests[record.folder] = load_manifest(self.store, key, required=DECIDED)
        return self._manifests[record.folder]

    def open(self, record: AuditRecord) -> AuditFiles:
        """Return the files of an audit. They are fetched when they are first used."""
        return AuditFiles(self.store, self.cache, record.folder, self.manifest(record).files)

    def published(self, record: AuditRecord, files: AuditFiles) -> CachedAudit:
        """Return an audit whose files are those that `open` returned."""
        manifest = self.manifest(record)
        sha256 = {entry.path: entry.sha256 for entry in manifest.files}
        return CachedAudit(
            self.store, record.folder, read_facts(self.store, f"{record.folder}/{MANIFEST}", manifest), sha256, files
        )

    def _records_of(self, dataset: str) -> list[AuditRecord]:
        """Return all records. Only those that changed are read again, because there may be thousands."""
        known = self._records.get(dataset, {})
        found = list_records(self.store, dataset)
        unread = [file for file in found if file.token is None or file not in known]
        read = known | dict(zip(unread, read_records(self.store, unread), strict=True))
        self._records[dataset] = {file: read[file] for file in found}
        return list(self._records[dataset].values())

    def _audits_of_folder(self) -> list[AuditRecord]:
        """Return the audits below the URL of a version or an audit."""
        names = [file.path for file in self.store.find(self.store.folder)]
        folders = [name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")]
        return oldest_first(map(self._record_of, folders))

    def _record_of(self, folder: str) -> AuditRecord:
        """Return the record of an audit that has none, from its manifest and summary."""
        try:
            manifest = load_manifest(self.store, f"{folder}/{MANIFEST}", required=DECIDED)
            summary = from_record(Summary, read_json(self.store, f"{folder}/summary.json"))
            return audit_record(folder, AuditFacts.of_manifest(manifest.audit), summary)
        except (KeyError, ValueError) as error:
            raise StorageError(
                f"{self.store.url_of(folder)} does not contain a readable audit ({error!r}). Run the audit again."
            ) from error


class AuditFiles:
    """The files of one audit in the local cache, which keeps them until `close`. Thread-safe."""

    def __init__(self, store: Store, cache: Cache, folder: str, entries: Iterable[FileEntry]) -> None:
        self._store = store
        self._cache = cache
        self._folder = folder
        self._entries = {entry.path: entry for entry in entries}
        self._in_use = contextlib.ExitStack()
        self._paths: dict[str, Path] = {}
        self._lock = threading.Lock()

    def path(self, name: str) -> Path | None:
        """Return the local path of a file, or None if the audit does not have it."""
        entry = self._entries.get(name)
        if entry is None:
            return None

        def build(folder: Path) -> None:
            _fetch(self._store, f"{self._folder}/{entry.path}", entry, folder / _CACHED)

        with self._lock:
            if name not in self._paths:
                self._paths[name] = self._in_use.enter_context(self._cache.entry(entry.sha256, build)) / _CACHED
            return self._paths[name]

    def has(self, name: str) -> bool:
        return name in self._entries

    def close(self) -> None:
        """Allow the cache to evict the files."""
        self._in_use.close()


@dataclass(frozen=True)
class CachedAudit(PublishedAudit):
    """A published audit whose files are read in the local cache."""

    files: AuditFiles

    def read(self, name: str) -> bytes:
        path = self.files.path(name)
        return super().read(name) if path is None else path.read_bytes()


def _fetch(store: Store, key: str, entry: FileEntry, path: Path) -> None:
    """Copy one object block by block.

    Raises:
        StorageError: if it is not the file in the manifest.
    """
    digest, left = hashlib.sha256(), entry.bytes
    with store.open(key) as source, open(path, "wb") as target:
        while left >= 0 and (block := source.read(_BLOCK)):
            digest.update(block)
            target.write(block)
            left -= len(block)
    if left or digest.hexdigest() != entry.sha256:
        raise StorageError(
            f"{store.url_of(key)} is not the file in its manifest: its size or sha256 differs. Run the audit again."
        )


def open_library(url: str) -> Library:
    """Return the library of a URL.

    Raises:
        LabelauditError: if there is no dataset below it, or the one that it names has no audit.
    """
    library = Library(url)
    names = library.datasets()
    # The name of one dataset is taken from the URL, and may be mistyped.
    is_empty = bool(library.store.folder) and not any(map(library.audits, names))
    if not names or is_empty:
        raise LabelauditError(
            f"There is no audit below {url}. Give the URL that audits are published to (--output, output.url), "
            "of one of its `dataset=…` folders, or of an audit."
        )
    return library
