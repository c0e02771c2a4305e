"""Manifests: an audit exists once its manifest is written, with a checksum of every file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from labelaudit.codec import JsonObject, from_record
from labelaudit.errors import StorageError
from labelaudit.storage.file_on_disk import FileOnDisk
from labelaudit.storage.layout import MANIFEST
from labelaudit.storage.store import Store
from labelaudit.text import listing

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One file of an audit; `path` is relative to the audit's folder."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        # The cache uses it as a file name.
        if not _SHA256.fullmatch(self.sha256) or self.bytes < 0:
            raise ValueError(f"{self.path!r} has {self.bytes} bytes and the sha256 {self.sha256[:80]!r}")


@dataclass(frozen=True)
class Manifest:
    """The origin of a published audit, and the checksums of its files."""

    schema_version: str
    audit: JsonObject  # dataset, version, audit_id, fingerprint, config, versions, seeds, machine, times
    files: tuple[FileEntry, ...]

    def to_json(self) -> bytes:
        entries = [vars(entry) for entry in self.files]
        return dump_json({"schema_version": self.schema_version, **self.audit, "files": entries})


@dataclass(frozen=True)
class _Head:
    schema_version: str
    files: tuple[FileEntry, ...]


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(*parts: object) -> str:
    """Return the sha256 in hex of values that JSON can represent, the same for equal values."""
    return sha256_hex(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode())


def dump_json(value: object) -> bytes:
    """Return readable JSON with sorted keys: equal values give equal bytes. Raises `ValueError` for NaN."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(store: Store, key: str) -> JsonObject:
    """Return one JSON object from storage. Raises `StorageError` if it is not one."""
    data = store.read(key)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{store.url_of(key)} is not JSON ({error}). Remove it and run the audit again.") from error
    if not isinstance(value, dict):
        raise StorageError(
            f"{store.url_of(key)} is a {type(value).__name__}, not a JSON object. Remove it and run the audit again."
        )
    return value


def read_checked(store: Store, key: str, sha256: str) -> bytes:
    """Return the bytes of one object. Raises `StorageError` if their checksum is not the given one."""
    data = store.read(key)
    check_unchanged(store, key, sha256_hex(data), sha256)
    return data


def check_unchanged(store: Store, key: str, found: str, sha256: str) -> None:
    """Raise `StorageError` if the checksum of an object is not the recorded one."""
    if found != sha256:
        raise StorageError(
            f"{store.url_of(key)} was changed after it was written: its sha256 is {found[:12]}…, "
            f"not {sha256[:12]}… as recorded. Remove it and run the audit again."
        )


def publish_files(
    store: Store, folder: str, files: Mapping[str, bytes | FileOnDisk], audit: JsonObject, schema_version: str
) -> Manifest:
    """Write all files of an audit, the manifest last, and return the manifest in storage.

    If there is a manifest already, nothing is written. If several runs publish at once, all write the same
    bytes and the first manifest stays. Audits that differ must have folders with different names.
    Raises `StorageError` if another run published other bytes in the meantime.
    """
    existing = read_manifest(store, folder)
    if existing is not None:
        return existing
    ordered = sorted(files.items())
    manifest = Manifest(schema_version, audit, tuple(_entry(path, data) for path, data in ordered))
    for path, data in ordered:
        if isinstance(data, FileOnDisk):
            store.write_file(f"{folder}/{path}", data)
        else:
            store.write(f"{folder}/{path}", data)
    if store.create(f"{folder}/{MANIFEST}", manifest.to_json()):
        return manifest
    return _same_files(store, folder, manifest)


def _entry(path: str, data: bytes | FileOnDisk) -> FileEntry:
    if isinstance(data, FileOnDisk):
        return FileEntry(path, data.bytes, data.sha256)
    return FileEntry(path, len(data), sha256_hex(data))


def _same_files(store: Store, folder: str, ours: Manifest) -> Manifest:
    """Return the manifest of another run whose files we overwrote. Raises `StorageError` if they differ."""
    theirs = load_manifest(store, f"{folder}/{MANIFEST}")
    if differing := {entry.path for entry in {*theirs.files} ^ {*ours.files}}:
        raise StorageError(
            f"Another run published {store.url_of(folder)} at the same time, with other bytes in "
            f"{listing(sorted(differing))}. Package versions that differ can cause this, and files of that run may be "
            "overwritten. Remove its manifest.json and run the audit again."
        )
    return theirs


def load_manifest(store: Store, key: str, *, required: Iterable[str] = ()) -> Manifest:
    """Return a manifest from storage, whose `audit` has at least the `required` keys.

    Raises `StorageError` if it is another JSON file, such as the manifest of a dataset, or if a checksum is not valid.
    """
    audit = read_json(store, key)
    try:
        head = from_record(_Head, audit)
        if missing := [name for name in required if name not in audit]:
            raise ValueError(f"{missing[0]} is missing")
    except ValueError as error:
        raise StorageError(
            f"{store.url_of(key)} is not a manifest of labelaudit ({error}). Name the folder of an audit, or remove "
            "the file and run the audit again."
        ) from error
    about = {name: value for name, value in audit.items() if name not in ("files", "schema_version")}
    return Manifest(head.schema_version, about, head.files)


def read_manifest(store: Store, folder: str) -> Manifest | None:
    """Return the manifest of a published audit; None if there is none.

    Raises `StorageError` if one of its files is missing or has another size.
    """
    if not store.exists(f"{folder}/{MANIFEST}"):
        return None
    manifest = load_manifest(store, f"{folder}/{MANIFEST}")
    for entry in manifest.files:
        path = f"{folder}/{entry.path}"
        if not store.exists(path) or store.size(path) != entry.bytes:
            raise StorageError(
                f"{store.url_of(path)} is missing or has another size than in the manifest. "
                f"Remove {store.url_of(f'{folder}/{MANIFEST}')} and run the audit again."
            )
    return manifest
