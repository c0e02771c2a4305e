"""Writes of whole objects, which are complete or missing, and checked after the write."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from fsspec import AbstractFileSystem

from labelaudit.errors import StorageError, StorageUnavailableError
from labelaudit.storage.failures import answer_of
from labelaudit.storage.file_on_disk import FileOnDisk, pieces, sha256_of_file

# s3fs uploads objects of at least two parts in parts of this size.
PART_BYTES = 50 * 2**20
# If the ETag is not an MD5 (KMS encryption, not S3), only the size of larger objects is checked.
READ_BACK_BYTES = 64 * 2**20


@contextlib.contextmanager
def complete_file(path: str, data: bytes) -> Iterator[str]:
    """Yield the path of a complete, flushed temporary file in the folder of `path`, to move or link into place."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    complete = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}"
    try:
        with open(complete, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield complete
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(complete)


@contextlib.contextmanager
def complete_copy(path: str, file: FileOnDisk) -> Iterator[str]:
    """Yield the path of a complete, flushed copy of a file in the folder of `path`, to move into place.

    A temporary file is moved there if it is on the same disk.

    Raises:
        StorageError: its checksum is not the expected one.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    complete = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{uuid.uuid4().hex}"
    try:
        if not (file.is_temporary and _moved(file.path, complete)):
            _copy(file, complete)
        yield complete
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(complete)


def _moved(path: Path, target: str) -> bool:
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        os.rename(path, target)
    except OSError:  # another disk
        return False
    return True


def _copy(file: FileOnDisk, target: str) -> None:
    hasher = hashlib.sha256()
    with file.path.open("rb") as source, open(target, "wb") as copy:
        for piece in pieces(source):
            hasher.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    _check_sha256(file, hasher.hexdigest())


def _check_sha256(file: FileOnDisk, found: str) -> None:
    if found != file.sha256:
        raise StorageError(
            f"{file.path} was changed after it was written: its sha256 is {found[:12]}…, not {file.sha256[:12]}… as "
            "recorded. Remove it and run the audit again."
        )


def upload_file(fs: AbstractFileSystem, path: str, file: FileOnDisk) -> None:
    """Write or replace one object with the content of a file, and check the stored bytes.

    Raises:
        StorageError: the checksum of the file is not the expected one.
        StorageUnavailableError: the stored bytes are not those of the file.
    """
    if not file.is_temporary:
        _check_sha256(file, sha256_of_file(file.path))
    fs.put_file(str(file.path), path)
    info = fs.info(path)
    place = fs.unstrip_protocol(path)
    if info["size"] != file.bytes:
        raise StorageUnavailableError(
            f"{place} is incomplete: {file.bytes} bytes were written, {info['size']} are stored. Run the command again."
        )
    with file.path.open("rb") as source:
        etag = etag_of_pieces(file.bytes, iter(lambda: source.read(PART_BYTES), b""))
    if str(info.get("ETag", "")).strip('"') == etag or file.bytes > READ_BACK_BYTES:
        return
    if hashlib.sha256(fs.cat_file(path)).hexdigest() != file.sha256:
        raise StorageUnavailableError(
            f"{place} was damaged in transfer: the stored bytes are not those that were written. Run the command again."
        )


def upload(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    """Write or replace one object, and check the stored bytes."""
    fs.pipe_file(path, data)
    check_stored(fs, path, data)


def upload_new(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    """Write one object on the condition that none exists, and check the stored bytes.

    Raises `FileExistsError` if one exists, `NotImplementedError` if the store does not support conditions.
    """
    try:
        fs.pipe_file(path, data, mode="create")
    except OSError as error:
        answer = answer_of(error)
        if answer is not None and answer.status == 412:
            raise FileExistsError(path) from error
        if answer is not None and answer.status == 501:
            raise NotImplementedError(path) from error
        raise
    try:
        check_stored(fs, path, data)
    except StorageUnavailableError:
        # The object is ours, so it may be replaced.
        upload(fs, path, data)


def check_stored(fs: AbstractFileSystem, path: str, data: bytes) -> None:
    """Compare size and checksum of the stored bytes with `data`.

    Uses only requests that every S3 server supports. Raises `StorageUnavailableError` if they differ, because a
    second upload may succeed.
    """
    info = fs.info(path)
    place = fs.unstrip_protocol(path)
    if info["size"] != len(data):
        raise StorageUnavailableError(
            f"{place} is incomplete: {len(data)} bytes were written, {info['size']} are stored. Run the command again."
        )
    if str(info.get("ETag", "")).strip('"') == etag_of(data) or len(data) > READ_BACK_BYTES:
        return
    if fs.cat_file(path) != data:
        raise StorageUnavailableError(
            f"{place} was damaged in transfer: the stored bytes are not those that were written. Run the command again."
        )


def etag_of(data: bytes) -> str:
    """Return the ETag that S3 gives to an unencrypted upload: its MD5, or the MD5 of the MD5s of its parts."""
    view = memoryview(data)
    return etag_of_pieces(len(data), (view[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)))


def etag_of_pieces(size: int, parts_of_file: Iterable[bytes | memoryview]) -> str:
    """Return the `etag_of` an object of `size` bytes that is read in pieces of `PART_BYTES`."""
    if size < 2 * PART_BYTES:
        whole = hashlib.md5(usedforsecurity=False)
        for part in parts_of_file:
            whole.update(part)
        return whole.hexdigest()
    parts = [hashlib.md5(part, usedforsecurity=False).digest() for part in parts_of_file]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
