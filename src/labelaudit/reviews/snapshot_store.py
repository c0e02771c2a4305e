"""The review snapshot of an audit in storage: taken when the audit is planned, loaded by later steps."""

from __future__ import annotations

from labelaudit.audits.audit_plan import Plan
from labelaudit.reviews.sample_store import read_samples
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.verdict_store import read_and_compact_verdicts
from labelaudit.storage.manifest import read_checked, sha256_hex
from labelaudit.storage.store import Store

SNAPSHOT_FILE = "review.json"


def take_snapshot(store: Store, dataset: str, fingerprint: str) -> ReviewSnapshot:
    """Return what is decided about a dataset now, and what it measures for the version with this fingerprint.

    Raises:
        ReviewError: if a stored verdict or sample cannot be read.
    """
    return ReviewSnapshot.of(read_and_compact_verdicts(store, dataset), read_samples(store, dataset), fingerprint)


def snapshot_sha256(snapshot: ReviewSnapshot) -> str | None:
    """Return the digest of a snapshot, or None if it has no verdicts."""
    return sha256_hex(snapshot.to_json()) if snapshot.answers else None


def store_snapshot(store: Store, plan: Plan, snapshot: ReviewSnapshot) -> None:
    """Store the snapshot in the work folder of the audit, unless it is empty."""
    if plan.review_sha256 is not None:
        store.write(f"{plan.work_folder}/{SNAPSHOT_FILE}", snapshot.to_json())


def load_snapshot(store: Store, plan: Plan) -> ReviewSnapshot:
    """Return the snapshot that was taken when the audit was planned."""
    if plan.review_sha256 is None:
        return ReviewSnapshot({})
    data = read_checked(store, f"{plan.work_folder}/{SNAPSHOT_FILE}", plan.review_sha256)
    return ReviewSnapshot.from_json(data)
