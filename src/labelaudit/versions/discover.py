"""The versions of a dataset in storage, whether they are complete, and whether they were audited."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from labelaudit.codec import from_record
from labelaudit.config import AuditConfig, with_version
from labelaudit.errors import ConfigError, DatasetError, StorageError
from labelaudit.storage.layout import MANIFEST, announced_key, audited_key
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.non_data import CLAIM
from labelaudit.storage.store import DatasetFiles, Store, StoredFile
from labelaudit.storage.versions import VersionedTemplate, is_file_url, natural_order, signature_of, version_state
from labelaudit.text import closest, listing
from labelaudit.versions.named import audited_name, open_output, open_source, version_in_url, with_annotations

LATEST = "latest"
DEFAULT_MARKER = "_SUCCESS"
# If no marker completes versions.
DEFAULT_QUIET_MINUTES = 10.0


@dataclass(frozen=True)
class FoundVersion:
    """A version in storage. `state` identifies its content by names, sizes and change tokens of its files."""

    dataset: str
    version: str | None  # None if the URL contains no {version}: the content at the URL is the version
    url: str
    state: str
    incomplete: str | None  # why it is not complete yet; None: it is complete

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.version or self.state[:12]}"


@dataclass(frozen=True)
class Announcement:
    """The announcement of a version: the event's id, its time, and the number of announcements so far."""

    event_id: str
    at: str  # ISO 8601, UTC
    number: int

    def age_seconds(self) -> float:
        return (datetime.now(UTC) - datetime.fromisoformat(self.at)).total_seconds()


def find_versions(config: AuditConfig) -> list[FoundVersion]:
    """Return all versions below the dataset's URL, oldest first in natural order (v2 before v10)."""
    return list(_versions(config))


def choose_version(config: AuditConfig) -> AuditConfig:
    """Return the config with the version to audit: `latest` becomes the newest complete version.

    If the URL contains no {version}, `latest` is the content at the URL. A version that is named must be complete
    only if the section `versions` sets a rule. Raises `DatasetError` if no such version is complete.
    """
    is_latest = config.dataset.version == LATEST
    if is_latest and config.dataset.has_version_in_url:
        return _newest_complete(config)
    if is_latest:
        config = with_version(config, None)
    elif config.versions.marker is None and config.versions.quiet_minutes is None:
        return config
    source = open_source(config)
    missing = _missing(config, source, source.files())
    if missing is not None:
        raise DatasetError(
            f"{source.url} is not complete: it {missing}. A version is complete if "
            f"{_rule_in_words(config, source.is_single_file)}. Audit it then, or leave it to the sweep."
        )
    return config


def open_version(config: AuditConfig) -> DatasetFiles:
    """Return the files of the config's dataset version.

    Raises:
        DatasetError: nothing is stored there; with the versions that are.
    """
    try:
        return open_source(config)
    except DatasetError as error:
        version = config.dataset.version
        if version is None or not config.dataset.has_version_in_url:
            raise
        names = _names(config)
        close = closest(version, names)
        hint = f" Did you mean {close!r}?" if close else ""
        known = f" The versions are {listing(reversed(names))}." if names else ""
        raise DatasetError(f"{error}{hint}{known}") from error


def unaudited(config: AuditConfig, versions: list[FoundVersion]) -> list[FoundVersion]:
    """Return the complete versions without a published audit below `output.url`. Its settings do not matter."""
    store = open_output(config)
    return [found for found in versions if found.incomplete is None and not _is_audited(store, found)]


def announcement_of(config: AuditConfig, found: FoundVersion) -> Announcement | None:
    """Return the announcement of a version; None if there is none."""
    store = open_output(config)
    key = announced_key(found.dataset, found.state)
    return from_record(Announcement, read_json(store, key)) if store.exists(key) else None


def note_announcement(config: AuditConfig, found: FoundVersion, event_id: str, number: int) -> None:
    """Store that the event for a version was accepted."""
    store = open_output(config)
    announcement = Announcement(event_id, datetime.now(UTC).isoformat(timespec="seconds"), number)
    store.write(announced_key(found.dataset, found.state), dump_json(vars(announcement)))


def _newest_complete(config: AuditConfig) -> AuditConfig:
    for version in reversed(_names(config)):
        found = look_at_version(with_version(config, version))
        if found is not None and found.incomplete is None:
            return with_version(config, version)
    rule = _rule_in_words(config, is_file_url(config.dataset.url))
    raise DatasetError(f"No version below {config.dataset.url} is complete. A version is complete if {rule}.")


def _versions(config: AuditConfig) -> Iterator[FoundVersion]:
    if not config.dataset.has_version_in_url:
        found = look_at_version(with_version(config, None))
        if found is not None:
            yield found
        return
    for version in _names(config):
        found = look_at_version(with_version(config, version))
        if found is not None:
            yield found


def _names(config: AuditConfig) -> list[str]:
    """Return the versions by the names of their folders or files, oldest first."""
    named = config.dataset.url.replace("{name}", config.dataset.name or "{name}")
    if "{name}" in named:
        raise ConfigError(
            f"dataset.url {config.dataset.url!r} contains {{name}}, but dataset.name is not set. "
            "Set it, for example with --name fruit."
        )
    template = VersionedTemplate.parse(named)
    parent = Store(template.parent, config.storage.options)
    children = parent.folders() if _are_folders(config) else parent.children()
    found = {version for name in children if (version := template.version_of(name)) is not None}
    return sorted(found, key=natural_order)


def _are_folders(config: AuditConfig) -> bool:
    """Return whether versions must be folders, so that a file next to them is not a version."""
    url = config.dataset.url
    return "/" in url.partition("{version}")[2] or (config.versions.marker is not None and not is_file_url(url))


def look_at_version(config: AuditConfig) -> FoundVersion | None:
    """Return the version that a config names; None if nothing is there."""
    try:
        source = open_source(config)
    except DatasetError:
        return None
    files = source.files()
    if not files:
        return None
    try:
        signature, no_annotations = signature_of(with_annotations(config, files)), None
    except DatasetError as error:
        signature, no_annotations = signature_of(files), f"has no annotations yet. {error}"
    if signature is None:
        raise StorageError(
            f"The storage of {source.url} reports neither ETags nor modification times, so changes cannot be noticed. "
            "Audit its versions by name, with `labelaudit run --version`."
        )
    version = version_in_url(config)
    return FoundVersion(
        dataset=audited_name(config).name,
        version=version,
        url=source.url,
        state=version_state(version, signature),
        incomplete=_missing(config, source, files) or no_annotations,
    )


def marker_of(config: AuditConfig, *, is_single_file: bool) -> str | None:
    """Return the name of the file that completes a version; None if versions need no marker."""
    return _rule(config, is_single_file)[0]


def _missing(config: AuditConfig, source: DatasetFiles, files: Sequence[StoredFile]) -> str | None:
    """Return why a version with these files is not complete; None if it is."""
    marker, quiet_minutes = _rule(config, source.is_single_file)
    if marker is not None:
        return _without_marker(source, files, marker, may_be_rewritten=not config.dataset.has_version_in_url)
    if not source.is_single_file and source.file(CLAIM) is not None:
        return "is being uploaded, or its upload was killed"
    times = [file.modified for file in files]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        raise StorageError(
            f"The storage of {source.url} reports no modification times, which versions.quiet_minutes needs. "
            "Set versions.marker to the name of a file that is written last."
        )
    waiting = max(known, default=0) + 60 * (quiet_minutes or 0) - time.time()
    return f"changed less than {quiet_minutes:g} minutes ago" if waiting > 0 else None


def _rule(config: AuditConfig, is_single_file: bool) -> tuple[str | None, float | None]:
    """Return marker and quiet minutes. Exactly one of them is None."""
    rule = config.versions
    if rule.marker is not None and is_single_file:
        raise ConfigError(
            f"versions.marker is {rule.marker!r}, but {config.dataset.url} is a single file, which cannot have a "
            "marker. Leave it out, or set versions.quiet_minutes."
        )
    if rule.marker is not None or rule.quiet_minutes is not None:
        return rule.marker, rule.quiet_minutes
    if config.dataset.has_version_in_url and not is_single_file:
        return DEFAULT_MARKER, None
    return None, DEFAULT_QUIET_MINUTES


def _without_marker(
    source: DatasetFiles, files: Sequence[StoredFile], marker: str, *, may_be_rewritten: bool
) -> str | None:
    found = source.file(marker)
    if found is None:
        return f"has no {marker}"
    times = [file.modified for file in files if file.modified is not None]
    # An old marker does not complete files that changed later.
    if may_be_rewritten and found.modified is not None and times and max(times) > found.modified:
        return f"changed after its {marker} was written"
    return None


def _rule_in_words(config: AuditConfig, is_single_file: bool) -> str:
    marker, quiet_minutes = _rule(config, is_single_file)
    if marker is not None:
        return f"it contains {marker} (versions.marker)"
    return f"none of its files changed for {quiet_minutes:g} minutes (versions.quiet_minutes)"


def _is_audited(store: Store, found: FoundVersion) -> bool:
    key = audited_key(found.dataset, found.state)
    return store.exists(key) and store.exists(f"{read_json(store, key)['audit']}/{MANIFEST}")
