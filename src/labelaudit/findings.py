"""The results of an audit as values: gate, canaries, review, and the summary that contains them all.

`summary.json` is a `Summary` as JSON. Fields with a default are missing from summaries of earlier releases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from labelaudit.audit_changes import Changes
from labelaudit.codec import Json, formerly
from labelaudit.schemas import Decision
from labelaudit.slice_findings import Slices


@dataclass(frozen=True)
class LeftOut:
    """Files, columns, classes or rows that are not audited, for one reason: their number and the first names."""

    kind: str  # file, column, class or row
    reason: str  # such as "ignored by the config"; it follows "left out: "
    count: int
    names: tuple[str, ...]  # the first SHOWN_NAMES

    @property
    def sentence(self) -> str:
        """What is left out and why, such as `2 columns (a, b): ignored by the config`."""
        kinds = self.kind if self.count == 1 else _PLURALS[self.kind]
        more = self.count - len(self.names)
        names = ", ".join(self.names) + (f" and {more:,} more" if more > 0 else "")
        return f"{self.count:,} {kinds} ({names}): {self.reason}"


_PLURALS = {"file": "files", "column": "columns", "class": "classes", "row": "rows"}
# Names of a group of left-out things. The count says how many there are.
SHOWN_NAMES = 5


class Outcome(StrEnum):
    """The outcome of one rule of the gate."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MEASURED = "not measured"
    WARNED = "warned"  # undecided: the predecessor cannot be compared, or the limit is inside an error range


class GateVerdict(StrEnum):
    """The outcome of all rules together."""

    PASSED = "passed"
    WARNED = "warned"  # a rule is broken but there is no predecessor, or the predecessor cannot be compared
    FAILED = "failed"


@dataclass(frozen=True)
class Rule:
    """One rule of the gate: the measured value, the limit, the outcome, and a sentence for people."""

    rule: str
    measured: float | None
    limit: float
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class Gate:
    """The verdict of the gate, as a value and as a sentence, and its rules."""

    verdict: GateVerdict
    sentence: str
    rules: tuple[Rule, ...]

    @property
    def broken_rules(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.outcome == Outcome.FAILED)


@dataclass(frozen=True)
class Recall:
    """The share of canaries that were caught, with its 95 % interval."""

    planted: int
    caught: int
    recall: float
    low: float
    high: float


@dataclass(frozen=True)
class CanaryRecall(Recall):
    """The recall of all canaries, and of each kind (`detection.canaries.Flip`)."""

    random: Recall | None
    likely: Recall | None


@dataclass(frozen=True)
class Estimate:
    """A share and its limits, each 0..1."""

    estimate: float
    low: float
    high: float


class RateBasis(StrEnum):
    """What an error range rests on."""

    PROBABILITIES = "probabilities"  # out-of-fold probabilities only, so the range has no stated confidence
    VERDICTS = "verdicts"  # a random sample of this version that people judged: a 95 % interval
    EARLIER_RELEASE = "earlier_release"  # an audit of an earlier release: one number, so low and high equal it


@dataclass(frozen=True)
class ErrorRange(Estimate):
    """The share of wrong labels among the scored rows: the best single number, and the range that it may be in."""

    basis: RateBasis

    @property
    def is_single(self) -> bool:
        """Whether it is only a number, without a range."""
        return self.basis == RateBasis.EARLIER_RELEASE


def _range_of_earlier_release(value: Json) -> Json:
    """Return the record of an `ErrorRange`. Earlier releases stored a number in its place."""
    if not isinstance(value, int | float):
        return value
    return {"estimate": value, "low": value, "high": value, "basis": RateBasis.EARLIER_RELEASE.value}


_FORMERLY_A_NUMBER = formerly("error_range", "estimated_error_rate", _range_of_earlier_release)


class NoiseKind(StrEnum):
    """How label errors depend on the examples, which decides how flags are chosen."""

    HARD_EXAMPLES = "hard_examples"  # people confuse what looks alike: fewer errors among the confident rows
    ANY_EXAMPLES = "any_examples"  # labels are exchanged regardless of the example: as many errors on easy rows
    UNKNOWN = "unknown"  # too few rows or too weak a model to decide


@dataclass(frozen=True)
class Noise:
    """The kind of label noise, and the evidence for it."""

    kind: NoiseKind
    certainty: float  # 0.5..1, the probability that the kind is right
    sentence: str  # for people: the kind, the evidence and what is assumed


@dataclass(frozen=True)
class Promise:
    """What the config promises about the flags: the share of them that is wrong, or the share of errors among them."""

    precision: float | None = None
    recall: float | None = None


@dataclass(frozen=True)
class JudgedFlags(Estimate):
    """The share of wrong labels among the flags judged wrong or fine, and the number of verdicts."""

    wrong: int
    fine: int
    ambiguous: int
    remove: int = 0


@dataclass(frozen=True)
class Precision(JudgedFlags):
    """Precision over all judged flags, and over those of a random sample."""

    random: JudgedFlags | None = None


@dataclass(frozen=True)
class StratumProgress:
    """The progress in one stratum of a sample. Verdicts count up to the first sampled row without one."""

    name: str
    rows: int
    sampled: int
    judged: int
    wrong: int
    fine: int
    ambiguous: int
    remove: int = 0


@dataclass(frozen=True)
class ErrorRate(Estimate):
    """The share of wrong labels among the scored rows of a sampled audit, without those that are to be removed."""

    confidence: float
    with_ambiguous: Estimate | None  # the same, with ambiguous labels counted as wrong
    version: str
    audit_id: str
    fingerprint: str
    seed: int
    sampled_at: str  # ISO 8601, UTC
    strata: tuple[StratumProgress, ...]
    same_version: bool  # whether the sample is of the audited version


@dataclass(frozen=True)
class Review:
    """The verdicts on a version, and what they measure.

    `verdicts` counts the verdicts that apply by `schemas.Decision`. `ended` counts those that expired because content
    or label changed. `dismissed` counts rows that the detector flagged but people judged fine. `known_wrong` counts
    rows whose label was judged wrong and has not changed. `to_remove` counts the contents of the dataset that people
    want to remove; `verdicts` says how many of them are in the version.
    """

    verdicts: dict[str, int]
    ended: int
    dismissed: int
    known_wrong: int
    precision: Precision | None
    error_rate: ErrorRate | None
    to_remove: int = 0
    scored_to_remove: int = 0  # scored rows of the version that are to be removed

    @property
    def removal_sentence(self) -> str | None:
        """How many rows are to be removed, and how many of them are still in the version; None if there are none."""
        if not self.to_remove:
            return None
        still = self.verdicts.get(Decision.REMOVE, 0)
        are = "1 row is" if self.to_remove == 1 else f"{self.to_remove:,} rows are"
        if self.to_remove == still:
            return f"{are} to be removed, and still in this version."
        left = f"{still:,}" if still else "none"
        return f"{are} to be removed; {left} {'is' if still in (0, 1) else 'are'} still in this version."


@dataclass(frozen=True)
class Findings:
    """The results of detection; None for a section that does not apply.

    `issues` are flagged rows; `error_range` is the share of wrong labels among the scored rows; `flag_precision` is the
    expected share of flags that are wrong, 0..1, and None if nothing is flagged; `cut` is the lowest `p_wrong` that is
    flagged, and None if a filter of cleanlab chose the flags; `promise` is None unless the config has one; `notes` are
    sentences for people; `duplicates` and `quality` are None for external probabilities, `outliers` without features,
    `annotators` without answers of annotators, and `slices` if the config names none.
    """

    issues: int
    error_range: ErrorRange
    noise: Noise
    flag_precision: float | None
    cut: float | None = None
    promise: Promise | None = None
    notes: tuple[str, ...] = ()
    changes: Changes | None = None
    canaries: CanaryRecall | None = None
    gate: Gate | None = None
    review: Review | None = None
    duplicates: Duplicates | None = None
    outliers: Outliers | None = None
    annotators: Annotators | None = None
    slices: Slices | None = None
    quality: QualityFound | None = None


@dataclass(frozen=True)
class Encoding:
    """What was encoded for an audit. Rows with the same content count once."""

    encoder: str
    rows: int  # encoded for this audit
    stored: int  # rows whose features were stored already, by earlier audits

    @property
    def sentence(self) -> str:
        total = self.rows + self.stored
        if not self.rows:
            return f"The features of all {total:,} different contents were stored by earlier audits."
        reused = "" if not self.stored else f" Earlier audits have stored the features of the other {self.stored:,}."
        return f"This audit encoded {self.rows:,} of {total:,} different contents with {self.encoder}.{reused}"


@dataclass(frozen=True)
class Duplicates:
    """Clusters of copies and near-copies, as in `duplicates.parquet`."""

    clusters: int
    rows: int  # in all clusters
    exact_rows: int  # that equal another row
    conflicts: int  # clusters with several labels, even after the corrections of reviewers
    conflicting_rows: int  # in these
    leaks: int  # clusters that are in several splits
    leaked_rows: int  # in these


@dataclass(frozen=True)
class Outliers:
    """Rows that are unlike all others, as in `outliers.parquet`, without those that are to be removed."""

    rows: int
    undecided: int  # of these, rows without a verdict
    cut: float | None  # all of them have a higher outlier_score; None if no cut could be found


@dataclass(frozen=True)
class Annotators:
    """The answers of several annotators, as in `annotators.parquet` and `consensus.parquet`."""

    annotators: int
    answers: int  # to `rows`
    rows: int  # scored rows with answers, without those that are to be removed
    other_labels: int  # rows whose consensus is not the given label
    disputed: int  # rows on which all annotators agree, but not the model
    quality: float  # mean over answers, 0..1
    below_average: int  # annotators whose interval is below it
    are_labels_answers: bool  # the given labels are the majority of the answers
    to_removed_rows: int = 0  # answers that do not count, because their rows are to be removed


@dataclass(frozen=True)
class LabelRelation:
    """A measure of the inputs that predicts a class, so that a model can use it in place of their contents.

    Attributes:
        measure: such as brightness (docs/quality.md).
        is_low: whether low values predict the class, otherwise high ones.
        class_name: the class.
        pairs: share of the pairs of a row of the class and another row in which the former is lower (higher), 0.5..1.
        low, high: 95 % interval of `pairs`.
        tail: share of all rows with the lowest (highest) values that `share` is about, about 0.1.
        share: share of the class's rows that have these values.
        share_of_others: share of the other rows that have them.
    """

    measure: str
    is_low: bool
    class_name: str
    pairs: float
    low: float
    high: float
    tail: float
    share: float
    share_of_others: float


@dataclass(frozen=True)
class QualityFound:
    """Rows whose inputs are hard to use, as in `quality.parquet`, and measures that predict labels.

    Attributes:
        rows: with at least one issue.
        flagged: of these, flagged ones.
        issues: rows by kind (`schemas.InputIssue`), without zeros.
        normal: kinds that too many inputs have to be issues of single rows, with their shares.
        relations: the strongest first.
    """

    rows: int
    flagged: int
    issues: dict[str, int]
    normal: dict[str, float]
    relations: tuple[LabelRelation, ...]


@dataclass(frozen=True)
class ClassSummary:
    """A row of `classes.parquet`, with its columns. A rare class has no measures."""

    class_name: str
    status: str
    examples: int
    label_issues: int | None
    inverse_label_issues: int | None
    label_noise: float | None
    inverse_label_noise: float | None
    label_quality_score: float | None
    mean_label_score: float | None


@dataclass(frozen=True)
class ConfusionSummary:
    """A row of `confusions.parquet`, with its columns."""

    given_label: str
    suggested_label: str
    examples: int
    estimated_examples: float
    share_of_given: float


def staying_rows(scored: int, review: Review | None) -> int:
    """Return how many scored rows count: without those that people want to remove, unless none would be left."""
    return scored - (0 if review is None else review.scored_to_remove) or scored


@dataclass(frozen=True)
class Summary:
    """The summary of an audit, as in `summary.json`.

    `verdict` is one sentence. `examples` counts all rows. `statuses` counts rows by status, without zeros. `classes`
    and `confusions` are the worst ones. The rest is as in `Findings`; `noise` is None in audits of earlier releases.
    """

    audit_url: str
    dataset: str
    version: str
    fingerprint: str
    status: str
    verdict: str
    examples: int
    scored: int
    issues: int
    error_range: Annotated[ErrorRange, *_FORMERLY_A_NUMBER]
    statuses: dict[str, int]
    classes: tuple[ClassSummary, ...]
    confusions: tuple[ConfusionSummary, ...]
    notes: tuple[str, ...]
    schema_version: str = ""
    changes: Changes | None = None
    canaries: CanaryRecall | None = None
    gate: Gate | None = None
    review: Review | None = None
    left_out: tuple[LeftOut, ...] = ()
    noise: Noise | None = None
    flag_precision: float | None = None
    cut: float | None = None
    promise: Promise | None = None
    encoding: Encoding | None = None  # None if no view needs an encoder
    duplicates: Duplicates | None = None  # None for external probabilities and audits of earlier releases
    outliers: Outliers | None = None  # None without features, with too few rows, and in audits of earlier releases
    annotators: Annotators | None = None  # None without answers of annotators
    slices: Slices | None = None  # None if the config names no slices
    quality: QualityFound | None = None  # None as for `duplicates`

    @property
    def staying(self) -> int:
        """How many scored rows count, such as those that the flags are a share of."""
        return staying_rows(self.scored, self.review)
