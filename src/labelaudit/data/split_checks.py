"""Ids across the splits of a dataset."""

from __future__ import annotations

import numpy as np
import pandas as pd

from labelaudit.strings import Strings

# If more of the ids that several splits share have other content in each, ids restart in each split.
_RESTARTED = 0.5


def ids_restart(ids: Strings, digests: Strings, splits: np.ndarray) -> bool:
    """Return whether the same ids mean other examples in each split, so that only split and id together identify one.

    A copy that leaked from one split into another has the same id and the same content. Ids that restart have other
    content.

    Args:
        ids, digests: N strings.
        splits: (N,) object of str or None.
    """
    if all(split is None for split in splits):
        return False
    table = pd.DataFrame({"id": ids.numbers(), "digest": digests.numbers(), "split": splits})
    of_id = table.groupby("id", sort=False).agg(
        splits=("split", "nunique"), digests=("digest", "nunique"), rows=("digest", "size")
    )
    shared = of_id[of_id["splits"] > 1]
    smallest = table.groupby("split")["id"].nunique().min() if len(shared) else 0
    # Ids that restart are nearly all shared. A few that are the same by mistake are duplicates.
    return len(shared) > _RESTARTED * smallest and bool((shared["digests"] == shared["rows"]).mean() > _RESTARTED)


def unique_ids(ids: Strings, digests: Strings, splits: np.ndarray) -> tuple[Strings, tuple[str, ...]]:
    """Return ids with the name of the split in front if they restart in each split, and a sentence then.

    Args:
        ids, digests: N strings.
        splits: (N,) object of str or None.
    """
    if not ids_restart(ids, digests, splits):
        return ids, ()
    prefixed = Strings(f"{split}/{id}" for split, id in zip(splits, ids, strict=True))
    note = f"ids restart in each split, so the name of the split is part of each id, such as {prefixed[0]}"
    return prefixed, (note,)
