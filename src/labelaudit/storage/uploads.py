"""Writes of whole objects, which are complete or missing, and checked after the write."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator

from fsspec import AbstractFileSystem

from labelaudit.errors import StorageUnavailableError
from labelaudit.storage.failures import answer_of

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
    if len(data) < 2 * PART_BYTES:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    view = memoryview(data)
    parts = [
        hashlib.md5(view[start : start + PART_BYTES], usedforsecurity=False).digest()
        for start in range(0, len(data), PART_BYTES)
    ]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
