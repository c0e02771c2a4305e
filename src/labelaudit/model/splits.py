"""The split of training rows for early stopping."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from labelaudit.errors import ConfigError, InputError
from labelaudit.model.training import Labeled


class InnerSplit(NamedTuple):
    """The rows to train on, those held out, and the positions of the former; None if no row is held out."""

    training: Labeled
    validation: Labeled | None = None
    positions: np.ndarray | None = None


def hold_out(labeled: Labeled, fraction: float, *, groups: np.ndarray | None, seed: int) -> InnerSplit:
    """Return the rows without those that `validation_split` holds out, and these.

    Raises:
        ConfigError, InputError: As in `validation_split`.
        InputError: All rows that are held out have weight zero.
    """
    sides = validation_split(labeled.targets.numpy(), fraction, groups=groups, seed=seed)
    training, validation = (
        Labeled(
            labeled.numbers(torch.from_numpy(side)),
            labeled.targets[side],
            None if labeled.weights is None else labeled.weights[side],
        )
        for side in sides
    )
    if validation.weights is not None and not validation.weights.any():
        raise InputError(
            "All rows held out for early stopping have weight zero. Give more rows a positive weight, or set "
            "early_stopping=False."
        )
    return InnerSplit(training, validation, sides[0])


def validation_split(
    targets: np.ndarray, fraction: float, *, groups: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions to train on and positions to validate with, both ascending.

    About `fraction` of all rows are for validation. Classes keep their shares as far as possible. Rows of a group stay
    on one side, and every class keeps rows to train on.

    Args:
        targets: (n,) classes as integers.
        fraction: Share of the rows for validation, between 0 and 1.
        groups: (n,) any type, or None.
        seed: Seed of the split.

    Raises:
        ConfigError: `fraction` is not between 0 and 1.
        InputError: There are too few rows or groups.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"The setting validation_fraction is {fraction}. Set it to a value between 0 and 1.")
    if groups is None:
        return _split_rows(targets, fraction, seed)
    return _split_groups(targets, fraction, groups, seed)


def _split_rows(targets: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import StratifiedShuffleSplit  # takes a quarter of a second to import

    # A class with a single row is trained on.
    _, codes, counts = np.unique(targets, return_inverse=True, return_counts=True)
    split = np.flatnonzero(counts[codes] > 1)
    classes, held_out = len(np.unique(codes[split])), round(fraction * len(split))
    if held_out < max(classes, 1) or len(split) - held_out < classes:
        raise InputError(
            f"Early stopping cannot hold out {fraction:g} of {len(targets)} rows with every class on both sides. "
            "Pass more rows, change validation_fraction, or set early_stopping=False."
        )
    splitter = StratifiedShuffleSplit(1, test_size=held_out, random_state=seed)
    training, validating = next(splitter.split(split, codes[split]))
    # If most rows are held out, all rows of a small class may be held out. One of them is returned to training.
    missing = np.setdiff1d(codes[split], codes[split[training]])
    returned = [np.flatnonzero(codes[split[validating]] == code)[0] for code in missing]
    return _sides(len(targets), split[np.delete(validating, returned)])


def _split_groups(targets: np.ndarray, fraction: float, groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import StratifiedGroupKFold  # as above

    distinct = len(np.unique(groups))
    parts = min(max(2, round(1 / min(fraction, 1 - fraction))), distinct)
    if parts > 1:
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        classes = len(np.unique(targets))
        # StratifiedGroupKFold warns about rare classes. Here it is checked that each class can be trained.
        codes = np.unique(targets, return_inverse=True)[1]
        for larger, smaller in splitter.split(targets, _merge_rare(codes, parts), groups):
            training, validating = (larger, smaller) if fraction <= 0.5 else (smaller, larger)
            if len(validating) and len(np.unique(targets[training])) == classes:
                return _sides(len(targets), validating)
    raise InputError(
        f"Early stopping cannot hold out some of the {distinct} groups and keep every class in training. "
        "Pass more groups, or set early_stopping=False."
    )


def _merge_rare(codes: np.ndarray, parts: int) -> np.ndarray:
    """Merge classes with fewer rows than parts into the most frequent class."""
    counts = np.bincount(codes)
    return np.where(counts[codes] >= parts, codes, counts.argmax())


def _sides(rows: int, validating: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    held_out = np.zeros(rows, bool)
    held_out[validating] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
