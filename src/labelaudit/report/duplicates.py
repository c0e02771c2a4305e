"""The table of copies and near-copies, its counts, and what it says in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.findings import Duplicates
from labelaudit.schemas import DUPLICATES, EXAMPLES, Decision
from labelaudit.text import listing

# Columns of EXAMPLES that the table is made from: those that are known before detection, and others.
KNOWN_COLUMNS = pa.schema(
    EXAMPLES.field(name) for name in ("example_id", "given_label", "split", "status", "file", "row")
)
_FOUND_COLUMNS = ("p_wrong", "verdict", "right_label")
# Ids in a sentence.
_SHOWN = 5


def duplicates_table(examples: pa.Table, cluster: np.ndarray, distance: np.ndarray) -> pa.Table:
    """Return the rows that have copies: DUPLICATES.

    Args:
        examples: EXAMPLES, N rows; or only KNOWN_COLUMNS before detection.
        cluster: (N,) int, equal for rows of one cluster; -1 if a row has no copy.
        distance: (N,) float, to the nearest other member.
    """
    rows = np.flatnonzero(cluster >= 0)
    chosen = examples.select(
        [name for name in (*KNOWN_COLUMNS.names, *_FOUND_COLUMNS) if name in examples.column_names]
    )
    chosen = chosen.take(pa.array(rows))
    for name in _FOUND_COLUMNS:
        if name not in chosen.column_names:
            field = EXAMPLES.field(name)
            chosen = chosen.append_column(field, pa.nulls(len(chosen), field.type))
    frame = chosen.to_pandas().assign(cluster=cluster[rows], distance=distance[rows].astype(np.float32))
    frame["has_other_labels"] = _has_other_labels(frame)
    frame["is_leak"] = _distinct(frame["cluster"], frame["split"].where(frame["verdict"] != Decision.REMOVE)) > 1
    frame = frame.iloc[_order(frame)]
    # Numbered in this order, from 1.
    frame["cluster"] = pd.factorize(frame["cluster"])[0] + 1
    return pa.Table.from_pandas(frame[DUPLICATES.names], DUPLICATES, preserve_index=False).replace_schema_metadata(
        DUPLICATES.metadata
    )


def _has_other_labels(frame: pd.DataFrame) -> pd.Series:
    """Return for each row whether the labels of its cluster differ and no person has decided about all of them."""
    # A row that is to be removed does not contradict the others.
    stays = frame["given_label"].notna() & (frame["verdict"] != Decision.REMOVE)
    right = frame["right_label"].fillna(frame["given_label"]).where(stays)
    is_undecided = frame["given_label"].notna() & frame["verdict"].isna()
    return (_distinct(frame["cluster"], right) > 1) & is_undecided.groupby(frame["cluster"]).transform("any")


def _distinct(cluster: pd.Series, values: pd.Series) -> pd.Series:
    """Return for each row the number of different values in its cluster. Missing ones do not count."""
    is_present = values.notna()
    pairs = pd.DataFrame({"cluster": cluster[is_present], "value": values[is_present]}).drop_duplicates()
    return cluster.map(pairs["cluster"].value_counts()).fillna(0)


def _order(frame: pd.DataFrame) -> np.ndarray:
    """Return the positions of the rows in the order of DUPLICATES."""
    ids = pd.Series(pd.factorize(frame["example_id"], sort=True)[0], frame.index)
    p_wrong = frame["p_wrong"].fillna(-1.0)
    keys = pd.DataFrame(
        {
            "has_equal_labels": ~frame["has_other_labels"],
            "highest": -p_wrong.groupby(frame["cluster"]).transform("max"),
            "first_id": ids.groupby(frame["cluster"]).transform("min"),
            "cluster": frame["cluster"],
            "p_wrong": -p_wrong,
            "example_id": ids,
            "file": pd.factorize(frame["file"], sort=True)[0],
            "row": frame["row"],
        }
    )
    # The last key of lexsort is the first one to sort by.
    return np.lexsort([keys[name].to_numpy() for name in reversed(keys.columns)])


def duplicates_found(table: pa.Table) -> Duplicates:
    """Return the counts of a DUPLICATES table, without rows that are to be removed."""
    table = _staying(table)
    conflicting, leaked = table.filter(table["has_other_labels"]), table.filter(table["is_leak"])
    return Duplicates(
        clusters=_clusters(table),
        rows=len(table),
        exact_rows=pc.sum(pc.equal(table["distance"], 0.0)).as_py() or 0,
        conflicts=_clusters(conflicting),
        conflicting_rows=len(conflicting),
        leaks=_clusters(leaked),
        leaked_rows=len(leaked),
    )


def duplicates_in_words(table: pa.Table, *, is_published: bool) -> tuple[str, ...]:
    """Return sentences on copies with different labels and on leaks; none if nothing has a copy.

    Args:
        table: DUPLICATES.
        is_published: whether readers have the table. If not, the sentences name rows. If so, another one says how many
            rows have copies.
    """
    found, table = duplicates_found(table), _staying(table)
    if not found.clusters:
        return ()
    sentences = []
    if found.conflicts:
        have = "group of copies has" if found.conflicts == 1 else "groups of copies have"
        rows = _rows_in_words(table.filter(table["has_other_labels"]), is_published)
        sentences.append(f"{found.conflicts:,} {have} different labels, {rows}")
    if found.leaks:
        leaked = table.filter(table["is_leak"])
        are = "group of copies is" if found.leaks == 1 else "groups of copies are"
        names = listing(sorted(set(leaked["split"].drop_null().to_pylist())))
        sentences.append(
            f"{found.leaks:,} {are} in several splits ({names}), {_rows_in_words(leaked, is_published)} "
            "A model that is tested on them has seen them. Remove them from all splits but one."
        )
    if not is_published:
        return tuple(sentences)
    groups = "1 group" if found.clusters == 1 else f"{found.clusters:,} groups"
    sentences.append(
        f"{found.rows:,} rows are copies or near-copies of others ({found.exact_rows:,} exact), in {groups}. "
        "Copies that were found before training stay in one fold."
    )
    return tuple(sentences)


def _rows_in_words(rows: pa.Table, is_published: bool) -> str:
    if is_published:
        return f"{len(rows):,} rows; see duplicates.parquet."
    return f"{len(rows):,} rows: {listing(rows['example_id'].to_pylist(), shown=_SHOWN)}."


def _staying(table: pa.Table) -> pa.Table:
    """Return the rows that are not to be removed and still have a copy."""
    staying = table.filter(pc.fill_null(pc.not_equal(table["verdict"], Decision.REMOVE.value), True))
    rows = staying.group_by("cluster").aggregate([("cluster", "count")])
    several = rows.filter(pc.greater(rows["cluster_count"], 1))["cluster"]
    return staying.filter(pc.is_in(staying["cluster"], value_set=several.combine_chunks()))


def _clusters(table: pa.Table) -> int:
    return int(pc.count_distinct(table["cluster"]).as_py())
