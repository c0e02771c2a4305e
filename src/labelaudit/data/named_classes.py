"""Class names that a config contains: they must exist, and `dataset.rename` changes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from labelaudit.errors import DatasetError
from labelaudit.text import closest, listing

# Sentences about renamed labels, one for each new name.
SHOWN_RENAMES = 5


class RenamedLabels(NamedTuple):
    """Labels with their new names, and sentences that say how many rows were renamed."""

    labels: np.ndarray  # (N,) object of str, None if a row has no label
    notes: tuple[str, ...]


def rename_labels(given: np.ndarray, rename: Mapping[str, str]) -> RenamedLabels:
    """Return given labels with other names. All names change at once, so {a: b, b: a} exchanges two classes.

    Args:
        given: (N,) object of str, None if a row has no label.
        rename: the new name of each label that gets one.

    Raises:
        DatasetError: no row has a label that is to be renamed.
    """
    if not rename:
        return RenamedLabels(given, ())
    rows = Counter(label for label in given if label is not None)
    check_class_names({old: f"dataset.rename renames to {new!r}" for old, new in rename.items()}, rows)
    labels = np.array([rename.get(label, label) for label in given], dtype=object)
    return RenamedLabels(labels, _notes(rows, rename))


def check_class_names(named: Mapping[str, str], class_names: Mapping[str, object]) -> None:
    """Check that the classes that a config names exist.

    Args:
        named: for each class name, what the config does with it, such as "dataset.rename renames to 'cat'".
        class_names: the classes of the dataset.

    Raises:
        DatasetError: with a close match.
    """
    for name, use in named.items():
        if name not in class_names:
            close = closest(name, class_names)
            hint = f"Did you mean {close!r}? " if close else ""
            raise DatasetError(
                f"No row has the label {name!r}, which {use}. {hint}"
                f"The labels are {listing(map(repr, class_names), shown=20)}."
            )


def _notes(rows: Mapping[str, int], rename: Mapping[str, str]) -> tuple[str, ...]:
    old_names: dict[str, list[str]] = {}
    for old, new in rename.items():
        if old != new:
            old_names.setdefault(new, []).append(old)
    notes = []
    for new, names in list(old_names.items())[:SHOWN_RENAMES]:
        renamed = listing(f"{_counted(rows[name])} labeled {name!r}" for name in names)
        are = "is" if sum(rows[name] for name in names) == 1 else "are"
        stays = rows[new] if new in rows and rename.get(new, new) == new else 0
        merged = f" and merged with {_counted(stays)} that already had this label" if stays else ""
        notes.append(f"{renamed} {are} renamed to {new!r}{merged} (dataset.rename).")
    if len(old_names) > SHOWN_RENAMES:
        notes.append(f"dataset.rename has {len(old_names) - SHOWN_RENAMES:,} more new names.")
    return tuple(notes)


def _counted(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"
