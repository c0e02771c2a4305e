"""Parts of the training rows of a fold, each held out once while settings are chosen."""

from __future__ import annotations

import numpy as np

_PARTS = 5
# One number, the temperature, is fitted to a part. 10,000 rows give it to about 1 %, and more would only be missing in
# the model that predicts them and take memory (10,000 rows x 1,000 classes: 40 MB of logits).
_MOST_ROWS = 10_000
# Held-out rows from which a penalty and a temperature are chosen. With more, the choice hardly changes.
_ENOUGH_ROWS = 3_000


def inner_parts(targets: np.ndarray, groups: np.ndarray | None, *, seed: int) -> np.ndarray:
    """Divide rows into parts to hold out, stratified by class. Rows of a group are in one part.

    Each part has about a fifth of the rows, but at most about 10,000. There are as many parts as give 3,000 held-out
    rows, 1 to 5.

    Args:
        targets: (n,) int64, the classes.
        groups: (n,) any type, or None.
        seed: Seed of the division.

    Returns:
        (n,) int64: the part in which a row is held out; -1 if it never is. Every class has rows outside each part.
    """
    codes = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    first = np.unique(codes, return_index=True)[1]
    shuffled = np.random.default_rng(seed).permutation(len(first))
    dealt = shuffled[np.argsort(targets[first[shuffled]], kind="stable")]
    part_of_group = np.empty(len(first), np.int64)
    count = max(_PARTS, -(-len(targets) // _MOST_ROWS))
    part_of_group[dealt] = np.arange(len(first)) % count
    parts = part_of_group[codes]
    counts = np.zeros((targets.max() + 1, count), np.int64)
    np.add.at(counts, (targets, parts), 1)
    # Without a row outside its part, a class could not be learned there.
    lonely = (counts == counts.sum(axis=1, keepdims=True)).any(axis=1)
    part_of_group[codes[lonely[targets]]] = -1
    wanted = int(np.clip(-(-_ENOUGH_ROWS * _PARTS // len(targets)), 1, _PARTS))
    part_of_group[part_of_group >= wanted] = -1
    return part_of_group[codes]
