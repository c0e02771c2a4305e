"""The table contract: statuses, and the schema of every Parquet file of a published audit.

Columns are flat, so that DuckDB, Athena and dashboards read them as they are. Every file carries
`schema_version` in its Arrow metadata; it changes when a column changes its name, type or meaning.
"""

from __future__ import annotations

import json
from enum import StrEnum

import pyarrow as pa

SCHEMA_VERSION = "1"


class Status(StrEnum):
    """What became of one row of the dataset version. Every row has exactly one."""

    SCORED = "scored"
    RARE_CLASS = "rare_class"
    UNLABELED = "unlabeled"
    UNREADABLE = "unreadable"
    DUPLICATE_ID = "duplicate_id"


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
)

# One row per class of the version, the most troubled first; rare classes last, with null measures.
CLASSES = _schema(
    ("class_name", pa.string()),
    ("status", pa.string()),  # scored or rare_class
    ("examples", pa.int64()),
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


def pred_probs_schema(class_names: tuple[str, ...]) -> pa.Schema:
    """Schema of one fold's probabilities; columns of `pred_probs` are in the order of `class_names`.

    `row_digest` binds an id to its probabilities (`detection.out_of_fold.row_digests`), so that
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
