"""Deciding on the rows of a published audit, drawing a sample of them, and how far a review has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.decisive_settings import ROW_NUMBERS
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.errors import ReviewError
from labelaudit.reviews.judging import (
    AuditedRow,
    Compared,
    Judgement,
    compared,
    disagreements,
    newest_of_reviewers,
    verdicts_of,
)
from labelaudit.reviews.known import Known
from labelaudit.reviews.measures import progress
from labelaudit.reviews.records import is_text
from labelaudit.reviews.sample_store import read_samples, store_sample
from labelaudit.reviews.sampling import FLAGGED, UNFLAGGED, Sample, SampledStratum, review_order
from labelaudit.reviews.verdict_store import append_verdicts, read_verdicts
from labelaudit.reviews.verdicts import Judged, Verdict, newest, now
from labelaudit.schemas import CLASSES, EXAMPLES, Decision, Status

EXAMPLES_FILE = "examples.parquet"
# Rows on which reviewers disagree, as a status shows them.
SHOWN_DISAGREEMENTS = 20


def audit_to_review(target: str, options: Mapping[str, Any] | None = None) -> PublishedAudit:
    """The audit that a person means, as `find_audit` knows it, below the folder of its dataset.

    Raises `ReviewError` for an audit apart from its dataset, because what is decided belongs beside all its audits,
    and for one whose ids are row numbers, because a decision would meet other rows in the next version.
    """
    audit = find_audit(target, options)
    if not audit.folder:
        raise ReviewError(
            f"{audit.url} is an audit apart from its dataset's folder, and what people decide lives in that. Name the "
            "folder …/dataset=NAME/version=VERSION/audit=ID where it was published."
        )
    if audit.has_made_up_ids:
        raise ReviewError(f"{audit.url} cannot be reviewed: {ROW_NUMBERS}")
    return audit


def judge(
    audit: PublishedAudit, judgements: Sequence[Judgement], *, reviewer: str, allow_new_classes: bool = False
) -> Compared:
    """Store what a person decided on rows of an audit, all of it or nothing; returns what of it was new.

    What the same reviewer said last is not stored again, also where somebody else decided otherwise since. A verdict
    is later than the one that it replaces, whatever the clock says. `allow_new_classes`: right labels need not be
    classes of the audit. Raises `ReviewError` that names every judgement that cannot stand.
    """
    if not reviewer.strip():
        raise ReviewError("A verdict needs the name of its reviewer. Name who decided, with --reviewer.")
    labels = {one.right_label for one in judgements if one.right_label} if allow_new_classes else set()
    verdicts = verdicts_of(
        judgements,
        audited_rows(audit, [one.example_id for one in judgements]),
        labels | set(class_names(audit)),
        reviewer=reviewer.strip(),
        decided_at=now(),
        audit_id=audit.audit_id,
    )
    found = compared(verdicts, read_verdicts(audit.store, audit.dataset))
    if found.new:
        append_verdicts(audit.store, audit.dataset, found.new)
    return found


def draw_sample(audit: PublishedAudit, *, flagged: int, unflagged: int, seed: int) -> Sample:
    """Draw rows of an audit at random, so many that the detector flagged and so many of the others; it is stored.

    All of a stratum where it has fewer.
    """
    table = scored_table(audit)

    def draw(name: str, rows: pa.Table, count: int) -> SampledStratum:
        order = review_order(rows["example_id"].to_pylist(), audit.fingerprint, seed)[:count]
        return SampledStratum(name, len(rows), tuple(judged_rows(rows.take(pa.array(order)))))

    strata = (
        draw(FLAGGED, table.filter(table["was_flagged"]), flagged),
        draw(UNFLAGGED, table.filter(pc.invert(table["was_flagged"])), unflagged),
    )
    sample = Sample(now(), audit.version, audit.audit_id, audit.fingerprint, seed, strata)
    store_sample(audit.store, audit.dataset, sample)
    return sample


def status(audit: PublishedAudit) -> dict[str, Any]:
    """How far people have come with an audit, by all that is stored now; JSON-able.

    Keys: dataset, version, audit_id; flagged (by the detector) and flagged_judged; those of `Known.findings`; sample
    (the newest one of the version, else of the dataset, and how far it is judged); reviewers (name -> verdicts);
    disagreements, and disagreeing: the first few of them.
    """
    verdicts, samples = read_verdicts(audit.store, audit.dataset), read_samples(audit.store, audit.dataset)
    known = Known.of(verdicts, samples, audit.fingerprint)
    rows = audit.table(EXAMPLES_FILE, EXAMPLES, ["example_id", "content_digest", "given_label"])
    marks = known.marks(*(rows[name].to_pylist() for name in ("example_id", "content_digest", "given_label")))
    table = scored_table(audit)
    judged = [known.decisions.get(row) for row in judged_rows(table.filter(table["was_flagged"]))]
    dismissed = sum(decided is not None and decided.verdict == Decision.FINE for decided in judged)
    differing = disagreements(verdicts)
    return {
        "dataset": audit.dataset,
        "version": audit.version,
        "audit_id": audit.audit_id,
        "flagged": len(judged),
        "flagged_judged": sum(decided is not None for decided in judged),
        **known.findings(marks, dismissed=dismissed),
        "sample": _sample_status(samples, newest(verdicts), audit.fingerprint),
        "reviewers": dict(sorted(Counter(reviewer for _, reviewer in newest_of_reviewers(verdicts)).items())),
        "disagreements": len(differing),
        "disagreeing": [
            {"example_id": row.example_id, "given_label": row.given_label, "verdicts": [_said(one) for one in given]}
            for row, given in list(differing.items())[:SHOWN_DISAGREEMENTS]
        ],
    }


def scored_table(audit: PublishedAudit, *more: str) -> pa.Table:
    """Scored rows in the order of their ids: what identifies them, `was_flagged` (by the detector), more columns."""
    columns = ["example_id", "given_label", "content_digest", "status", "is_label_issue", "is_dismissed", *more]
    table = audit.table(EXAMPLES_FILE, EXAMPLES, columns)
    table = table.filter(pc.equal(table["status"], Status.SCORED.value))
    return table.append_column("was_flagged", pc.or_(table["is_label_issue"], table["is_dismissed"]))


def audited_rows(audit: PublishedAudit, example_ids: Sequence[str]) -> dict[str, AuditedRow]:
    """What the audit knows of the rows with these ids; those that it does not have, or did not score, are left out."""
    table = scored_table(audit)
    ids = pa.array(filter(is_text, example_ids), pa.string())
    table = table.filter(pc.is_in(table["example_id"], ids))
    flags = table["was_flagged"].to_pylist()
    return {row.example_id: AuditedRow(row, flag) for row, flag in zip(judged_rows(table), flags, strict=True)}


def class_names(audit: PublishedAudit) -> list[str]:
    """Names of all classes of the audit, those set aside too, sorted."""
    return sorted(audit.table("classes.parquet", CLASSES, ["class_name"])["class_name"].to_pylist())


def judged_rows(table: pa.Table) -> list[Judged]:
    """What verdicts are about, of each row of a table with these columns."""
    columns = (table[name].to_pylist() for name in ("example_id", "content_digest", "given_label"))
    return [Judged(*row) for row in zip(*columns, strict=True)]


def _sample_status(
    samples: Sequence[Sample], standing: Mapping[Judged, Verdict], fingerprint: str
) -> dict[str, Any] | None:
    if not samples:
        return None
    sample = max(samples, key=lambda sample: (sample.fingerprint == fingerprint, sample.created_at))
    return {"audit_id": sample.audit_id, "version": sample.version, "strata": progress(sample, standing)}


def _said(verdict: Verdict) -> dict[str, str | None]:
    return {"reviewer": verdict.reviewer, "verdict": verdict.verdict, "right_label": verdict.right_label}
