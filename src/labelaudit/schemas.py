"""The table contract: statuses, and the schema of every Parquet file of a published audit.

Columns are flat, so that DuckDB, Athena and dashboards can read them directly. Every file has `schema_version` in its
Arrow metadata. The version changes if a column changes its name, type or meaning.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Literal, get_args

import pyarrow as pa

SCHEMA_VERSION = "2"
# The kind of input; auto: detected from the data.
InputKind = Literal["auto", "image", "text", "vector", "table"]
INPUT_KINDS: tuple[str, ...] = get_args(InputKind)
# A model family that produces out-of-fold probabilities, in the order of reports.
ViewName = Literal["network", "probe", "neighbours"]
VIEWS: tuple[ViewName, ...] = get_args(ViewName)
BLEND = "blend"  # what tables call the blend of several views
VIEW_MEANINGS: dict[str, str] = {
    "network": "a network that is trained on this dataset alone",
    "probe": "a linear model on the features of the encoder, or on vectors",
    "neighbours": "the labels of the nearest rows in the space of these features",
    BLEND: "the calibrated views together, used for everything else on this page",
}
# Methods to find label issues: our own, and cleanlab's with cleanlab's names.
Filter = Literal[
    "auto",
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
]
FILTERS: tuple[str, ...] = get_args(Filter)
AUTO_FILTER: Filter = "auto"
CLEANLAB_FILTERS: tuple[str, ...] = tuple(name for name in FILTERS if name != AUTO_FILTER)


class Status(StrEnum):
    """The status of one row of a dataset version. Every row has exactly one."""

    SCORED = "scored"
    RARE_CLASS = "rare_class"
    UNLABELED = "unlabeled"
    UNREADABLE = "unreadable"
    DUPLICATE_ID = "duplicate_id"


STATUS_MEANINGS = {
    Status.SCORED: "predicted by a model that was not trained on it",
    Status.RARE_CLASS: "its class has fewer rows than folds",
    Status.UNLABELED: "the row has no label",
    Status.UNREADABLE: "the input is missing or could not be decoded",
    Status.DUPLICATE_ID: "another row has the same id",
}


class Decision(StrEnum):
    """A person's decision about an example: about its label, or that it should not be in the dataset."""

    WRONG = "wrong"  # always with the right label
    FINE = "fine"
    AMBIGUOUS = "ambiguous"
    REMOVE = "remove"  # always with a reason; about the content, under any label


class RemoveReason(StrEnum):
    """The offered reasons to remove an example. Reviewers may write another one in files."""

    OFF_TOPIC = "off-topic"  # it shows none of the classes
    SEVERAL_CLASSES = "several-classes"  # it shows more than one of them
    BROKEN = "broken"  # damaged, empty, blurred beyond recognition
    PRIVATE = "private"  # it must not be used, such as personal data
    OTHER = "other"


class InputIssue(StrEnum):
    """What makes an input hard to use, with any label (`labelaudit.quality.input_issues`)."""

    DARK = "dark"
    BRIGHT = "bright"
    BLURRED = "blurred"
    LOW_INFORMATION = "low_information"
    ODD_ASPECT_RATIO = "odd_aspect_ratio"
    ODD_SIZE = "odd_size"
    NEAR_EMPTY = "near_empty"
    OTHER_SCRIPT = "other_script"
    OTHER_LANGUAGE = "other_language"
    MOSTLY_MISSING = "mostly_missing"
    CONSTANT = "constant"


INPUT_ISSUE_MEANINGS = {
    InputIssue.DARK: "even the brightest parts are dark",
    InputIssue.BRIGHT: "nearly all of it is white",
    InputIssue.BLURRED: "edges are at least twice as wide as usual",
    InputIssue.LOW_INFORMATION: "a single colour, or very few shades",
    InputIssue.ODD_ASPECT_RATIO: "at least three times as wide or as high as usual",
    InputIssue.ODD_SIZE: "sides at least four times as short or as long as usual",
    InputIssue.NEAR_EMPTY: "hardly any letters",
    InputIssue.OTHER_SCRIPT: "in a script that few other texts have",
    InputIssue.OTHER_LANGUAGE: "in another language than the others, or no prose",
    InputIssue.MOSTLY_MISSING: "more columns are missing than usual, and at least half",
    InputIssue.CONSTANT: "all numbers are equal",
}


class IssueChange(StrEnum):
    """What happened to a flag since the previous audit. Every row that is or was flagged has exactly one.

    `labelaudit.report.changes` describes these values and those of `DataChange`.
    """

    NEW = "new"
    FIXED = "fixed"
    GONE = "gone"
    DISMISSED = "dismissed"
    PERSISTENT = "persistent"
    FLAPPING = "flapping"


class DataChange(StrEnum):
    """What happened to a row of the dataset since the previous version."""

    ADDED = "added"
    REMOVED = "removed"
    RELABELED = "relabeled"
    REPLACED = "replaced"


# Columns of EXAMPLES that are added for `dataset.slices` begin with this.
SLICE_PREFIX = "slice_"
# The value of rows that have none.
MISSING_SLICE = "missing"


class SliceState(StrEnum):
    """How a value of a column in `dataset.slices` changed since another audit."""

    WORSE = "worse"  # worse than the others now, and it was not; or worse than before, beyond chance
    BETTER = "better"
    NEW = "new"  # the other audit has no rows with it
    GONE = "gone"


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(fields, metadata={"schema_version": SCHEMA_VERSION})


# Every row of the version, ordered by example_id. Score columns are null unless status is `scored`.
EXAMPLES = _schema(
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("status", pa.string()),
    ("fold", pa.int16()),
    ("predicted_label", pa.string()),
    ("label_score", pa.float64()),
    ("is_label_issue", pa.bool_()),
    ("p_given", pa.float32()),
    ("p_predicted", pa.float32()),
    ("margin", pa.float32()),  # p_given minus the largest other probability, -1..1
    ("file", pa.string()),  # relative to the dataset's URL
    ("row", pa.int64()),  # position in the file, from 0
    ("content_digest", pa.string()),  # of the input only, without id and label
    ("verdict", pa.string()),  # a Decision on this content and label
    ("right_label", pa.string()),  # null unless the verdict is `wrong`
    # Flagged by the detector, but judged fine or to be removed, so is_label_issue is false.
    ("is_dismissed", pa.bool_()),
    ("split", pa.string()),  # train, test, …; null if the dataset has no splits
    # Calibrated probability that the given label is wrong, 0..1. 1 or 0 if a person judged it wrong or fine.
    ("p_wrong", pa.float32()),
    # p_wrong as the model sees it, before any verdict. Random samples are stratified by it.
    ("p_wrong_without_verdicts", pa.float32()),
    # Means over the trainings that saw the row (`labelaudit.row_dynamics`). Null for external probabilities.
    ("dynamics_margin", pa.float32()),  # logit of the given label minus the largest other one
    ("dynamics_p_given", pa.float32()),  # probability of the given label in training, 0..1
    ("dynamics_spread", pa.float32()),  # standard deviation of that probability over the epochs, 0..0.5
    ("dynamics_epochs", pa.float32()),  # share of the epochs before the given label was first predicted, 0..1
    # How many views predict the same other label than the given one; the mean over repeats. Null if there is one view.
    ("views_agree", pa.float32()),
    # Distance from the nearest other rows in the space of features, relative to the usual one (docs/outliers.md). Null
    # if there are no features, or too few rows.
    ("outlier_score", pa.float32()),
    # What makes the input hard to use: values of InputIssue with ", " between them; null if nothing does.
    ("input_issues", pa.string()),
    ("remove_reason", pa.string()),  # a RemoveReason or another text; null unless the verdict is `remove`
)

# Flagged rows, the highest p_wrong first; ties by label_score, then by example_id.
ISSUES = _schema(
    ("rank", pa.int64()),  # from 1
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("suggested_label", pa.string()),
    ("label_score", pa.float64()),
    ("p_given", pa.float32()),
    ("p_suggested", pa.float32()),
    ("margin", pa.float32()),
    ("fold", pa.int16()),
    ("file", pa.string()),
    ("row", pa.int64()),
    ("verdict", pa.string()),  # wrong or ambiguous; rows judged fine or to be removed are not flagged
    ("right_label", pa.string()),
    ("p_wrong", pa.float32()),
    ("views_agree", pa.float32()),
    ("input_issues", pa.string()),  # as in EXAMPLES
)

# One row per class of the version, the worst first. Rare classes are last and have null measures. For a scored class,
# only scored rows count, so copies and unreadable rows do not.
CLASSES = _schema(
    ("class_name", pa.string()),
    ("status", pa.string()),  # scored or rare_class
    ("examples", pa.int64()),  # rows with this label and this status
    ("label_issues", pa.int64()),  # flagged rows with this label
    ("inverse_label_issues", pa.int64()),  # rows with another label for which this class is suggested
    ("label_noise", pa.float64()),  # mean p_wrong of the class's rows
    ("inverse_label_noise", pa.float64()),  # estimated share of the true class that has another label
    ("label_quality_score", pa.float64()),  # 1 - label_noise
    ("mean_label_score", pa.float64()),
)

# One row per ordered pair of different classes, the most confused first.
CONFUSIONS = _schema(
    ("given_label", pa.string()),
    ("suggested_label", pa.string()),
    ("examples", pa.int64()),  # flagged rows with this pair
    ("estimated_examples", pa.float64()),  # sum of p_wrong of the rows whose most probable labels are this pair
    ("share_of_given", pa.float64()),  # estimated_examples / rows with the given label
)

# One row per view and fold of all repeats, ordered by view, then by fold. If there are several views, the last rows are
# those of their blend, which has no training of its own.
FOLDS = _schema(
    ("fold", pa.int16()),  # repeat * folds + the fold within the repeat
    ("repeat", pa.int16()),
    ("training_examples", pa.int64()),
    ("held_out_examples", pa.int64()),
    ("agreement", pa.float64()),  # share of held-out rows whose predicted label is the given one
    ("mean_p_given", pa.float64()),
    ("training_loss", pa.float64()),  # mean over the last epoch
    ("epochs", pa.int64()),
    ("seconds", pa.float64()),
    ("device", pa.string()),
    ("precision", pa.string()),
    ("threads", pa.int16()),
    ("seed", pa.int64()),
    ("sha256", pa.string()),  # of the Parquet file of the fold's probabilities
    ("view", pa.string()),  # as in VIEWS_TABLE
)

# One row per view, in the order of `VIEWS`, and one for their blend (view is `blend`) if there are several.
VIEWS_TABLE = _schema(
    ("view", pa.string()),
    ("weight", pa.float64()),  # of its probabilities in the blend, 0..1; the mean over folds
    ("temperature", pa.float64()),  # that calibrates its probabilities; the mean over folds
    ("agreement", pa.float64()),  # share of scored rows whose predicted label is the given one
    # Of the calibrated probabilities on the given labels, in nats. Null if there is one view.
    ("log_loss", pa.float64()),
    ("other_label", pa.int64()),  # rows for which it predicts another label than the given one
    ("confirmed", pa.int64()),  # of these, rows for which another view predicts the same label
)

# Rows whose data, status or flag changed since the predecessor, ordered by example_id. Columns with `_before` are from
# the predecessor. Columns of an audit that does not have the row are null.
CHANGES = _schema(
    ("example_id", pa.string()),  # for a removed row, its old id
    ("example_id_before", pa.string()),  # differs if the same content got another id
    ("issue_change", pa.string()),  # null if it was flagged neither before nor now
    ("data_change", pa.string()),  # null if content and label are the same
    ("given_label_before", pa.string()),
    ("given_label", pa.string()),
    ("status_before", pa.string()),
    ("status", pa.string()),
    ("label_score_before", pa.float64()),
    ("label_score", pa.float64()),
    ("is_label_issue_before", pa.bool_()),
    ("is_label_issue", pa.bool_()),
    ("verdict", pa.string()),
)

# One row per class of either audit, in class order.
CLASS_CHANGES = _schema(
    ("class_name", pa.string()),
    ("examples_before", pa.int64()),
    ("examples", pa.int64()),
    ("label_issues_before", pa.int64()),
    ("label_issues", pa.int64()),
    ("label_noise_before", pa.float64()),
    ("label_noise", pa.float64()),
)

# The newest audit of each version of a dataset. Versions are ordered by name if the dataset's URL contains {version},
# otherwise by their first audit. Each has one row for all classes together (class_name is null), then one per class.
TREND = _schema(
    ("position", pa.int64()),  # of the version, from 1
    ("version", pa.string()),
    ("audit_id", pa.string()),
    ("created_at", pa.timestamp("us", "UTC")),
    ("class_name", pa.string()),
    ("examples", pa.int64()),  # all rows; for a class, as in CLASSES
    ("scored", pa.int64()),
    ("label_issues", pa.int64()),
    ("error_rate", pa.float64()),  # the best single number; for a class, its label_noise
    ("gate", pa.string()),  # passed, warned or failed; null if the config sets no limits
    ("error_rate_low", pa.float64()),  # the range of error_rate; null for a class and for audits of earlier releases
    ("error_rate_high", pa.float64()),
    ("error_rate_basis", pa.string()),  # a findings.RateBasis; null for a class
)

# One row per canary, ordered by example_id. A canary is a trusted row with another label in a copy of the labels.
CANARIES = _schema(
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("planted_label", pa.string()),
    ("flip", pa.string()),  # random, or likely (the most probable other class)
    ("label_score", pa.float64()),  # of the planted label
    ("is_caught", pa.bool_()),
)

# The training dynamics of rows whose order is known from elsewhere (`labelaudit.row_dynamics.Dynamics`).
DYNAMICS = _schema(
    ("margin", pa.float32()),
    ("p_given", pa.float32()),
    ("spread", pa.float32()),
    ("epochs", pa.float32()),
)

# Every row that has a copy or near-copy, ordered by cluster, then by p_wrong (the highest first), then by example_id.
DUPLICATES = _schema(
    ("cluster", pa.int64()),  # from 1: first those with different labels, then by their highest p_wrong
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("distance", pa.float32()),  # to the nearest other member, 0..1; 0 for an exact copy (docs/duplicates.md)
    ("has_other_labels", pa.bool_()),  # the cluster has several labels, even after the corrections of reviewers
    ("is_leak", pa.bool_()),  # the cluster is in several splits
    ("split", pa.string()),
    ("status", pa.string()),
    ("p_wrong", pa.float32()),
    ("verdict", pa.string()),
    ("file", pa.string()),
    ("row", pa.int64()),
)

# Rows that are unlike all others, the highest outlier_score first; ties by example_id (docs/outliers.md).
OUTLIERS = _schema(
    ("rank", pa.int64()),  # from 1
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("nearest_label", pa.string()),  # that of most of its nearest neighbours
    ("outlier_score", pa.float32()),
    ("p_wrong", pa.float32()),
    ("is_label_issue", pa.bool_()),
    ("split", pa.string()),
    ("verdict", pa.string()),
    ("file", pa.string()),
    ("row", pa.int64()),
)

# Every issue of an input, ordered by kind as in InputIssue, then by how far it is beyond the limit, then by example_id.
QUALITY = _schema(
    ("issue", pa.string()),  # an InputIssue
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("value", pa.float32()),  # what was measured (docs/quality.md)
    ("limit", pa.float32()),  # the end of what is usual in the dataset; null if the kind has no limit
    ("is_label_issue", pa.bool_()),
    ("p_wrong", pa.float32()),
    ("status", pa.string()),
    ("split", pa.string()),
    ("file", pa.string()),
    ("row", pa.int64()),
)

# Every scored row that several annotators answered, ordered by example_id.
CONSENSUS = _schema(
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("consensus_label", pa.string()),  # CROWDLAB: of the annotators and the model
    ("consensus_quality_score", pa.float64()),  # CROWDLAB's score of it, 0..1; low: doubtful
    ("num_annotations", pa.int64()),  # answers
    ("annotator_agreement", pa.float64()),  # share of the answers that equal the consensus, 0..1
    ("is_other_label", pa.bool_()),  # the consensus is not the given label
    ("is_disputed", pa.bool_()),  # all of at least two answers are the consensus, but the model predicts another label
    ("predicted_label", pa.string()),  # by the model alone
    ("p_wrong", pa.float32()),  # as in EXAMPLES: of the given label, by model and answers
    ("p_wrong_of_model", pa.float32()),  # of the given label, by the model alone
    ("p_consensus_wrong", pa.float32()),  # of the consensus, by model and answers
    ("active_learning_score", pa.float64()),  # ActiveLab's score for the consensus, 0..1; low: it needs another answer
    # From 1: the row that needs another opinion most. The label with the highest probability, by model and answers, has
    # the lowest one; then by active_learning_score. Rows with a verdict are last.
    ("opinion_rank", pa.int64()),
    ("verdict", pa.string()),
    ("file", pa.string()),
    ("row", pa.int64()),
)

# The nearest other scored rows of each row that has a preview for reviewers, ordered by example_id, then by rank.
NEIGHBOURS_TABLE = _schema(
    ("example_id", pa.string()),
    ("rank", pa.int16()),  # from 1, the nearest first
    ("neighbour_id", pa.string()),
    ("distance", pa.float32()),  # in the space of features (docs/outliers.md); 0 for an exact copy
)

# The positions of scored rows on the map, ordered by example_id; at most 100,000 random ones (docs/dashboard.md).
MAP = _schema(
    ("example_id", pa.string()),
    ("x", pa.float32()),
    ("y", pa.float32()),
)

# One row per annotator, the surely worst first: by quality_high, then by the most answers, then by name.
ANNOTATORS = _schema(
    ("annotator", pa.string()),
    ("answers", pa.int64()),  # to scored rows
    ("agreement_with_consensus", pa.float64()),  # share of these that equal the consensus, 0..1
    ("quality", pa.float64()),  # estimated share of the annotator's answers that are right, 0..1
    ("quality_low", pa.float64()),  # its 95 % interval
    ("quality_high", pa.float64()),
    ("worst_class", pa.string()),  # the consensus label that the annotator most often does not give
    ("worst_class_answers", pa.int64()),  # answers to rows with this consensus
    ("worst_class_agreement", pa.float64()),  # share of these that equal it, 0..1
    ("weight", pa.float64()),  # of an answer in the consensus, at most 1
)

# Every answer that is used, ordered by example_id, then by annotator.
ANSWERS = _schema(
    ("example_id", pa.string()),
    ("annotator", pa.string()),
    ("label", pa.string()),
    ("p_right", pa.float32()),  # probability that it is the true label, by model and all answers, 0..1
)

# One row per value of each column in `dataset.slices`: those that are worse first, and those that are not tested last,
# each by `low`, the largest first. Ratios compare a value with all other values of its column. They are null if they
# cannot be computed.
SLICES = _schema(
    ("column", pa.string()),
    ("value", pa.string()),  # as in the column `slice_…` of EXAMPLES
    ("rows", pa.int64()),
    ("scored", pa.int64()),
    ("flagged", pa.int64()),
    ("expected_wrong", pa.float64()),  # sum of p_wrong of the scored rows
    ("share", pa.float64()),  # expected_wrong / scored
    ("ratio", pa.float64()),  # share of wrong labels divided by that of the others, among rows of the same given labels
    ("low", pa.float64()),  # 95 % interval of `ratio`
    ("high", pa.float64()),
    ("plain_ratio", pa.float64()),  # the same as `ratio`, among all rows
    ("plain_low", pa.float64()),
    ("plain_high", pa.float64()),
    ("flag_ratio", pa.float64()),  # of the shares of flagged rows, among rows of the same given labels
    ("flag_low", pa.float64()),
    ("flag_high", pa.float64()),
    ("p_value", pa.float64()),  # of no more doubt than among the others; null if too few rows are scored
    ("q_value", pa.float64()),  # p_value after the correction for all values of all columns (Benjamini-Hochberg)
    ("is_worse", pa.bool_()),  # q_value is at most 0.05 and low above 1
)


# What a reviewer needs to see of a row, so that the dataset itself is not needed.
PREVIEWS = _schema(
    ("example_id", pa.string()),
    ("media_type", pa.string()),  # image/png, image/jpeg, text/plain, or application/json for a table row
    ("data", pa.binary()),
)


def slice_column(name: str) -> str:
    """Return the column of EXAMPLES for a column in `dataset.slices`."""
    return f"{SLICE_PREFIX}{name}"


def pred_probs_schema(class_names: tuple[str, ...]) -> pa.Schema:
    """Return the schema of one fold's probabilities. Columns of `pred_probs` are in the order of `class_names`.

    `row_digest` ties an id to its probabilities (`detection.rows.row_digests`). It reveals a single shifted or altered
    row, which statistics cannot detect.
    """
    return pa.schema(
        [
            ("example_id", pa.string()),
            ("pred_probs", pa.list_(pa.float32(), len(class_names))),
            ("row_digest", pa.uint64()),
        ],
        metadata={"schema_version": SCHEMA_VERSION, "class_names": json.dumps(list(class_names))},
    )
