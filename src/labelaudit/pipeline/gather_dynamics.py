"""The training dynamics of each scored row: the mean over the folds that trained on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelaudit.audits.probabilities import FoldRecord
from labelaudit.audits.stored_dynamics import dynamics_from_bytes
from labelaudit.errors import StorageError
from labelaudit.row_dynamics import Dynamics, MeanDynamics
from labelaudit.storage.manifest import read_checked
from labelaudit.storage.store import Store


def gather_dynamics(
    store: Store, records: Sequence[FoldRecord], fold_of: npt.NDArray[np.int16]
) -> tuple[Dynamics | None, tuple[str, ...]]:
    """Return the dynamics of the M scored rows, and notes for people. One fold after another is read.

    The rows of a fold are all scored rows that it does not hold out, in canonical order. That a fold was trained on
    exactly these rows is checked with its probabilities (`FoldRecord.trained_on`).

    Args:
        records: of all folds.
        fold_of: (repeats, M), the fold that holds out each row.

    Returns:
        None and a note if a fold has none, because an earlier release trained it.

    Raises:
        IntegrityError: a file is missing or was changed since it was committed.
    """
    without = sum(record.dynamics_key is None for record in records)
    if without:
        trained = f"an earlier release trained {without:,} of {len(records):,} folds"
        return None, (f"There are no training dynamics, because {trained}.",)
    mean = MeanDynamics(fold_of.shape[1])
    for record in records:
        positions = np.flatnonzero(fold_of[record.repeat] != record.fold)
        mean.add(_fold_dynamics(store, record, len(positions)), positions)
    return mean.result(), ()


def _fold_dynamics(store: Store, record: FoldRecord, rows: int) -> Dynamics:
    assert record.dynamics_key is not None
    assert record.dynamics_sha256 is not None
    try:
        dynamics = dynamics_from_bytes(read_checked(store, record.dynamics_key, record.dynamics_sha256))
    except (StorageError, pa.ArrowException, KeyError) as error:
        raise record.altered(
            f"{record.dynamics_key} is not the file that was committed: {error}", record.training_examples
        ) from error
    if len(dynamics) != rows:
        raise record.altered(
            f"{record.dynamics_key} has {len(dynamics):,} rows instead of {rows:,}", record.training_examples
        )
    return dynamics
