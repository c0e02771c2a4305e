"""The inner split of a fit that stops early."""

from __future__ import annotations

import numpy as np

from labelaudit.errors import ConfigError, InputError


def validation_split(
    targets: np.ndarray, fraction: float, *, groups: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train on and positions to validate with, both ascending; the latter about `fraction` of all.

    Classes keep their shares as far as they can. Rows of one group stay on one side, and every class keeps rows
    to train on.

    Args:
        targets: (n,) classes as integers. groups: (n,) of any type, or None.

    Raises:
        ConfigError: `fraction` is not between 0 and 1. InputError: there are too few rows or groups.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"validation_fraction {fraction} must be between 0 and 1.")
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
            f"early stopping cannot hold out {fraction:g} of {len(targets)} rows with every class on both sides: "
            "give more rows, another validation_fraction, or set early_stopping=False."
        )
    splitter = StratifiedShuffleSplit(1, test_size=held_out, random_state=seed)
    training, validating = next(splitter.split(split, codes[split]))
    # Where most rows are held out, a small class may be held out as a whole: it gets one row back.
    lost = np.setdiff1d(codes[split], codes[split[training]])
    back = [np.flatnonzero(codes[split[validating]] == code)[0] for code in lost]
    return _sides(len(targets), split[np.delete(validating, back)])


def _split_groups(targets: np.ndarray, fraction: float, groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import StratifiedGroupKFold  # as above

    distinct = len(np.unique(groups))
    parts = min(max(2, round(1 / min(fraction, 1 - fraction))), distinct)
    if parts > 1:
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        classes = len(np.unique(targets))
        # StratifiedGroupKFold warns about rare classes; whether one is lost to training is looked at here.
        codes = np.unique(targets, return_inverse=True)[1]
        for most, part in splitter.split(targets, _common(codes, parts), groups):
            training, validating = (most, part) if fraction <= 0.5 else (part, most)
            if len(validating) and len(np.unique(targets[training])) == classes:
                return _sides(len(targets), validating)
    raise InputError(
        f"early stopping cannot hold out some of the {distinct} groups and keep every class in training: "
        "give more groups, or set early_stopping=False."
    )


def _common(codes: np.ndarray, parts: int) -> np.ndarray:
    """Classes with fewer rows than parts count as one with the most frequent class."""
    counts = np.bincount(codes)
    return np.where(counts[codes] >= parts, codes, counts.argmax())


def _sides(rows: int, validating: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    held_out = np.zeros(rows, bool)
    held_out[validating] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
