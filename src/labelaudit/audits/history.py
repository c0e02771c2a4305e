"""The records of a dataset's published audits, and the order of its versions."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from labelaudit.audits.decisive_settings import MADE_UP_IDS, DecisiveSettings
from labelaudit.codec import JsonObject, from_record, to_record
from labelaudit.errors import StorageError
from labelaudit.findings import Summary
from labelaudit.storage.layout import audit_record_key, audit_records_folder, dataset_of
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.store import Store, StoredFile
from labelaudit.storage.versions import natural_order

# Records are small objects, and each is a request.
READERS = 16
FAILED_GATE = "failed"


# Records of earlier releases lack the fields with a default.
@dataclass(frozen=True)
class AuditFacts:
    """What the manifest of an audit says about it."""

    dataset: str
    version: str
    audit_id: str
    created_at: str  # ISO 8601, UTC
    fingerprint: str
    deciding: DecisiveSettings
    has_made_up_ids: bool = False  # row numbers, which mean other rows in another version
    has_version_in_url: bool = False  # then versions are ordered by name, not by time of audit
    features: str | None = None  # key of the encoder in the feature store; None: no encoder was used

    @classmethod
    def of_manifest(cls, audit: JsonObject) -> AuditFacts:
        """Return the facts in a manifest that has the keys DECIDED.

        Raises:
            ValueError: they have other types.
        """
        config, columns = audit["config"], audit["columns"]
        dataset = config.get("dataset") if isinstance(config, dict) else None
        url = dataset.get("url") if isinstance(dataset, dict) else None
        return from_record(
            cls,
            {
                **{name: audit[name] for name in ("dataset", "version", "audit_id", "created_at", "fingerprint")},
                "deciding": DecisiveSettings.of_audit(audit),
                "has_made_up_ids": isinstance(columns, dict) and bool(columns.get(MADE_UP_IDS)),
                "has_version_in_url": "{version}" in str(url),
                "features": audit.get("features"),
            },
        )


@dataclass(frozen=True, kw_only=True)
class AuditRecord(AuditFacts):
    """The main figures of a published audit, stored next to those of the dataset's other audits."""

    folder: str  # below the output URL
    summary: Summary
    gate: str | None  # passed, warned, failed; None if the config sets no limits

    @property
    def name(self) -> str:
        """Unique within a dataset. The id alone is not: versions with the same content may share it."""
        return f"{self.version}/{self.audit_id}"


def write_audit_record(store: Store, record: AuditRecord) -> None:
    store.write(audit_record_key(record.dataset, record.version, record.audit_id), dump_json(to_record(record)))


def list_records(store: Store, dataset: str) -> list[StoredFile]:
    """Return the files of the records of all published audits of a dataset, unread."""
    return [file for file in store.find(audit_records_folder(dataset)) if file.path.endswith(".json")]


def read_records(store: Store, records: Iterable[StoredFile]) -> list[AuditRecord]:
    """Read records, and return them in the order of their files.

    Raises:
        StorageError: a record cannot be read.
    """
    keys = [file.path for file in records]
    with ThreadPoolExecutor(READERS) as pool:
        values = list(pool.map(partial(read_json, store), keys))
    return list(map(partial(_record, store), keys, values))


def read_history(store: Store, dataset: str) -> list[AuditRecord]:
    """Return all published audits of a dataset, oldest first.

    Raises:
        StorageError: a record cannot be read.
    """
    return oldest_first(read_records(store, list_records(store, dataset)))


def oldest_first(records: Iterable[AuditRecord]) -> list[AuditRecord]:
    return sorted(records, key=_time_and_name)


def _record(store: Store, key: str, value: JsonObject) -> AuditRecord:
    try:
        record = from_record(AuditRecord, value)
    except ValueError as error:
        raise _invalid_record(store, key, str(error).rstrip(".")) from error
    if key != audit_record_key(record.dataset, record.version, record.audit_id):
        raise _invalid_record(store, key, f"it is the record of {record.name} of {record.dataset!r}")
    return record


def _invalid_record(store: Store, key: str, why: str) -> StorageError:
    return StorageError(
        f"{store.url_of(key)} is not the record of an audit: {why}. Remove it and run that audit again, which "
        "writes a new record."
    )


def find_datasets(store: Store) -> list[str]:
    """Return the names of the datasets that have a folder below the output URL."""
    return [name for child in store.children() if (name := dataset_of(child)) is not None]


def newest_of_versions(history: Iterable[AuditRecord]) -> list[AuditRecord]:
    """Return the newest audit of each version, oldest version first.

    If the newest audit of all got its version from a URL with `{version}`, versions are in the natural order of their
    names (v2 before v10). Otherwise they are in the order of their first audits.
    """
    by_version = _by_version(history)
    newest = [audits[-1] for audits in by_version.values()]
    if newest and max(newest, key=_time_and_name).has_version_in_url:
        newest.sort(key=lambda record: natural_order(record.version))
    return newest


def audits_before(history: Iterable[AuditRecord], version: str, *, has_version_in_url: bool) -> list[list[AuditRecord]]:
    """Return the audits of each version before `version`, each version's oldest audit first.

    Versions are in the natural order of their names if `has_version_in_url`, otherwise in the order of their first
    audits. In the second case, all versions are before one that has no audit yet.
    """
    by_version = _by_version(history)
    if has_version_in_url:
        order = sorted({*by_version, version}, key=natural_order)
    else:
        order = list(dict.fromkeys([*by_version, version]))
    return [by_version[name] for name in order[: order.index(version)]]


def _by_version(history: Iterable[AuditRecord]) -> dict[str, list[AuditRecord]]:
    """Return the audits of each version, oldest first, with versions in the order of their first audits."""
    found: dict[str, list[AuditRecord]] = {}
    for record in sorted(history, key=_time_and_name):
        found.setdefault(record.version, []).append(record)
    return found


def _time_and_name(record: AuditRecord) -> tuple[str, str, str]:
    return record.created_at, record.version, record.audit_id
