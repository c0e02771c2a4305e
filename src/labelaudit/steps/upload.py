"""Upload a local dataset as a new version: the files first, in any order, and last the marker that completes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.steps.discover import LATEST, FoundVersion, look_at_version, marker_of
from labelaudit.storage.manifest import FileEntry, dump_json, read_json
from labelaudit.storage.store import Store, is_hidden
from labelaudit.storage.versions import dataset_url, is_file_url

# Each holds its file in memory.
PARALLEL_UPLOADS = 4


@dataclass(frozen=True)
class UploadedVersion:
    """A version that is in storage now; `is_new` is False where the same files were there before."""

    version: FoundVersion
    files: int
    bytes: int
    is_new: bool


def upload_version(config: AuditConfig, source: str) -> UploadedVersion:
    """Upload the file or folder `source` of this machine as the version that `config.dataset` names.

    Without its marker a version is incomplete, so nobody reads a part of it. A killed upload is gone on with,
    and the same upload twice is one. Raises `DatasetError` where other files are there already, because
    versions do not change, and `ConfigError` where the config has no place for a new version.
    """
    url = _target_url(config)
    is_file = is_file_url(url)
    paths = _local_files(Path(source), url)
    entries = [_entry(name, path) for name, path in sorted(paths.items())]
    target = Store(url.rpartition("/")[0] if is_file else url, config.storage.options)
    listing = {"files": [asdict(entry) for entry in entries]}
    marker = marker_of(config, is_single_file=is_file)
    if marker is not None and target.exists(marker):
        if read_json(target, marker).get("files") != listing["files"]:
            raise DatasetError(
                f"{url} is complete already, with other files than {source}. Versions do not change: "
                "choose another --version."
            )
        return _uploaded(config, entries, is_new=False)
    is_new = _upload_missing(target, url, paths, entries, is_file=is_file)
    if marker is not None:
        target.write(marker, dump_json(listing))
    return _uploaded(config, entries, is_new=is_new or marker is not None)


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


def _upload_missing(
    target: Store, url: str, paths: Mapping[str, Path], entries: list[FileEntry], *, is_file: bool
) -> bool:
    """Write what is not there yet, and remove what an earlier upload left; whether anything was to be done."""
    if is_file:
        (entry,) = entries
        if target.exists(entry.path):
            if hashlib.sha256(target.read(entry.path)).hexdigest() != entry.sha256:
                raise DatasetError(f"{url} is there already, with other content. Choose another --version.")
            return False
    with ThreadPoolExecutor(PARALLEL_UPLOADS) as pool:
        # The list raises what a thread raised.
        list(pool.map(lambda entry: target.write(entry.path, paths[entry.path].read_bytes()), entries))
    if not is_file:
        for stored in target.find():
            if stored.path not in paths and not is_hidden(stored.path):
                target.remove(stored.path)
    return True


def _uploaded(config: AuditConfig, entries: list[FileEntry], *, is_new: bool) -> UploadedVersion:
    found = look_at_version(config)
    assert found is not None, "the version was written just now"
    return UploadedVersion(found, len(entries), sum(entry.bytes for entry in entries), is_new)
