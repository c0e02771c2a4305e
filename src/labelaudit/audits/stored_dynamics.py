"""Training dynamics in storage: one Parquet file per fold, and one for all scored rows."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audits.work_files import parquet_bytes
from labelaudit.row_dynamics import Dynamics
from labelaudit.schemas import DYNAMICS


def dynamics_bytes(dynamics: Dynamics) -> bytes:
    """Return dynamics as a Parquet file with the schema DYNAMICS, in the order of their rows."""
    columns = dynamics.columns()
    return parquet_bytes(pa.table([pa.array(columns[name], pa.float32()) for name in DYNAMICS.names], schema=DYNAMICS))


def dynamics_from_bytes(data: bytes) -> Dynamics:
    """Decode a file that `dynamics_bytes` made.

    Raises:
        ArrowException, KeyError: it is not such a file.
    """
    table = pq.read_table(io.BytesIO(data)).cast(DYNAMICS)
    return Dynamics(**{name: table[name].to_numpy() for name in DYNAMICS.names})
