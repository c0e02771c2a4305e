"""Copies on the page: groups with different labels with their previews, and the counts of the other groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import JsonObject
from labelaudit.report.duplicates import duplicates_found
from labelaudit.report.gallery import CardPreview, preview_bytes, preview_fields
from labelaudit.report.html import Context
from labelaudit.text import listing

# Groups with different labels on the page, how many of them are visible at once, and the members of each.
GROUPS, OPEN_GROUPS, MEMBERS = 50, 6, 8
# Bytes of these groups, which the gallery then lacks. A member needs about 900 bytes in addition to its preview.
COPIES_BYTES = 1_000_000
_MEMBER_BYTES = 900
# Kinds whose copies have equal contents, so one preview is enough.
_SAME_CONTENTS = ("table", "vector")
_LABELS = 5
# Combinations of splits on the page.
_SPLITS = 10
_MEANINGS = {
    "image": "The images of a group are the same or nearly the same. If they show the same thing, a label is wrong or "
    "the classes overlap.",
    "text": "The texts of a group are the same or nearly the same. If they say the same thing, a label is wrong or the "
    "classes overlap.",
    "table": "The rows of a group have equal values. Either a label is wrong, or the columns do not decide the label.",
    "vector": "The vectors of a group are equal or nearly equal. Either a label is wrong, or vectors do not decide the "
    "label.",
}


@dataclass(frozen=True)
class CopiesContent:
    """What the page shows of copies.

    Attributes:
        kind: of the inputs.
        table: DUPLICATES.
        previews: of the rows of `shown_copies(table)`, in their order; empty if the page shows no contents.
    """

    kind: str
    table: pa.Table
    previews: Sequence[CardPreview] = ()


def shown_copies(table: pa.Table) -> pa.Table:
    """Return the rows of DUPLICATES with different labels that the page shows: of each group one row per label first.

    At most MEMBERS rows of each of the first GROUPS groups.
    """
    conflicting = _conflicting(table)
    frame = conflicting.select(["cluster", "given_label"]).to_pandas()
    turn = frame.groupby(["cluster", "given_label"], dropna=False).cumcount()
    # In each group, rows are already in the order of p_wrong.
    ordered = frame.assign(turn=turn).sort_values(["cluster", "turn"], kind="stable")
    is_shown = ordered.groupby("cluster").cumcount() < MEMBERS
    return conflicting.take(pa.array(ordered.index[is_shown].to_numpy(), pa.int64()))


def _conflicting(table: pa.Table) -> pa.Table:
    """Return the rows of the first GROUPS groups with different labels."""
    return table.filter(pc.and_(table["has_other_labels"], pc.less_equal(table["cluster"], GROUPS)))


def copies_context(content: CopiesContent | None) -> tuple[Context, int]:
    """Return what the page says about copies, and the bytes that this needs."""
    if content is None:
        return {"conflicts": [], "other_copies": "", "leaked_splits": []}, 0
    groups: list[Context] = []
    used = 0
    for group in _groups(content):
        if used + _bytes(group) > COPIES_BYTES:
            break
        used += _bytes(group)
        groups.append(_group_context(group))
    context: Context = {
        "conflicts": groups,
        "open_conflicts": OPEN_GROUPS,
        "all_conflicts": duplicates_found(content.table).conflicts,
        "conflicts_help": _MEANINGS[content.kind],
        "conflicts_kind": "rows" if content.kind in _SAME_CONTENTS else f"{content.kind}s",
        "other_copies": _others_in_words(content.table),
        "leaked_splits": leaked_splits(content.table)[:_SPLITS],
    }
    return context, used


@dataclass(frozen=True)
class _Group:
    """Rows of one group that are shown, each with its preview or None; or one preview for all of them."""

    members: Sequence[tuple[JsonObject, CardPreview | None]]
    shared: CardPreview | None
    labels: dict[str, int]  # its rows by label, of all members


def _groups(content: CopiesContent) -> Iterator[_Group]:
    labels = _label_counts(content.table)
    pairs = list(zip_longest(shown_copies(content.table).to_pylist(), content.previews))
    for cluster, found in groupby(pairs, key=lambda pair: int(pair[0]["cluster"])):
        members = list(found)
        if content.kind in _SAME_CONTENTS:
            yield _Group([(row, None) for row, _ in members], members[0][1], labels[cluster])
        else:
            yield _Group(members, None, labels[cluster])


def _label_counts(table: pa.Table) -> dict[int, dict[str, int]]:
    """Return the number of rows of each label by group, the most frequent label first."""
    rows = _conflicting(table).select(["cluster", "given_label"]).to_pandas()
    counts = rows.fillna({"given_label": "no label"}).value_counts().reset_index(name="rows")
    counts = counts.sort_values(["cluster", "rows", "given_label"], ascending=[True, False, True])
    found: dict[int, dict[str, int]] = {}
    for cluster, label, rows in counts.itertuples(index=False):
        found.setdefault(cluster, {})[label] = rows
    return found


def _bytes(group: _Group) -> int:
    previews = [group.shared, *(preview for _, preview in group.members)]
    return _MEMBER_BYTES * len(group.members) + sum(preview_bytes(one) for one in previews if one is not None)


def _group_context(group: _Group) -> Context:
    rows = sum(group.labels.values())
    return {
        "rows": rows,
        "labels": listing(
            [label if count == 1 else f"{label} ({count:,})" for label, count in group.labels.items()], shown=_LABELS
        ),
        "shared": preview_fields(group.shared),
        "members": [
            {
                **row,
                "nearness": "exact copy" if row["distance"] == 0 else "nearly the same",
                **preview_fields(preview),
            }
            for row, preview in group.members
        ],
        "more": rows - len(group.members),
    }


def _others_in_words(table: pa.Table) -> str:
    """Return a sentence on the groups with equal labels; empty if there are none."""
    found = duplicates_found(table.filter(pc.invert(table["has_other_labels"])))
    if not found.clusters:
        return ""
    groups = "1 group of copies has" if found.clusters == 1 else f"{found.clusters:,} groups of copies have"
    return (
        f"{groups} no different labels: {found.rows:,} rows, {found.exact_rows:,} of them exact copies. Those "
        "that were found before training stay in one fold, so that no model has seen a copy of a row that it scores."
    )


def leaked_splits(table: pa.Table) -> list[Context]:
    """Return the combinations of splits that groups are in, with the numbers of groups and rows; most groups first."""
    leaked = table.filter(table["is_leak"]).select(["cluster", "split"]).to_pandas()
    if leaked.empty:
        return []
    group, _ = pd.factorize(leaked["cluster"])
    # Rows without a split have the number -1.
    split, names = pd.factorize(leaked["split"], sort=True)
    is_in = np.zeros((group.max() + 1, len(names)), bool)
    is_in[group[split >= 0], split[split >= 0]] = True
    combinations, combination = np.unique(is_in, axis=0, return_inverse=True)
    rows = np.bincount(combination[group])
    groups = np.bincount(combination)
    found: list[Context] = [
        {"splits": listing(names[combinations[at]]), "groups": int(groups[at]), "rows": int(rows[at])}
        for at in np.argsort(-groups, kind="stable")
    ]
    return found
