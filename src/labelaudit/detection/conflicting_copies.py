"""What copies with different labels say about these labels: at most one of them is right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# So that a label that seems certain can lose to one that a person confirmed.
_SMALLEST = 1e-6


def p_wrong_of_copies(
    p_wrong: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], clusters: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the probability that each label is wrong, given that at most one label of a cluster is right.

    Copies show the same thing, so they have one true label. If c is the probability that the label of a row is right,
    its odds are c / (1 - c). A label is right with the sum of the odds of its rows, divided by 1 plus the odds of all
    rows of the cluster. So a single label among many equal ones is the doubtful one. No row gets a lower probability
    than before. Rows whose copies have the same label, and rows without copies, keep theirs.

    Args:
        p_wrong: (M,) 0..1.
        labels: (M,) class numbers.
        clusters: (M,) equal numbers are copies; -1 if a row has none.
    """
    rows = np.flatnonzero(clusters >= 0)
    if not len(rows):
        return p_wrong
    _, cluster = np.unique(clusters[rows], return_inverse=True)
    pairs, group = np.unique(np.stack([cluster, labels[rows]]), axis=1, return_inverse=True)
    given = p_wrong[rows].astype(np.float64)
    odds = np.bincount(group, (1 - given) / np.maximum(given, _SMALLEST))
    total = np.bincount(pairs[0], odds)
    has_others = (np.bincount(pairs[0]) > 1)[cluster]
    of_label = 1 - odds / (1 + total[pairs[0]])
    result = p_wrong.copy()
    result[rows[has_others]] = np.maximum(given, of_label[group])[has_others]
    return result
