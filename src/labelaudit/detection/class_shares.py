"""The classes of two audits: which are new or gone, and whose share of the labeled rows changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from labelaudit.audit_changes import ClassDifferences, ClassShare
from labelaudit.findings import SHOWN_NAMES
from labelaudit.text import listing

# Smaller changes of a share are usual between two versions, so no note names them.
NOTED_SHARE_CHANGE = 0.05
_NAME_LENGTH = 60


def labeled_rows(classes: pa.Table) -> dict[str, int]:
    """Return the rows of each class in a CLASSES table that has any. They are scored, or set aside as rare."""
    return {row["class_name"]: row["examples"] for row in classes.to_pylist() if row["examples"]}


def compare_classes(before: Mapping[str, int], now: Mapping[str, int]) -> ClassDifferences:
    """Compare the classes of two audits.

    Args:
        before: the number of labeled rows of each class, above 0, in class order.
        now: the same of the later audit.
    """
    new = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    # The name makes the choice unique if changes are equal.
    totals = sum(before.values()), sum(now.values())
    # Without rows there are no shares.
    names = sorted({*before, *now}) if all(totals) else []
    shares = [_class_share(name, before.get(name, 0), now.get(name, 0), *totals) for name in names]
    largest = max(shares, key=lambda share: share.change, default=None)
    return ClassDifferences(
        new=len(new),
        gone=len(gone),
        new_names=tuple(new[:SHOWN_NAMES]),
        gone_names=tuple(gone[:SHOWN_NAMES]),
        largest=largest if largest is not None and largest.change > 0 else None,
    )


def differences_in_words(differences: ClassDifferences, version: str) -> list[str]:
    """Return sentences on new and gone classes, and on the largest change of a share if it is at least 5 points.

    Args:
        version: of the earlier audit.
    """
    sentences = []
    if differences.new:
        names = named_classes(differences.new_names, differences.new)
        sentences.append(f"New {'class' if differences.new == 1 else 'classes'} since {version}: {names}.")
    if differences.gone:
        names = named_classes(differences.gone_names, differences.gone)
        which = "This class has" if differences.gone == 1 else "These classes have"
        sentences.append(f"{which} no labeled rows any more since {version}: {names}.")
    largest = differences.largest
    if largest is not None and largest.change >= NOTED_SHARE_CHANGE:
        shares = f"from {100 * largest.share_before:.1f} to {100 * largest.share:.1f} percent"
        sentences.append(f"The share of {quoted(largest.class_name)} among the labeled rows changed {shares}.")
    return sentences


def named_classes(names: Sequence[str], count: int) -> str:
    """Return the first names of `count` classes as text."""
    return listing([*map(quoted, names), *[""] * (count - len(names))], shown=len(names))


def quoted(class_name: str) -> str:
    """Return a class name in quotes, cut if it is long."""
    shown = class_name if len(class_name) <= _NAME_LENGTH else f"{class_name[: _NAME_LENGTH - 1]}…"
    return f"{shown!r}"


def _class_share(name: str, rows_before: int, rows: int, total_before: int, total: int) -> ClassShare:
    # One division, so that the change from 30 to 40 of 100 rows is not above 0.1.
    change = abs(rows * total_before - rows_before * total) / (total_before * total)
    return ClassShare(name, rows_before / total_before, rows / total, change)
