"""Writing whole objects: complete or not at all, checked after the write, and only where nothing is stored yet."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

from labelaudit.errors import StorageUnavailableError
from labelaudit.storage.failures import answer_of

# s3fs uploads an object in parts of this size once it has two of them.
PART_BYTES = 50 * 2**20
# Larger objects in a store whose ETag is no MD5 (encrypted with KMS, not S3) are checked by size alone.
READ_BACK_BYTES = 64 * 2**20


@contextlib.contextmanager
def complete_file(path: str, data: bytes) -> Iterator[str]:
    """A complete, flushed local file beside `path`, to be moved or linked into place; never left behind."""
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


def upload(fs: Any, path: str, data: bytes) -> None:
    """Write or replace one object, and check what is stored."""
    fs.pipe_file(path, data)
    check_stored(fs, path, data)


def upload_new(fs: Any, path: str, data: bytes) -> None:
    """Write one object on the condition that there is none, and check what is stored.

    Raises `FileExistsError` where there is one, `NotImplementedError` where the store knows no conditions.
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
        # The object is ours, so nobody else's is lost.
        upload(fs, path, data)


def check_stored(fs: Any, path: str, data: bytes) -> None:
    """Compare size and checksum of what is stored with what was written.

    Asks no more of the server than every S3 server knows. Raises `StorageUnavailableError` where they differ:
    a second upload may arrive whole.
    """
    info = fs.info(path)
    place = fs.unstrip_protocol(path)
    if info["size"] != len(data):
        raise StorageUnavailableError(
            f"{place} is incomplete: {len(data)} bytes were written, {info['size']} are stored. Run the audit again."
        )
    if str(info.get("ETag", "")).strip('"') == etag_of(data) or len(data) > READ_BACK_BYTES:
        return
    if fs.cat_file(path) != data:
        raise StorageUnavailableError(
            f"{place} was damaged on its way: it has the size of what was written, but other bytes. "
            "Run the audit again."
        )


def etag_of(data: bytes) -> str:
    """The ETag that S3 gives to an unencrypted upload: its MD5, or the MD5 of the MD5s of its parts."""
    if len(data) < 2 * PART_BYTES:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    view = memoryview(data)
    parts = [
        hashlib.md5(view[start : start + PART_BYTES], usedforsecurity=False).digest()
        for start in range(0, len(data), PART_BYTES)
    ]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
