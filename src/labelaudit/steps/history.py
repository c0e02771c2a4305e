"""Which audits of a dataset were published, and which one another is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from labelaudit.errors import StorageError
from labelaudit.storage.layout import audit_record_key, audit_records_folder, dataset_of
from labelaudit.storage.manifest import dump_json, read_json
from labelaudit.storage.store import Store, StoredFile

# Small objects, each a request of its own.
READERS = 16
GATE_FAILED = "failed"


@dataclass(frozen=True)
class AuditRecord:
    """The main figures of a published audit, beside the others of its dataset."""

    dataset: str
    version: str
    audit_id: str
    created_at: str  # ISO 8601, UTC
    folder: str  # below the output URL
    fingerprint: str
    deciding: dict[str, Any]  # config and package versions that its findings follow from, besides the data
    summary: dict[str, Any]  # summary.json
    gate: str | None  # passed, warned, failed; None where the config sets no limits

    @property
    def name(self) -> str:
        """Tells the audits of a dataset apart; versions with the same content share the id of their audit."""
        return f"{self.version}/{self.audit_id}"


def write_audit_record(store: Store, record: AuditRecord) -> None:
    store.write(audit_record_key(record.dataset, record.version, record.audit_id), dump_json(asdict(record)))


def list_records(store: Store, dataset: str) -> list[StoredFile]:
    """The records of all published audits of a dataset, unread."""
    return [file for file in store.find(audit_records_folder(dataset)) if file.path.endswith(".json")]


def read_records(store: Store, records: Iterable[StoredFile]) -> list[AuditRecord]:
    """Records, oldest first. Raises `StorageError` for one that cannot be read."""
    keys = [file.path for file in records]
    with ThreadPoolExecutor(READERS) as pool:
        values = list(pool.map(partial(read_json, store), keys))
    return sorted(map(partial(_record, store), keys, values), key=_age)


def read_history(store: Store, dataset: str) -> list[AuditRecord]:
    """All published audits of a dataset, oldest first. Raises `StorageError` for a record that cannot be read."""
    return read_records(store, list_records(store, dataset))


def _record(store: Store, key: str, value: dict[str, Any]) -> AuditRecord:
    try:
        return AuditRecord(**{field.name: value[field.name] for field in fields(AuditRecord)})
    except KeyError as error:
        raise StorageError(
            f"{store.url_of(key)} is not the record of an audit: it has no {error}. Remove it; running that audit "
            "again writes it anew."
        ) from error


def find_datasets(store: Store) -> list[str]:
    """Names of the datasets that have a folder below the output URL."""
    return [name for child in store.children() if (name := dataset_of(child)) is not None]


def newest_of_versions(history: Iterable[AuditRecord]) -> list[AuditRecord]:
    """The newest audit of each version; versions in the order in which they were first audited."""
    newest: dict[str, AuditRecord] = {}
    for record in sorted(history, key=_age):
        # A key that is there keeps its place.
        newest[record.version] = record
    return list(newest.values())


def predecessor(history: Sequence[AuditRecord], version: str) -> AuditRecord | None:
    """The audit that one of `version` is compared with: the newest of the last version before that was not held.

    A version that its gate failed never became a release, so it is no measure for the next one. Another audit of
    an old version has the predecessor of the first one.
    """
    before: list[AuditRecord] = []
    for record in newest_of_versions(history):
        if record.version == version:
            break
        before.append(record)
    return next((record for record in reversed(before) if record.gate != GATE_FAILED), None)


def _age(record: AuditRecord) -> tuple[str, str, str]:
    return record.created_at, record.version, record.audit_id
