"""The table contract: statuses, and the schema of every Parquet file of a published audit.

Columns are flat, so that DuckDB, Athena and dashboards read them as they are. Every file carries
`schema_version` in its Arrow metadata; it changes when a column changes its name, type or meaning.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Literal, get_args

import pyarrow as pa

SCHEMA_VERSION = "2"
# What an example is made of; auto: found out from the data.
InputKind = Literal["auto", "image", "text", "table"]
INPUT_KINDS: tuple[str, ...] = get_args(InputKind)
# Ways to find label issues, by cleanlab's names.
Filter = Literal[
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
]
FILTERS: tuple[str, ...] = get_args(Filter)


class Status(StrEnum):
    """What became of one row of the dataset version. Every row has exactly one."""

    SCORED = "scored"
    RARE_CLASS = "rare_class"
    UNLABELED = "unlabeled"
    UNREADABLE = "unreadable"
    DUPLICATE_ID = "duplicate_id"


class Decision(StrEnum):
    """What a person decided about the label of an example."""

    WRONG = "wrong"  # and which label is right
    FINE = "fine"
    AMBIGUOUS = "ambiguous"


class IssueChange(StrEnum):
    """What happened to a flag since the audit before. Every row that is or was flagged has exactly one.

    `labelaudit.report.changes` describes them and those of `DataChange`.
    """

    NEW = "new"
    FIXED = "fixed"
    GONE = "gone"
    DISMISSED = "dismissed"
    PERSISTENT = "persistent"
    FLAPPING = "flapping"


class DataChange(StrEnum):
    """What happened to a row of the dataset since the version before."""

    ADDED = "added"
    REMOVED = "removed"
    RELABELED = "relabeled"
    REPLACED = "replaced"


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(fields, metadata={"schema_version": SCHEMA_VERSION})


# Every row of the version, in the order of example_id. Score columns are null unless status is `scored`.
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
    ("margin", pa.float32()),  # p_given less the largest other probability, -1..1
    ("file", pa.string()),  # where the row was read, relative to the dataset's URL
    ("row", pa.int64()),  # its position in that file, from 0
    ("content_digest", pa.string()),  # of the input alone, without id and label
    ("verdict", pa.string()),  # of a person, on this content and label: wrong, fine or ambiguous
    ("right_label", pa.string()),  # according to a verdict of `wrong`
    ("is_dismissed", pa.bool_()),  # flagged by the detector, but judged fine: is_label_issue is false
)

# Flagged rows, most doubtful first.
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
    ("verdict", pa.string()),  # wrong or ambiguous; what was judged fine is not flagged
    ("right_label", pa.string()),
)

# One row per class of the version, the most troubled first; rare classes last, with null measures. Of a scored class
# only scored rows count: no copies, and nothing that could not be read.
CLASSES = _schema(
    ("class_name", pa.string()),
    ("status", pa.string()),  # scored or rare_class
    ("examples", pa.int64()),  # rows of that status with this label
    ("label_issues", pa.int64()),  # flagged among the rows that bear this label
    ("inverse_label_issues", pa.int64()),  # rows with another label that are suggested to be of this class
    ("label_noise", pa.float64()),  # estimated share of this class's rows that belong elsewhere
    ("inverse_label_noise", pa.float64()),  # estimated share of this true class that is labeled otherwise
    ("label_quality_score", pa.float64()),  # 1 - label_noise
    ("mean_label_score", pa.float64()),
)

# One row per ordered pair of classes, the most confused first; given != suggested.
CONFUSIONS = _schema(
    ("given_label", pa.string()),
    ("suggested_label", pa.string()),
    ("examples", pa.int64()),  # flagged rows with this pair
    ("estimated_examples", pa.float64()),  # from the calibrated confident joint
    ("share_of_given", pa.float64()),  # estimated_examples / rows with the given label
)

# One row per fold and repeat, in their order.
FOLDS = _schema(
    ("fold", pa.int16()),  # repeat * folds + the fold within the repeat
    ("repeat", pa.int16()),
    ("training_examples", pa.int64()),
    ("held_out_examples", pa.int64()),
    ("agreement", pa.float64()),  # share of held-out rows where the predicted label is the given one
    ("mean_p_given", pa.float64()),
    ("training_loss", pa.float64()),  # mean of the last epoch
    ("epochs", pa.int64()),
    ("seconds", pa.float64()),
    ("device", pa.string()),
    ("precision", pa.string()),
    ("threads", pa.int16()),
    ("seed", pa.int64()),
    ("sha256", pa.string()),  # of the fold's Parquet file
)

# Rows that changed since the predecessor, in the dataset, in their status, or in what was found; in the order of
# example_id.
# `_before` is the predecessor's; null where the row is in one of both only.
CHANGES = _schema(
    ("example_id", pa.string()),  # now; of a removed row the one that it had
    ("example_id_before", pa.string()),  # another one where the same content got another id
    ("issue_change", pa.string()),  # null where it was flagged neither before nor now
    ("data_change", pa.string()),  # null where content and label are the same
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

# Of a dataset: the newest audit of each version, in the order of versions (by name where the dataset's URL holds
# {version}, else as first audited); one row for all classes together (class_name null), then one per class.
TREND = _schema(
    ("position", pa.int64()),  # of the version, from 1
    ("version", pa.string()),
    ("audit_id", pa.string()),
    ("created_at", pa.timestamp("us", "UTC")),
    ("class_name", pa.string()),
    ("examples", pa.int64()),  # all rows; of a class as in CLASSES
    ("scored", pa.int64()),
    ("label_issues", pa.int64()),
    ("error_rate", pa.float64()),  # estimated share of wrong labels; of a class its label_noise
    ("gate", pa.string()),  # passed, warned, failed, or null where the config sets no limits
)

# One row per canary, in the order of example_id: a trusted row that got another label in a copy of the labels.
CANARIES = _schema(
    ("example_id", pa.string()),
    ("given_label", pa.string()),
    ("planted_label", pa.string()),
    ("flip", pa.string()),  # random, or likely: the class that the models confuse it with most
    ("label_score", pa.float64()),  # of the planted label
    ("is_caught", pa.bool_()),
)

# What a person needs to see of a row, so that readers need not reach the dataset.
PREVIEWS = _schema(
    ("example_id", pa.string()),
    ("media_type", pa.string()),  # image/png, image/jpeg, text/plain, or application/json: a table row's values
    ("data", pa.binary()),
)


def pred_probs_schema(class_names: tuple[str, ...]) -> pa.Schema:
    """Schema of one fold's probabilities; columns of `pred_probs` are in the order of `class_names`.

    `row_digest` binds an id to its probabilities (`detection.rows.row_digests`), so that
    a single shifted or altered row is seen even where statistics cannot see it.
    """
    return pa.schema(
        [
            ("example_id", pa.string()),
            ("pred_probs", pa.list_(pa.float32(), len(class_names))),
            ("row_digest", pa.uint64()),
        ],
        metadata={"schema_version": SCHEMA_VERSION, "class_names": json.dumps(list(class_names))},
    )
