"""Reviewing a published audit: storing verdicts, drawing samples, and the status of a review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.decisive_settings import ROW_NUMBERS
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.codec import JsonObject
from labelaudit.errors import ReviewError
from labelaudit.findings import Review, StratumProgress
from labelaudit.reviews.dataset_reviews import Added, Reviews
from labelaudit.reviews.drafts import AuditedExample, Draft, check_drafts
from labelaudit.reviews.measures import progress
from labelaudit.reviews.records import is_utf8
from labelaudit.reviews.sample_store import read_samples, store_sample
from labelaudit.reviews.sampling import (
    FLAGGED,
    UNFLAGGED,
    DrawnStratum,
    Sample,
    SampledStratum,
    drawn_positions,
    flag_strata,
    strata_to_draw,
)
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.verdict_store import read_verdicts
from labelaudit.reviews.verdicts import LabeledExample, Verdict, current, current_by_reviewer, disagreements, utc_now
from labelaudit.schemas import CLASSES, EXAMPLES, Decision, Status

EXAMPLES_FILE = "examples.parquet"
P_WRONG = "p_wrong_without_verdicts"
# Rows on which reviewers disagree that a status lists.
SHOWN_DISAGREEMENTS = 20


@dataclass(frozen=True)
class SampleStatus:
    """A sample, and how much of it is reviewed."""

    audit_id: str
    version: str
    strata: tuple[StratumProgress, ...]


@dataclass(frozen=True)
class ReviewStatus:
    """The status of the review of an audit, from all verdicts that are stored now."""

    dataset: str
    version: str
    audit_id: str
    flagged: int  # by the detector
    flagged_judged: int
    findings: Review
    sample: SampleStatus | None  # the newest one of the version, or else of the dataset
    reviewers: dict[str, int]  # current verdicts by reviewer
    disagreements: dict[LabeledExample, list[Verdict]]

    def to_record(self) -> JsonObject:
        """Return JSON-able values."""
        return {
            "dataset": self.dataset,
            "version": self.version,
            "audit_id": self.audit_id,
            "flagged": self.flagged,
            "flagged_judged": self.flagged_judged,
            **asdict(self.findings),
            "removals": self.findings.removal_sentence,
            "sample": self.sample and {**asdict(self.sample), "strata": [asdict(one) for one in self.sample.strata]},
            "reviewers": self.reviewers,
            "disagreements": len(self.disagreements),
            "disagreeing": [
                {
                    "example_id": example.example_id,
                    "given_label": example.given_label,
                    "verdicts": [{"reviewer": one.reviewer, **one.answer._asdict()} for one in verdicts],
                }
                for example, verdicts in list(self.disagreements.items())[:SHOWN_DISAGREEMENTS]
            ],
        }


def audit_to_review(target: str, options: Mapping[str, object] | None = None) -> PublishedAudit:
    """Return the audit that `find_audit` finds, if it can be reviewed.

    Args:
        target: URL of an audit, a version or a dataset.
        options: `storage.options` of the config.

    Raises:
        ReviewError: if the audit is outside the folder of its dataset, which contains the verdicts, or its ids are row
            numbers, so that a verdict would apply to another row in the next version.
    """
    audit = find_audit(target, options)
    if not audit.folder:
        raise ReviewError(
            f"{audit.url} is an audit outside the folder of its dataset, which contains the verdicts. Name the folder "
            "…/dataset=NAME/version=VERSION/audit=ID that it was published to."
        )
    if audit.has_made_up_ids:
        raise ReviewError(f"{audit.url} cannot be reviewed. {ROW_NUMBERS}")
    return audit


def add_drafts(
    audit: PublishedAudit, drafts: Sequence[Draft], *, reviewer: str, allow_new_classes: bool = False
) -> Added:
    """Check drafts against an audit and store those that are new: all of them or none.

    Args:
        audit: The audit that the reviewer looked at.
        drafts: What the reviewer wrote.
        reviewer: Name of the reviewer.
        allow_new_classes: Whether right labels may be labels that are not classes of the audit.

    Raises:
        ReviewError: if a draft is not valid. The message names every such draft.
    """
    if not reviewer.strip():
        raise ReviewError("A verdict needs the name of its reviewer. Give it with --reviewer.")
    new_classes = {one.right_label for one in drafts if one.right_label} if allow_new_classes else set()
    verdicts = check_drafts(
        drafts,
        audited_examples(audit, [one.example_id for one in drafts]),
        new_classes | set(class_names(audit)),
        reviewer=reviewer.strip(),
        decided_at=utc_now(),
        audit_id=audit.audit_id,
    )
    reviews = Reviews(audit.store, audit.dataset)
    reviews.refresh()
    if reviews.problems:
        raise reviews.problems[0]
    return reviews.add(reviews.dated_as_imported(verdicts))


def draw_sample(audit: PublishedAudit, *, rows: int, seed: int) -> Sample:
    """Draw this many rows of an audit at random, or all if there are fewer, and store the sample.

    The strata are ranges of p_wrong, or the flagged and the other rows if the audit has no p_wrong.
    """
    table = scored_table(audit, P_WRONG)
    return _draw(audit, table, strata_to_draw(p_wrong_of(table), _was_flagged(table), rows), seed)


def draw_by_flag(audit: PublishedAudit, *, flagged: int, unflagged: int, seed: int) -> Sample:
    """Draw this many flagged and other rows of an audit at random, or all if there are fewer, and store the sample."""
    table = scored_table(audit)
    return _draw(audit, table, flag_strata(_was_flagged(table), flagged, unflagged), seed)


def _draw(audit: PublishedAudit, table: pa.Table, strata: Sequence[DrawnStratum], seed: int) -> Sample:
    was_flagged = _was_flagged(table)
    order = drawn_positions(strata, table["example_id"].to_pylist(), audit.fingerprint, seed)

    def draw(stratum: DrawnStratum, drawn: list[int]) -> SampledStratum:
        examples = tuple(labeled_examples(table.take(pa.array(drawn, pa.int64()))))
        if stratum.name in (FLAGGED, UNFLAGGED):
            return SampledStratum(stratum.name, len(stratum.rows), examples)
        flags = tuple(was_flagged[drawn].tolist())
        return SampledStratum(stratum.name, len(stratum.rows), examples, int(was_flagged[stratum.rows].sum()), flags)

    sampled = tuple(draw(stratum, drawn) for stratum, drawn in zip(strata, order, strict=True))
    sample = Sample(utc_now(), audit.version, audit.audit_id, audit.fingerprint, seed, sampled)
    store_sample(audit.store, audit.dataset, sample)
    return sample


def p_wrong_of(table: pa.Table) -> npt.NDArray[np.float32] | None:
    """Return p_wrong without verdicts of the scored rows, (M,), or None if the audit is of an earlier release."""
    column = table[P_WRONG]
    return None if column.null_count else np.asarray(column.to_numpy(), np.float32)


def _was_flagged(table: pa.Table) -> npt.NDArray[np.bool_]:
    return np.asarray(table["was_flagged"].to_numpy(), bool)


def status(audit: PublishedAudit) -> ReviewStatus:
    """Return the status of the review of an audit.

    Raises:
        ReviewError: if a stored verdict or sample cannot be read.
    """
    verdicts, samples = read_verdicts(audit.store, audit.dataset), read_samples(audit.store, audit.dataset)
    snapshot = ReviewSnapshot.of(verdicts, samples, audit.fingerprint)
    rows = audit.table(EXAMPLES_FILE, EXAMPLES, ["example_id", "content_digest", "given_label", "status"])
    row_verdicts = snapshot.for_rows(
        *(rows[name].to_pylist() for name in ("example_id", "content_digest", "given_label"))
    )
    is_scored = pc.equal(rows["status"], Status.SCORED.value).to_numpy(zero_copy_only=False)
    table = scored_table(audit)
    answers = [snapshot.answers.get(row) for row in labeled_examples(table.filter(table["was_flagged"]))]
    dismissed = sum(answer is not None and answer.verdict == Decision.FINE for answer in answers)
    return ReviewStatus(
        dataset=audit.dataset,
        version=audit.version,
        audit_id=audit.audit_id,
        flagged=len(answers),
        flagged_judged=sum(answer is not None for answer in answers),
        findings=snapshot.findings(
            row_verdicts, dismissed=dismissed, scored_to_remove=int((row_verdicts.is_removed & is_scored).sum())
        ),
        sample=_sample_status(samples, current(verdicts), audit.fingerprint),
        reviewers={reviewer: len(given) for reviewer, given in sorted(current_by_reviewer(verdicts).items()) if given},
        disagreements=disagreements(verdicts),
    )


def scored_table(audit: PublishedAudit, *more: str) -> pa.Table:
    """Return the scored rows sorted by id: what identifies them, `was_flagged` (by the detector), and more columns."""
    table = _table_with_flags(audit, *more)
    return table.filter(pc.equal(table["status"], Status.SCORED.value))


def _table_with_flags(audit: PublishedAudit, *more: str) -> pa.Table:
    columns = ["example_id", "given_label", "content_digest", "status", "is_label_issue", "is_dismissed", *more]
    table = audit.table(EXAMPLES_FILE, EXAMPLES, columns)
    return table.append_column("was_flagged", pc.or_(table["is_label_issue"], table["is_dismissed"]))


def audited_examples(audit: PublishedAudit, example_ids: Sequence[str]) -> dict[str, AuditedExample]:
    """Return the rows with these ids. Rows without a label, and those that share their id, are left out.

    If an id is shared by equal rows, the scored one stands for them.
    """
    table = _table_with_flags(audit)
    ids = pa.array(filter(is_utf8, example_ids), pa.string())
    is_decidable = pc.and_(pc.is_valid(table["given_label"]), pc.not_equal(table["status"], Status.DUPLICATE_ID.value))
    table = table.filter(pc.and_(pc.is_in(table["example_id"], ids), is_decidable))
    others = (table["was_flagged"].to_pylist(), table["status"].to_pylist())
    return {
        example.example_id: AuditedExample(example, bool(was_flagged), status == Status.SCORED)
        for example, was_flagged, status in zip(labeled_examples(table), *others, strict=True)
    }


def class_names(audit: PublishedAudit) -> list[str]:
    """Return the names of all classes of the audit, sorted, with those that were set aside."""
    return sorted(audit.table("classes.parquet", CLASSES, ["class_name"])["class_name"].to_pylist())


def labeled_examples(table: pa.Table) -> list[LabeledExample]:
    """Return what verdicts on the rows of a table are about."""
    columns = (table[name].to_pylist() for name in LabeledExample._fields)
    return [LabeledExample(*row) for row in zip(*columns, strict=True)]


def _sample_status(
    samples: Sequence[Sample], reviewed: Mapping[LabeledExample, Verdict], fingerprint: str
) -> SampleStatus | None:
    if not samples:
        return None
    sample = max(samples, key=lambda sample: (sample.fingerprint == fingerprint, sample.created_at))
    return SampleStatus(sample.audit_id, sample.version, progress(sample, reviewed))
