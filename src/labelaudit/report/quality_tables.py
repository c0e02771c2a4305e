"""The table of inputs that are hard to use, its counts, and what it says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.findings import LabelRelation, QualityFound
from labelaudit.schemas import EXAMPLES, QUALITY, InputIssue
from labelaudit.shares import percent
from labelaudit.text import listing

# Columns of EXAMPLES that the table is made from: those that are known before detection, and others.
PLACE_COLUMNS = pa.schema(
    EXAMPLES.field(name) for name in ("example_id", "given_label", "status", "split", "file", "row")
)
_SCORED_COLUMNS = ("is_label_issue", "p_wrong")
# What low and high values of a measure are called.
_LOW = {
    "brightness": "darkest",
    "edge_width": "sharpest",
    "colour": "least colourful",
    "aspect_ratio": "narrowest",
    "side": "smallest",
    "length": "shortest",
    "language": "most ordinary in their letters",
    "missing": "most complete",
}
_HIGH = {
    "brightness": "brightest",
    "edge_width": "most blurred",
    "colour": "most colourful",
    "aspect_ratio": "widest",
    "side": "largest",
    "length": "longest",
    "language": "least ordinary in their letters",
    "missing": "least complete",
}
_NAMES = {
    "brightness": "Brightness",
    "edge_width": "Blur",
    "colour": "Colour",
    "aspect_ratio": "The aspect ratio",
    "side": "The size of images",
    "length": "The length of texts",
    "language": "The language of texts",
    "missing": "The number of missing values",
}
_INPUTS = {"image": "images", "text": "texts", "vector": "vectors", "table": "rows"}
# Relations in sentences.
SHOWN_RELATIONS = 5


def quality_table(
    examples: pa.Table,
    position: npt.NDArray[np.int64],
    issue: npt.NDArray[np.object_],
    value: npt.NDArray[np.float32],
    limit: npt.NDArray[np.float32],
) -> pa.Table:
    """Return the issues of inputs: QUALITY.

    Args:
        examples: EXAMPLES, N rows; or only PLACE_COLUMNS before detection.
        position: (m,) the row of each issue.
        issue, value, limit: (m,) its kind, what was measured, and the end of what is usual (NaN: none).
    """
    known = [name for name in (*PLACE_COLUMNS.names, *_SCORED_COLUMNS) if name in examples.column_names]
    chosen = examples.select(known).take(pa.array(position))
    for name in set(_SCORED_COLUMNS) - set(known):
        field = EXAMPLES.field(name)
        chosen = chosen.append_column(field, pa.nulls(len(chosen), field.type))
    order = _order(chosen, issue, value, limit)
    columns = {
        **{name: chosen[name] for name in chosen.column_names},
        "issue": pa.array(issue, pa.string()),
        "value": pa.array(value, pa.float32()),
        "limit": pa.array(limit, pa.float32(), mask=np.isnan(limit)),
    }
    types = {field.name: field.type for field in QUALITY}
    return pa.table([columns[name].cast(types[name]) for name in QUALITY.names], schema=QUALITY).take(order)


def _order(
    rows: pa.Table,
    issue: npt.NDArray[np.object_],
    value: npt.NDArray[np.float32],
    limit: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Return the positions of the issues in the order of QUALITY."""
    kinds = {str(kind): number for number, kind in enumerate(InputIssue)}
    beyond = np.abs(np.log((np.abs(value) + 1e-3) / (np.abs(limit) + 1e-3)))
    ids = pd.factorize(np.asarray(rows["example_id"].to_pylist(), object), sort=True)[0]
    files = pd.factorize(np.asarray(rows["file"].fill_null("").to_pylist(), object), sort=True)[0]
    frame = pd.DataFrame(
        {
            "row": rows["row"].fill_null(0).to_numpy(),
            "file": files,
            "example_id": ids,
            "beyond": -np.nan_to_num(beyond),
            "issue": [kinds[kind] for kind in issue],
        }
    )
    # The last key of lexsort is the first one to sort by.
    return np.lexsort([frame[name].to_numpy() for name in frame.columns])


def quality_found(table: pa.Table, normal: Mapping[str, float], relations: Sequence[LabelRelation]) -> QualityFound:
    """Return the counts of a QUALITY table.

    Args:
        normal: kinds of issues that are too frequent to be listed, with their shares.
        relations: measures that predict a label.
    """
    frame = table.select(["issue", "file", "row", "example_id", "is_label_issue"]).to_pandas()
    rows = frame.drop_duplicates(["example_id", "file", "row"])
    counts = frame["issue"].value_counts()
    return QualityFound(
        rows=len(rows),
        flagged=int(rows["is_label_issue"].eq(True).sum()),
        issues={str(kind): int(counts[str(kind)]) for kind in InputIssue if str(kind) in counts.index},
        normal=dict(normal),
        relations=tuple(relations),
    )


def quality_in_words(found: QualityFound, kind: str, ids: Sequence[str] = ()) -> tuple[str, ...]:
    """Return sentences on inputs that are hard to use, and on measures that predict a label; none if there are none.

    Args:
        kind: of the inputs.
        ids: the first rows, which are named if readers do not have `quality.parquet`.
    """
    sentences = [relation_in_words(one, kind) for one in found.relations[:SHOWN_RELATIONS]]
    more = len(found.relations) - SHOWN_RELATIONS
    if more > 0:
        sentences.append(f"{more:,} more measures of the {_INPUTS[kind]} predict a label; see summary.json.")
    if found.rows:
        counts = listing([f"{count:,} {issue_in_words(name)}" for name, count in issue_counts(found)], shown=12)
        have = "1 row has an input that is" if found.rows == 1 else f"{found.rows:,} rows have inputs that are"
        which = f"{_flagged_in_words(found)}; see quality.parquet."
        if ids:
            which = f"The first ones: {listing(ids)}."
        sentences.append(f"{have} hard to use ({counts}). {which}")
    sentences += [
        f"{percent(share)} of the {_INPUTS[kind]} have the issue {issue_in_words(name)!r}. So many are normal in this "
        "dataset, and they are not listed."
        for name, share in found.normal.items()
    ]
    return tuple(sentences)


def _flagged_in_words(found: QualityFound) -> str:
    if found.rows == 1:
        return "It is flagged" if found.flagged else "It is not flagged"
    if found.flagged <= 1:
        return "1 of them is flagged" if found.flagged else "None of them is flagged"
    return f"{found.flagged:,} of them are flagged"


def quality_changes(before: QualityFound | None, now: QualityFound | None, version: str) -> list[str]:
    """Return sentences on what changed since another audit; none if the quality of inputs is unknown for one."""
    if before is None or now is None:
        return []
    sentences = [
        f"Inputs that are {issue_in_words(kind)}: {count:,}, compared with {earlier:,} in version {version}."
        for kind in map(str, InputIssue)
        if (count := now.issues.get(kind, 0)) != (earlier := before.issues.get(kind, 0))
        if kind not in now.normal and kind not in before.normal
    ]
    sentences += [
        f"{percent(share)} of the inputs have the issue {issue_in_words(kind)!r} now. So many are not listed; version "
        f"{version} lists {before.issues.get(kind, 0):,}."
        for kind, share in now.normal.items()
        if kind not in before.normal
    ]
    known = {(one.measure, one.class_name) for one in before.relations}
    new = [one for one in now.relations if (one.measure, one.class_name) not in known]
    return [
        *sentences,
        *(
            f"{_NAMES[one.measure]} alone predicts the label {one.class_name!r}, which it did not in version {version}."
            for one in new[:SHOWN_RELATIONS]
        ),
    ]


def issue_counts(found: QualityFound) -> list[tuple[str, int]]:
    """Return the kinds of issues and their rows, in the order of `InputIssue`."""
    return [(str(kind), found.issues[kind]) for kind in InputIssue if kind in found.issues]


def issue_in_words(name: str) -> str:
    return name.replace("_", " ")


def relation_in_words(relation: LabelRelation, kind: str) -> str:
    """Return two sentences: what predicts the label, and what to check."""
    inputs, extreme = _INPUTS[kind], (_LOW if relation.is_low else _HIGH)[relation.measure]
    tail, share, others = (percent(value) for value in (relation.tail, relation.share, relation.share_of_others))
    return (
        f"{_NAMES[relation.measure]} alone predicts the label {relation.class_name!r}: {share} of its {inputs} are "
        f"among the {extreme} {tail} of all, and {others} of the others. A model can use this and ignore the rest. "
        f"Check whether it belongs to the class, or only to how its {inputs} were collected."
    )


def first_ids(table: pa.Table, shown: int) -> list[str]:
    """Return the first different ids of a QUALITY table."""
    ids: list[str] = pc.unique(table["example_id"]).slice(0, shown).to_pylist()
    return ids
