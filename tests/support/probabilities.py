"""Audits of given probabilities, without training. Tests make versions of the dataset as they need them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from labelaudit.audit import audit_probabilities
from labelaudit.audits.references import AuditReference
from labelaudit.config import build_config
from labelaudit.pipeline.external_probabilities import ExternalProbabilities

NAMES = np.array(["ant", "bee", "fly"])
ROWS = 90


def insects(wrong: Iterable[int] = (), rows: int = ROWS) -> pd.DataFrame:
    """Return rows i000, i001, … with alternating right labels. Rows in `wrong` have the next class and are flagged."""
    numbers = np.arange(rows)
    right = numbers % 3
    given = np.where(np.isin(numbers, list(wrong)), (right + 1) % 3, right)
    pred_probs = 0.05 + 0.85 * np.eye(3)[right]
    return pd.DataFrame(
        {"id": [f"i{number:03d}" for number in numbers], "label": NAMES[given], "pred_probs": list(pred_probs)}
    )


def audit_insects(
    folder: Path,
    version: str,
    frame: pd.DataFrame,
    *,
    output: str | None = None,
    filter_by: str = "prune_by_noise_rate",
    gate: Mapping[str, float] | None = None,
) -> AuditReference:
    """Audit a version of the dataset `insects` into `folder/out`, or another output URL."""
    path = folder / f"{version.replace('/', '-')}.parquet"
    frame.to_parquet(path, index=False)
    config = build_config(
        {
            "dataset": {"url": str(path), "name": "insects", "version": version},
            "detection": {"filter": filter_by},
            "output": {"url": output or str(folder / "out")},
            "gate": gate or {},
        }
    )
    return audit_probabilities(config, ExternalProbabilities(str(path)))
