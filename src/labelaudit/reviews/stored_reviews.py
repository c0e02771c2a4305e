"""What people had decided when an audit was prepared: read once, stored beside its record, loaded by later steps."""

from __future__ import annotations

import json

from labelaudit.audits.prepared import Prepared
from labelaudit.reviews.known import Known
from labelaudit.reviews.sample_store import read_samples
from labelaudit.reviews.verdict_store import read_and_compact_verdicts
from labelaudit.storage.manifest import dump_json, read_checked, sha256_hex
from labelaudit.storage.store import Store

REVIEW = "review.json"


def read_known(store: Store, dataset: str, fingerprint: str) -> Known:
    """All that is decided about a dataset now, and what it measures of the version with this fingerprint.

    Raises `ReviewError` where a verdict or sample cannot be read.
    """
    return Known.of(read_and_compact_verdicts(store, dataset), read_samples(store, dataset), fingerprint)


def known_sha256(known: Known) -> str | None:
    """Digest of what was decided; None where nothing was."""
    return sha256_hex(_bytes(known)) if known.decisions else None


def store_known(store: Store, prepared: Prepared, known: Known) -> None:
    """Leave it in the audit's work folder, where there is anything."""
    if prepared.review_sha256 is not None:
        store.write(f"{prepared.work_folder}/{REVIEW}", _bytes(known))


def load_known(store: Store, prepared: Prepared) -> Known:
    """What stood when the audit was prepared."""
    if prepared.review_sha256 is None:
        return Known({})
    data = read_checked(store, f"{prepared.work_folder}/{REVIEW}", prepared.review_sha256)
    return Known.from_record(json.loads(data))


def _bytes(known: Known) -> bytes:
    return dump_json(known.to_record())
