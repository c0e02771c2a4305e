"""Upload a local dataset as a new version: a claim first, then the files, in any order, and last the marker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.storage.manifest import FileEntry, dump_json, sha256_hex
from labelaudit.storage.store import Store, is_hidden
from labelaudit.storage.versions import dataset_url, is_file_url
from labelaudit.versions.discover import CLAIM, LATEST, FoundVersion, look_at_version, marker_of

# Each holds its file in memory.
PARALLEL_UPLOADS = 4
# Of what is stored, read at a time.
BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class UploadedVersion:
    """A version that is in storage now; `is_new` is False where the same files were there before."""

    version: FoundVersion
    files: int
    bytes: int
    is_new: bool


@dataclass(frozen=True)
class _Upload:
    """Files of this machine, and the version that they are to be."""

    source: str
    paths: Mapping[str, Path]  # by their names in the target
    entries: list[FileEntry]
    url: str
    marker: str | None
    store: Store  # where versions lie, so that what a store keeps for itself is no part of one
    folder: str  # of the version, with a slash; empty where one file is the version

    @property
    def listing(self) -> bytes:
        """What claim and marker hold: equal for equal files."""
        return dump_json({"files": [asdict(entry) for entry in self.entries]})

    def read(self, entry: FileEntry) -> bytes:
        """Bytes of one file of this machine, as they are in the listing."""
        data = self.paths[entry.path].read_bytes()
        if sha256_hex(data) != entry.sha256:
            raise DatasetError(
                f"{self.paths[entry.path]} changed while it was uploaded. Publish again when nothing writes to it."
            )
        return data

    def is_stored(self, entry: FileEntry) -> bool:
        """Whether the bytes of a file that is there are those of the listing."""
        digest = hashlib.sha256()
        with self.store.open(self.folder + entry.path) as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest() == entry.sha256


def upload_version(config: AuditConfig, source: str) -> UploadedVersion:
    """Upload the file or folder `source` of this machine as the version that `config.dataset` names.

    A killed upload is gone on with, and the same upload twice is one, also at the same time. Of different ones at
    once the first wins. Nothing that is stored is replaced or removed: raises `DatasetError` where other files are
    there already, because versions do not change. Raises `ConfigError` where the config has no place for a new
    version, or `source` holds a file that is named like the marker.
    """
    url = _target_url(config)
    is_file = is_file_url(url)
    marker = marker_of(config, is_single_file=is_file)
    paths = _local_files(Path(source), url)
    if marker in paths:
        raise ConfigError(
            f"{paths[marker]} is named like the file that completes a version (versions.marker: {marker}), so that a "
            "part of the version would look complete. Rename it, or set versions.marker to another name."
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
    if "{version}" not in dataset.url:
        raise ConfigError(
            f"dataset.url {dataset.url!r} holds no {{version}}, so there is no place for a new one. "
            "Write it as s3://bucket/datasets/fruit/{version}/."
        )
    if dataset.version in (None, LATEST):
        raise ConfigError("A new version needs a name. Give it one, for example --version v3.")
    return dataset_url(dataset.url, dataset.name, dataset.version).rstrip("/")


def _local_files(source: Path, url: str) -> dict[str, Path]:
    """The files to upload by their names in the target."""
    if is_file_url(url):
        if not source.is_file():
            raise DatasetError(f"dataset.url names one file per version ({url}), but {source} is not a file.")
        return {url.rpartition("/")[2]: source}
    if source.is_file():
        return {source.name: source}
    found = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("*")) if path.is_file()}
    shown = {name: path for name, path in found.items() if not is_hidden(name)}
    if not shown:
        raise DatasetError(f"{source} holds no files to upload. Names that begin with '.' or '_' do not count.")
    return shown


def _entry(name: str, path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _store_file(upload: _Upload) -> bool:
    """Store a version of one file; whether it was not there before."""
    (entry,) = upload.entries
    if upload.store.create(entry.path, upload.read(entry)):
        return True
    if not upload.is_stored(entry):
        raise DatasetError(f"{upload.url} is there already, with other content. Choose another --version.")
    return False


def _store_folder(upload: _Upload) -> bool:
    """Store the files that are missing, then the marker; whether anything was to be done.

    The claim keeps publishers of other files away meanwhile, and stays where this is killed: it tells a part of
    these files, which is gone on with, from a version that has fewer files and no marker.
    """
    store, claim = upload.store, upload.folder + CLAIM
    is_first = store.create(claim, upload.listing)
    standing = upload.listing if is_first else store.read_if_there(claim)
    if standing is None:
        # The other upload has ended since, so this one begins after it.
        return _store_folder(upload)
    if standing != upload.listing:
        if _is_complete(upload):
            return False
        raise DatasetError(
            f"Another upload of {upload.url}, with other files than {upload.source}, is under way or was killed (it "
            f"left {CLAIM}). Choose another --version; or, if nobody uploads there, remove {upload.url} and publish "
            "again."
        )
    try:
        missing = _missing_files(upload, may_be_a_part=upload.marker is not None or not is_first)
        with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
            # The list raises what a thread raised.
            list(pool.map(lambda entry: store.write(upload.folder + entry.path, upload.read(entry)), missing))
        is_completed = _complete(upload)
    except DatasetError:
        if is_first:
            store.remove(claim)
        raise
    store.remove(claim)
    return bool(missing) or is_completed


def _missing_files(upload: _Upload, *, may_be_a_part: bool) -> list[FileEntry]:
    """What is not stored yet. Raises `DatasetError` where something is stored that is not of this upload."""
    if _is_complete(upload):
        return []
    found = {file.path.removeprefix(upload.folder): file.size for file in upload.store.find(upload.folder.rstrip("/"))}
    stored = {path: size for path, size in found.items() if not is_hidden(path)}
    with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
        same = pool.map(lambda entry: stored.get(entry.path) == entry.bytes and upload.is_stored(entry), upload.entries)
    known = {entry.path for entry, is_same in zip(upload.entries, same, strict=True) if is_same}
    missing = [entry for entry in upload.entries if entry.path not in stored]
    others = sorted(stored.keys() - known)
    if stored and not may_be_a_part:
        others += [entry.path for entry in missing]
    if others:
        raise DatasetError(
            f"{upload.url} holds other files than {upload.source} already (first difference: {others[0]}). "
            f"Versions do not change: choose another --version; or, if nobody needs what is there, remove {upload.url} "
            "and publish again."
        )
    return missing


def _complete(upload: _Upload) -> bool:
    """Write the marker where there is one; whether it was not there before."""
    if upload.marker is None:
        return False
    if upload.store.create(upload.folder + upload.marker, upload.listing):
        return True
    _is_complete(upload)  # Raises where it is that of others.
    return False


def _is_complete(upload: _Upload) -> bool:
    """Whether the marker of these files is there. Raises `DatasetError` where it is another one."""
    if upload.marker is None or not upload.store.exists(upload.folder + upload.marker):
        return False
    # Other publishers write what they like into a marker, often nothing.
    if upload.store.read(upload.folder + upload.marker) != upload.listing:
        raise DatasetError(
            f"{upload.url} is complete already, and its {upload.marker} does not list the files of {upload.source}. "
            "Versions do not change: choose another --version."
        )
    return True
