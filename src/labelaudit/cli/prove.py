"""`labelaudit prove`: train the folds of an audit again on cleaned labels, and compare on judged rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from labelaudit.audit import DirectCaller, StepCaller, encode_missing_rows
from labelaudit.audits.published import PublishedAudit
from labelaudit.cli.console import say, show, show_json
from labelaudit.cli.outcome import ConsoleProgress
from labelaudit.cli.review import AuditTarget
from labelaudit.local.machine import total_folds
from labelaudit.pipeline.retraining import (
    Retraining,
    plan_retraining,
    plan_to_repeat,
    published_predictions,
    retrained_predictions,
)
from labelaudit.reviews.clean_labels import CleaningRules
from labelaudit.reviews.files import clean_rows
from labelaudit.reviews.proof import JudgedRows, PairedAccuracy, Proof, judged_rows, paired_accuracy, store_proof
from labelaudit.reviews.sample_store import read_samples
from labelaudit.reviews.snapshot import ReviewSnapshot
from labelaudit.reviews.verdict_store import read_verdicts
from labelaudit.schemas import EXAMPLES, Status


def prove_command(target: AuditTarget, *, rules: CleaningRules, as_json: bool) -> None:
    """Compare models of the given and of the cleaned labels, print the result and store it."""
    audit = target.open()
    proof, url = prove_cleaning(audit, rules, DirectCaller(ConsoleProgress()))
    first, *others = proof.sentences
    say(first, bold=True)
    for sentence in others:
        say(sentence)
    if as_json:
        show_json({**json.loads(proof.to_json()), "stored_at": url})
    else:
        show(url)


def prove_cleaning(audit: PublishedAudit, rules: CleaningRules, caller: StepCaller) -> tuple[Proof, str]:
    """Train the folds of an audit again on cleaned labels; return what this showed, and the URL of the stored result.

    Raises:
        ReviewError: if there are too few verdicts, or the audit cannot be trained again.
    """
    plan = plan_to_repeat(audit)
    # Before anything is trained, which may take long.
    judged = _judged_rows(audit, plan.class_names)
    retraining = plan_retraining(audit, plan, clean_rows(audit, rules), audit.store.options)
    say(f"{len(judged):,} judged rows; training on {retraining.training_rows:,} cleaned labels")
    after = _trained_again(retraining, judged.positions, caller)
    before = published_predictions(audit, retraining, judged.positions)
    proof = _proof(audit, rules, retraining, judged, before == judged.labels, after == judged.labels)
    return proof, audit.store.url_of(store_proof(audit.store, proof, retraining.digest))


def _judged_rows(audit: PublishedAudit, class_names: Sequence[str]) -> JudgedRows:
    scored = audit.table("examples.parquet", EXAMPLES, ["example_id", "content_digest", "given_label", "status"])
    scored = scored.filter(pc.equal(scored["status"], Status.SCORED.value))
    verdicts, samples = read_verdicts(audit.store, audit.dataset), read_samples(audit.store, audit.dataset)
    return judged_rows(scored, ReviewSnapshot.of(verdicts, samples, audit.fingerprint), class_names)


def _trained_again(
    retraining: Retraining, positions: npt.NDArray[np.int64], caller: StepCaller
) -> npt.NDArray[np.int64]:
    """Train on this machine, even if the audit used other workers, and return the predicted classes."""
    config = retraining.plan.config
    workers = config.workers.model_copy(update={"kind": "local"})
    config = config.model_copy(update={"workers": workers})
    # What was guessed and left out is known from the audit.
    caller.progress.prepared(replace(retraining.plan, columns=None, left_out=(), warnings=()))
    try:
        if retraining.plan.encoder is not None:
            encode_missing_rows(config, caller, retraining.reference)
        folds = caller.train_folds(config, retraining.reference, list(range(total_folds(config))))
    finally:
        caller.end_workers()
    return retrained_predictions(retraining, folds, positions)


def _proof(
    audit: PublishedAudit,
    rules: CleaningRules,
    retraining: Retraining,
    judged: JudgedRows,
    before: npt.NDArray[np.bool_],
    after: npt.NDArray[np.bool_],
) -> Proof:
    return Proof(
        audit_url=audit.url,
        dataset=audit.dataset,
        version=audit.version,
        audit_id=audit.audit_id,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        relabel_above=rules.relabel_above,
        remove_above=rules.remove_above,
        actions=retraining.actions,
        training_rows=retraining.training_rows,
        reviewed=paired_accuracy(before, after),
        sampled=_on_sample(judged, before, after),
        other_labels=judged.other_labels,
    )


def _on_sample(
    judged: JudgedRows, before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]
) -> PairedAccuracy | None:
    sample = judged.sample
    if sample is None:
        return None
    return paired_accuracy(before[sample.positions], after[sample.positions], sample.weights)
