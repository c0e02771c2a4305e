"""fsspec filesystems, set up so that listings are fresh and requests are repeated in one place alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30  # without a single byte


def open_filesystem(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The filesystem of a URL, and the path in it. No request is sent."""
    protocol, _ = fsspec.core.split_protocol(url)
    if protocol is None or protocol in ("file", "local"):
        local = Path(fsspec.core.strip_protocol(url) if protocol else url).expanduser().absolute()
        return LocalFileSystem(), os.path.normpath(local)
    extra: dict[str, Any] = {"use_listings_cache": False}
    is_s3 = protocol in ("s3", "s3a")
    if is_s3:
        extra["config_kwargs"] = _s3_config(options.get("config_kwargs", {}))
    fs, path = fsspec.core.url_to_fs(url, **{**options, **extra})
    if is_s3:
        # s3fs repeats a request up to five times, and botocore each of these five times again, without a word.
        # Neither repeats what goes wrong in the body of a large object, so `retries` is needed around them anyway.
        fs.retries = 1
    return fs, str(path)


def _s3_config(given: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": READ_TIMEOUT_SECONDS,
    }
    # Many S3-compatible servers do not return the newer default checksums for ranges; our own sha256 in
    # every manifest covers what they would. The standard AWS variables and the user's options win.
    for name in ("request_checksum_calculation", "response_checksum_validation"):
        if f"AWS_{name.upper()}" not in os.environ:
            config[name] = "when_required"
    return {**config, **given}
