"""What to do with every row of a version before a model is trained on it: keep, relabel, remove, or decide first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import JsonObject, to_record
from labelaudit.errors import ReviewError
from labelaudit.reviews.snapshot import RowVerdicts
from labelaudit.reviews.suggestions import SUGGESTED_FROM, suggested_labels
from labelaudit.schemas import STATUS_MEANINGS, Decision, Status
from labelaudit.shares import percent

# The columns of EXAMPLES that decide what to do.
CLEANED_FROM = (
    *SUGGESTED_FROM,
    *("is_dismissed", "p_wrong", "p_wrong_without_verdicts", "content_digest"),
)
# A class that keeps less than this part of its share is named in a warning.
LEAST_KEPT_SHARE = 0.75
NAMED_CLASSES = 5


class Action(StrEnum):
    """What to do with a row."""

    KEEP = "keep"
    RELABEL = "relabel"
    REMOVE = "remove"
    UNSURE = "unsure"  # a person should decide; until then, train without the row


CLEAN = pa.schema(
    [
        ("example_id", pa.string()),
        ("label", pa.string()),  # the label to train with; null if the row is to be removed or has no label
        ("action", pa.string()),  # an Action
        ("reason", pa.string()),  # why, in a few words; of a removal by a reviewer, the reason that the reviewer gave
        ("p_wrong", pa.float32()),  # as in EXAMPLES
        ("given_label", pa.string()),
    ]
)


@dataclass(frozen=True)
class CleaningRules:
    """From which p_wrong rows without a verdict are relabeled or removed. None: never.

    Raises:
        ReviewError: if rows would be removed from a lower p_wrong than they are relabeled.
    """

    relabel_above: float | None = None
    remove_above: float | None = None

    def __post_init__(self) -> None:
        if self.relabel_above is not None and self.remove_above is not None and self.remove_above <= self.relabel_above:
            raise ReviewError(
                f"--remove-above {self.remove_above:g} removes every row that --relabel-above {self.relabel_above:g} "
                "relabels. Give --remove-above the higher value, or leave one of them out."
            )

    @property
    def has_limits(self) -> bool:
        return self.relabel_above is not None or self.remove_above is not None


@dataclass(frozen=True)
class ClassEffect:
    """The rows with a label, and their share of all labeled rows: in the version, and after cleaning."""

    class_name: str
    rows_before: int
    rows_after: int
    share_before: float
    share_after: float


@dataclass(frozen=True)
class CleaningEffect:
    """What cleaning does to a version: rows by action, and the classes of the rows to train with (keep, relabel)."""

    actions: dict[str, int]
    classes: tuple[ClassEffect, ...]  # sorted by name
    warnings: tuple[str, ...]

    def to_record(self) -> JsonObject:
        """Return JSON-able values."""
        return to_record(self)


@dataclass(frozen=True)
class _Choice:
    """What to do with some of the N rows, and why."""

    rows: npt.NDArray[np.bool_]  # (N,)
    action: Action
    reason: str


def clean_table(
    examples: pa.Table,
    issues: pa.Table,
    verdicts: RowVerdicts,
    rules: CleaningRules,
    consensus: pa.Table | None = None,
) -> pa.Table:
    """Return what to do with each of the N rows: CLEAN, in the order of the rows.

    A verdict decides: wrong: relabel, fine: keep, ambiguous: unsure, remove: remove. Without one, a flagged row is
    unsure and another one is kept, unless its p_wrong reaches a limit of the rules. A row is relabeled only if the
    models, together with the answers of annotators, suggest another label. Rows of rare classes are kept. Unlabeled and
    unreadable rows and rows with the id of another one are unsure, unless a reviewer wants to remove them.

    Args:
        examples: EXAMPLES, at least its columns CLEANED_FROM.
        issues: ISSUES, at least its columns `suggestions.ISSUES_NEEDED`.
        verdicts: what reviewers decided about the N rows.
        rules: from which p_wrong on rows without a verdict are changed.
        consensus: CONSENSUS, at least its columns `suggestions.CONSENSUS_NEEDED`; None without answers of annotators.

    Raises:
        ReviewError: if the rules need p_wrong, and the audit is of a release that had none.
    """
    suggested = suggested_labels(examples, issues, consensus)
    choices = _choices(examples, pc.is_valid(suggested), verdicts, rules)
    number = np.zeros(len(examples), np.int64)
    # Later choices replace earlier ones.
    for position, choice in enumerate(choices):
        number[choice.rows] = position
    actions = pa.array([choice.action.value for choice in choices], pa.string()).take(pa.array(number))
    reasons = pa.array([choice.reason for choice in choices], pa.string()).take(pa.array(number))
    given, removed = examples["given_label"], pc.equal(actions, Action.REMOVE.value)
    right = pa.array(verdicts.right_labels, pa.string())
    label = pc.if_else(pc.equal(actions, Action.RELABEL.value), pc.coalesce(right, suggested), given)
    columns = {
        "example_id": examples["example_id"],
        "label": pc.if_else(removed, pa.scalar(None, pa.string()), label),
        "action": actions,
        "reason": pc.coalesce(pa.array(verdicts.remove_reasons, pa.string()), reasons),
        "p_wrong": examples["p_wrong"],
        "given_label": given,
    }
    return pa.table([columns[name] for name in CLEAN.names], schema=CLEAN)


def _p_wrong_now(examples: pa.Table, verdicts: RowVerdicts) -> pa.ChunkedArray:
    """Return p_wrong; for rows whose verdict was taken back since the audit, what the model alone says."""
    is_undecided = pc.is_null(pa.array(verdicts.verdicts, pa.string()))
    is_taken_back = pc.and_(is_undecided, pc.is_valid(examples["verdict"]))
    return pc.if_else(is_taken_back, examples["p_wrong_without_verdicts"], examples["p_wrong"])


def _choices(
    examples: pa.Table, has_suggestion: pa.ChunkedArray, verdicts: RowVerdicts, rules: CleaningRules
) -> list[_Choice]:
    """Return what may be done with rows; later choices replace earlier ones."""
    # Limits are compared in the precision of the table, so that 0.7 is not below 0.7.
    p_wrong = np.asarray(pc.fill_null(_p_wrong_now(examples, verdicts), -1.0).to_numpy(), np.float32)
    is_scored = _mask(pc.equal(examples["status"], Status.SCORED.value))
    if rules.has_limits and is_scored.any() and (p_wrong[is_scored] < 0).all():
        raise ReviewError(
            "The audit is of an earlier release and has no p_wrong. Audit the version again, or leave out "
            "--relabel-above and --remove-above."
        )
    is_flagged = _mask(examples["is_label_issue"]) | _mask(examples["is_dismissed"])
    choices = [
        _Choice(np.ones(len(examples), bool), Action.KEEP, "not flagged"),
        _Choice(is_flagged, Action.UNSURE, "flagged, not reviewed"),
    ]
    if rules.relabel_above is not None:
        rows = (p_wrong >= np.float32(rules.relabel_above)) & _mask(has_suggestion)
        choices.append(_Choice(rows, Action.RELABEL, f"p_wrong is at least {rules.relabel_above:g}"))
    if rules.remove_above is not None:
        rows = p_wrong >= np.float32(rules.remove_above)
        choices.append(_Choice(rows, Action.REMOVE, f"p_wrong is at least {rules.remove_above:g}"))
    by_status = {status: _mask(pc.equal(examples["status"], status.value)) for status in Status}
    decided = {decision: np.asarray(verdicts.verdicts == decision.value, bool) for decision in Decision}
    return [
        *choices,
        _Choice(by_status[Status.RARE_CLASS], Action.KEEP, STATUS_MEANINGS[Status.RARE_CLASS]),
        _Choice(decided[Decision.FINE], Action.KEEP, "judged fine"),
        _Choice(decided[Decision.WRONG], Action.RELABEL, "judged wrong"),
        _Choice(decided[Decision.AMBIGUOUS], Action.UNSURE, "judged ambiguous"),
        *(
            _Choice(by_status[status], Action.UNSURE, STATUS_MEANINGS[status])
            for status in (Status.UNLABELED, Status.UNREADABLE, Status.DUPLICATE_ID)
        ),
        _Choice(decided[Decision.REMOVE], Action.REMOVE, "judged: remove"),
    ]


def _mask(values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)


def cleaning_effect(clean: pa.Table) -> CleaningEffect:
    """Return what a CLEAN table does to the version."""
    is_trained = pc.is_in(clean["action"], pa.array([Action.KEEP, Action.RELABEL], pa.string()))
    before, after = _counts(clean["given_label"]), _counts(clean.filter(is_trained)["label"])
    actions = _counts(clean["action"])
    totals = max(1, sum(before.values())), max(1, sum(after.values()))
    classes = tuple(
        ClassEffect(
            name,
            before.get(name, 0),
            after.get(name, 0),
            before.get(name, 0) / totals[0],
            after.get(name, 0) / totals[1],
        )
        for name in sorted({*before, *after})
    )
    return CleaningEffect({action.value: actions.get(action, 0) for action in Action}, classes, _warnings(classes))


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(column.drop_null()).to_pylist()
    return {count["values"]: count["counts"] for count in counted}


def _warnings(classes: Sequence[ClassEffect]) -> tuple[str, ...]:
    gone = [one for one in classes if not one.rows_after]
    smaller = [one for one in classes if one.rows_after and one.share_after < LEAST_KEPT_SHARE * one.share_before]
    smaller.sort(key=lambda one: one.share_after / one.share_before)
    return (
        *(
            f"No row is left to train the class {one.class_name!r}: all {one.rows_before:,} are relabeled, removed or "
            "unsure."
            for one in gone[:NAMED_CLASSES]
        ),
        *(
            f"The share of the class {one.class_name!r} falls from {percent(one.share_before)} to "
            f"{percent(one.share_after)}."
            for one in smaller[:NAMED_CLASSES]
        ),
        *(
            f"{count - NAMED_CLASSES:,} more classes {what}."
            for count, what in ((len(gone), "have no rows left"), (len(smaller), "lose as much"))
            if count > NAMED_CLASSES
        ),
    )
