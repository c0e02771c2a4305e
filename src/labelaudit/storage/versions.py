"""Names, URLs and states of datasets and their versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from labelaudit.errors import ConfigError
from labelaudit.storage.manifest import digest_of
from labelaudit.storage.store import StoredFile

# v3, 7, 1.2.0, 2026-11-20, 20261120T0300, version=3, v2-rc1, the hash of a commit
_VERSION = re.compile(r"(version=.+|v?\d+([._T:-]?[0-9a-z]+)*|[0-9a-f]{40})", re.IGNORECASE)
_SUFFIXES = re.compile(
    r"\.(parquet|pq|parq|arrow|feather|csv|tsv|tab|psv|jsonl|ndjson|json)(\.(gz|bz2|xz|zst|zip))?$", re.IGNORECASE
)
# The cache of the Hugging Face Hub: datasets--<owner>--<name>/snapshots/<commit>.
_SNAPSHOT = re.compile(r"(?:^|/)datasets--(?:[^/]+--)?([^/]+)/snapshots/([0-9a-f]{7,40})(?:/|$)")


class DatasetName(NamedTuple):
    """The name and the version of a dataset."""

    name: str
    version: str | None  # None: nothing in the URL looks like a version


def dataset_url(template: str, name: str | None, version: str | None) -> str:
    """Return the URL of one version, with `{name}` and `{version}` in the template replaced."""
    for placeholder, value in (("name", name), ("version", version)):
        if "{" + placeholder + "}" not in template:
            continue
        if value is None:
            raise ConfigError(
                f"dataset.url {template!r} contains {{{placeholder}}}, but dataset.{placeholder} is not set. "
                f"Set it, for example with --{placeholder} {'v3' if placeholder == 'version' else 'fruit'}."
            )
        if "/" in value or value in (".", ".."):
            raise ConfigError(
                f"dataset.{placeholder} {value!r} is a path, but {{{placeholder}}} in dataset.url stands for one "
                "segment. Write the other folders into dataset.url."
            )
        template = template.replace("{" + placeholder + "}", value)
    return template


def natural_order(version: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return a sort key that compares numbers by value: v2 before v10, 2026-01-05 before 2026-01-10."""
    parts = re.findall(r"\d+|\D+", version)
    # The text comes last, because 1 and 01 are equal as numbers.
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts), version


def name_from_url(template: str) -> DatasetName:
    """Return name and version in a URL: `s3://data/cifar10n/v3` is version v3 of cifar10n.

    A last segment that does not look like a version is the name, without its file suffix.
    """
    path = template.rpartition("://")[2].rstrip("/")
    if snapshot := _SNAPSHOT.search(path):
        return DatasetName(snapshot[1], snapshot[2][:12])
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


def is_file_url(url: str) -> bool:
    """Return whether the suffix of a URL is that of a data file, so the URL is not a folder."""
    return bool(_SUFFIXES.search(url))


class VersionedTemplate(NamedTuple):
    """A URL template with `{version}`: the folder whose children are versions, and the pattern of their names."""

    parent: str
    child: re.Pattern[str]

    @classmethod
    def parse(cls, template: str) -> VersionedTemplate:
        """Return the parts of a template that contains `{version}`."""
        parent, _, rest = template.partition("{version}")
        folder, slash, prefix = parent.rpartition("/")
        # If it occurs twice in a name, both must be the same version.
        suffix = re.escape(rest.partition("/")[0]).replace(re.escape("{version}"), "(?P=version)")
        child = re.compile(f"{re.escape(prefix)}(?P<version>.+?){suffix}")
        return cls(folder + slash if folder.endswith(":/") else folder or slash or ".", child)

    def version_of(self, name: str) -> str | None:
        """Return the version of a child of the parent folder; None if it is not a version."""
        if name.startswith((".", "_")) or not name.isprintable():
            return None
        match = self.child.fullmatch(name)
        return match["version"] if match else None


def signature_of(files: Sequence[StoredFile]) -> str | None:
    """Return a digest of the files' names, sizes and change tokens; None if the storage has no such tokens."""
    if any(file.token is None for file in files):
        return None
    return digest_of([[file.path, file.size, file.token] for file in files])


def version_state(version: str | None, signature: str) -> str:
    """Return the name of one state of a version, 32 hex digits. It changes if the files change."""
    return digest_of(version, signature)[:32]
