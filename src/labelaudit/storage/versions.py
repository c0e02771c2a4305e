"""How a dataset and its version are called when nobody says: by their URL."""

from __future__ import annotations

import re
from typing import NamedTuple

from labelaudit.errors import ConfigError

# v3, 7, 1.2.0, 2026-11-20, 20261120T0300, version=3, v2-rc1
_VERSION = re.compile(r"(version=.+|v?\d+([._T:-]?[0-9a-z]+)*)", re.IGNORECASE)
_SUFFIXES = re.compile(r"\.(parquet|pq|csv|tsv|jsonl|ndjson|json)$", re.IGNORECASE)


class DatasetName(NamedTuple):
    name: str
    version: str | None  # None: nothing in the URL looks like one


def dataset_url(template: str, version: str | None) -> str:
    """The URL of one version; `{version}` in the template is replaced."""
    if "{version}" not in template:
        return template
    if version is None:
        raise ConfigError(
            f"dataset.url {template!r} holds {{version}}, but dataset.version is not set. "
            "Set it, for example with --version v3."
        )
    return template.replace("{version}", version)


def name_from_url(template: str) -> DatasetName:
    """Name and version in a URL: `s3://data/cifar10n/v3` is version v3 of cifar10n.

    A last segment that does not look like a version is the name itself, without its file suffix.
    """
    path = template.rpartition("://")[2].rstrip("/")
    segments = [part for part in path.split("/") if part not in ("", ".", "..")]
    if not segments:
        return DatasetName("dataset", None)
    last = _SUFFIXES.sub("", segments[-1])
    if len(segments) == 1:
        return DatasetName(last, None)
    before = segments[-2].removeprefix("dataset=")
    if last == "{version}":
        return DatasetName(before, None)
    if _VERSION.fullmatch(last):
        return DatasetName(before, last.removeprefix("version="))
    if "{version}" in before:
        return DatasetName(segments[-3] if len(segments) > 2 else last, None)
    return DatasetName(last.replace("{version}", "").strip("-_.") or before, None)
