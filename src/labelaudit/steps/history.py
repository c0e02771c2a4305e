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
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("dataset", "version", "audit_id", "created_at", "folder", "fingerprint"), str),
    **dict.fromkeys(("deciding", "summary"), dict),
    "gate": str | None,
}
# Of a summary, what pages and sentences about many audits show.
_FIGURES: dict[str, Any] = {
    **dict.fromkeys(("examples", "scored", "issues"), int),
    "estimated_error_rate": int | float,
    "verdict": str,
}


@dataclass(frozen=True)
class AuditRecord:
    """The main figures of a published audit, beside the others of its dataset.

    Raises `TypeError` where a value is none of its type, for records are read from JSON that others wrote.
    """

    dataset: str
    version: str
    audit_id: str
    created_at: str  # ISO 8601, UTC
    folder: str  # below the output URL
    fingerprint: str
    deciding: dict[str, Any]  # config and package versions that its findings follow from, besides the data
    summary: dict[str, Any]  # summary.json
    classes: list[dict[str, Any]]  # of each: class_name, status, examples, label_issues, label_noise
    gate: str | None  # passed, warned, failed; None where the config sets no limits

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            _check(name, getattr(self, name), kind)
        for name, kind in _FIGURES.items():
            if name in self.summary:
                _check(name, self.summary[name], kind)

    @property
    def name(self) -> str:
        """Tells the audits of a dataset apart; versions with the same content share the id of their audit."""
        return f"{self.version}/{self.audit_id}"


def write_audit_record(store: Store, record: AuditRecord) -> None:
    store.write(audit_record_key(record.dataset, record.version, record.audit_id), dump_json(asdict(record)))


def read_history(store: Store, dataset: str) -> list[AuditRecord]:
    """All published audits of a dataset, oldest first. Raises `StorageError` for a record that cannot be read."""
    return sorted(read_records(store, list_records(store, dataset)), key=_age)


def list_records(store: Store, dataset: str) -> list[StoredFile]:
    """The records of all published audits of a dataset, unread."""
    return [file for file in store.find(audit_records_folder(dataset)) if file.path.endswith(".json")]


def read_records(store: Store, records: Iterable[StoredFile]) -> list[AuditRecord]:
    """Records in the order given. Raises `StorageError` for one that cannot be read."""
    keys = [file.path for file in records]
    with ThreadPoolExecutor(READERS) as pool:
        values = list(pool.map(partial(read_json, store), keys))
    return list(map(partial(_record, store), keys, values))


def _record(store: Store, key: str, value: dict[str, Any]) -> AuditRecord:
    try:
        record = AuditRecord(**{field.name: value[field.name] for field in fields(AuditRecord)})
    except KeyError as error:
        raise _no_record(store, key, f"it has no {error}") from error
    except TypeError as error:
        raise _no_record(store, key, str(error)) from error
    if key != audit_record_key(record.dataset, record.version, record.audit_id):
        raise _no_record(store, key, f"it is that of {record.name} of {record.dataset!r}")
    return record


def _no_record(store: Store, key: str, why: str) -> StorageError:
    return StorageError(
        f"{store.url_of(key)} is not the record of an audit: {why}. Remove it; running that audit again writes it anew."
    )


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


def _check(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r:.40}")


def _age(record: AuditRecord) -> tuple[str, str, str]:
    return record.created_at, record.version, record.audit_id
