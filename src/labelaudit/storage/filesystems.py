"""fsspec filesystems, configured so that listings are not cached and requests are retried in one place only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

# Arguments of a filesystem, by name: `storage.options` of the config.
StorageOptions: TypeAlias = Mapping[str, Any]

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30  # without a single byte


def open_filesystem(url: str, options: StorageOptions) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem of a URL, and the path in it. No request is sent."""
    protocol, _ = fsspec.core.split_protocol(url)
    if protocol is None or protocol in ("file", "local"):
        local = Path(fsspec.core.strip_protocol(url) if protocol else url).expanduser().absolute()
        return LocalFileSystem(), os.path.normpath(local)
    extra: dict[str, object] = {"use_listings_cache": False}
    is_s3 = protocol in ("s3", "s3a")
    if is_s3:
        extra["config_kwargs"] = _s3_config(options.get("config_kwargs", {}))
    fs, path = fsspec.core.url_to_fs(url, **{**options, **extra})
    if is_s3:
        # s3fs retries up to five times, and botocore each of these up to five times, without logging. Neither
        # retries errors in the body of a large object, so `storage.retries` is needed anyway.
        fs.retries = 1
    return fs, str(path)


def _s3_config(given: Mapping[str, object]) -> dict[str, object]:
    config: dict[str, object] = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": READ_TIMEOUT_SECONDS,
    }
    # Many S3-compatible servers do not support the newer default checksums. The sha256 of every file in
    # the manifest replaces them. The standard AWS variables and the user's options take precedence.
    for name in ("request_checksum_calculation", "response_checksum_validation"):
        if f"AWS_{name.upper()}" not in os.environ:
            config[name] = "when_required"
    return {**config, **given}
