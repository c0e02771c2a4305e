"""Upload a local dataset as a new version: first a claim, then the files in any order, then the marker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.storage.local_listing import local_files
from labelaudit.storage.manifest import FileEntry, dump_json, sha256_hex
from labelaudit.storage.non_data import CLAIM, is_hidden, is_non_data
from labelaudit.storage.store import Store
from labelaudit.storage.versions import dataset_url, is_file_url
from labelaudit.versions.discover import LATEST, FoundVersion, look_at_version, marker_of

# Each keeps its file in memory.
PARALLEL_UPLOADS = 4
# Stored files are read in blocks of this size.
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class UploadedVersion:
    """A version that is in storage now; `is_new` is False if the same files were there before."""

    version: FoundVersion
    files: int
    bytes: int
    is_new: bool


@dataclass(frozen=True)
class _Upload:
    """Local files, and the version that they become."""

    source: str
    paths: Mapping[str, Path]  # by their names in the version
    entries: list[FileEntry]
    url: str
    marker: str | None
    store: Store  # the folder of all versions, so that the store's probe object is not part of a version
    folder: str  # of the version, with a slash; empty if the version is one file

    @property
    def file_list(self) -> bytes:
        """The content of claim and marker: equal for equal files."""
        return dump_json({"files": [asdict(entry) for entry in self.entries]})

    def read(self, entry: FileEntry) -> bytes:
        """Return the bytes of one local file. Raises `DatasetError` if it has changed."""
        data = self.paths[entry.path].read_bytes()
        if sha256_hex(data) != entry.sha256:
            raise DatasetError(
                f"{self.paths[entry.path]} changed while it was uploaded. Publish again when it no longer changes."
            )
        return data

    def is_stored(self, entry: FileEntry) -> bool:
        """Return whether the stored file has the same bytes."""
        digest = hashlib.sha256()
        with self.store.open(self.folder + entry.path) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest() == entry.sha256


def upload_version(config: AuditConfig, source: str) -> UploadedVersion:
    """Upload the local file or folder `source` as the version that `config.dataset` names.

    Uploads are idempotent and resume after a kill. If different uploads run at once, the first one wins. Stored
    files are never replaced or removed.

    Raises:
        DatasetError: the version contains other files already.
        ConfigError: dataset.url has no {version}, or a file in `source` has the name of the marker.
    """
    url = _target_url(config)
    is_file = is_file_url(url)
    marker = marker_of(config, is_single_file=is_file)
    paths = _local_files(Path(source), url)
    if marker in paths:
        raise ConfigError(
            f"{paths[marker]} has the name of the file that completes a version (versions.marker: {marker}), so an "
            "unfinished upload would look complete. Rename it, or set versions.marker to another name."
        )
    entries = [_entry(name, path) for name, path in sorted(paths.items())]
    parent, _, name = url.rpartition("/")
    store = Store(parent or ".", config.storage.options)
    upload = _Upload(source, paths, entries, url, marker, store, "" if is_file else f"{name}/")
    is_new = _store_file(upload) if is_file else _store_folder(upload)
    found = look_at_version(config)
    assert found is not None, "the version was written just now"
    return UploadedVersion(found, len(entries), sum(entry.bytes for entry in entries), is_new)


def _target_url(config: AuditConfig) -> str:
    dataset = config.dataset
    if not dataset.has_version_in_url:
        raise ConfigError(
            f"dataset.url {dataset.url!r} contains no {{version}}, so there is no place for a new one. "
            "Write it like s3://bucket/datasets/fruit/{version}/."
        )
    if dataset.version in (None, LATEST):
        raise ConfigError("A new version needs a name. Give it one, for example --version v3.")
    return dataset_url(dataset.url, dataset.name, dataset.version).rstrip("/")


def _local_files(source: Path, url: str) -> dict[str, Path]:
    """Return the files to upload by their names in the version."""
    if is_file_url(url):
        if not source.is_file():
            raise DatasetError(f"dataset.url is one file per version ({url}), but {source} is not a file. Name a file.")
        return {url.rpartition("/")[2]: source}
    if source.is_file():
        return {source.name: source}
    names = [file.path for file in local_files(str(source))]
    shown = {name: source / name for name in names if not is_hidden(name) and not is_non_data(name)}
    if not shown:
        raise DatasetError(f"{source} contains no files to upload. Names that begin with a dot do not count.")
    return shown


def _entry(name: str, path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _store_file(upload: _Upload) -> bool:
    """Store a version of one file. Return whether it is new."""
    (entry,) = upload.entries
    if upload.store.create(entry.path, upload.read(entry)):
        return True
    if not upload.is_stored(entry):
        raise DatasetError(f"{upload.url} exists already, with other content. Choose another --version.")
    return False


def _store_folder(upload: _Upload) -> bool:
    """Store the missing files, then the marker. Return whether anything was missing.

    The claim keeps out uploads of other files. A killed upload leaves it behind: so the files that it stored are
    part of this upload, not a complete version of fewer files.
    """
    store, claim = upload.store, upload.folder + CLAIM
    is_first = store.create(claim, upload.file_list)
    claimed = upload.file_list if is_first else store.read_if_there(claim)
    if claimed is None:
        # The other upload ended in the meantime, so start again.
        return _store_folder(upload)
    if claimed != upload.file_list:
        if _is_complete(upload):
            return False
        raise DatasetError(
            f"Another upload of {upload.url}, with other files than {upload.source}, is running or was killed (it left "
            f"{CLAIM}). Choose another --version. Or, if it was killed, remove {upload.url} and publish again."
        )
    try:
        missing = _missing_files(upload, may_be_a_part=upload.marker is not None or not is_first)
        with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
            # Building the list raises the errors of the threads.
            list(pool.map(lambda entry: store.write(upload.folder + entry.path, upload.read(entry)), missing))
        is_completed = _complete(upload)
    except DatasetError:
        if is_first:
            store.remove(claim)
        raise
    store.remove(claim)
    return bool(missing) or is_completed


def _missing_files(upload: _Upload, *, may_be_a_part: bool) -> list[FileEntry]:
    """Return the files that are not stored yet. Raises `DatasetError` if files of another upload are stored."""
    if _is_complete(upload):
        return []
    found = {file.path.removeprefix(upload.folder): file.size for file in upload.store.find(upload.folder.rstrip("/"))}
    stored = {path: size for path, size in found.items() if not is_non_data(path) and path != upload.marker}
    with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
        same = pool.map(lambda entry: stored.get(entry.path) == entry.bytes and upload.is_stored(entry), upload.entries)
    known = {entry.path for entry, is_same in zip(upload.entries, same, strict=True) if is_same}
    missing = [entry for entry in upload.entries if entry.path not in stored]
    others = sorted(stored.keys() - known)
    if stored and not may_be_a_part:
        others += [entry.path for entry in missing]
    if others:
        raise DatasetError(
            f"{upload.url} already contains other files than {upload.source} (first difference: {others[0]}). "
            f"Versions do not change. Choose another --version, or remove {upload.url} and publish again."
        )
    return missing


def _complete(upload: _Upload) -> bool:
    """Write the marker, if versions have one. Return whether it is new."""
    if upload.marker is None:
        return False
    if upload.store.create(upload.folder + upload.marker, upload.file_list):
        return True
    _is_complete(upload)  # Raises if another upload wrote it.
    return False


def _is_complete(upload: _Upload) -> bool:
    """Return whether the marker of these files is there. Raises `DatasetError` if it lists other files."""
    if upload.marker is None or not upload.store.exists(upload.folder + upload.marker):
        return False
    # Markers of other tools have other content, often none.
    if upload.store.read(upload.folder + upload.marker) != upload.file_list:
        raise DatasetError(
            f"{upload.url} is complete already, and its {upload.marker} does not list the files of {upload.source}. "
            "Versions do not change. Choose another --version."
        )
    return True
