"""Quick audits and verdicts on their rows, for the tests of reviews."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.audit import audit_probabilities
from labelaudit.audits.published import PublishedAudit
from labelaudit.audits.references import AuditReference
from labelaudit.config import build_config
from labelaudit.pipeline.external_probabilities import ExternalProbabilities
from labelaudit.reviews.audit_review import audit_to_review
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.verdicts import Verdict
from labelaudit.schemas import Decision

ROWS = 120
NAMES = np.array(["ant", "bee", "fly"])
RIGHT = np.arange(ROWS) % 3
# Every 15th label is wrong and flagged.
GIVEN = np.where(np.arange(ROWS) % 15 == 0, (RIGHT + 1) % 3, RIGHT)
IDS = [f"i{number:03d}" for number in range(ROWS)]
WRONG = IDS[::15]


def audit_insects(folder: Path, output: object, given: list[str] | None = None, version: str = "v1") -> AuditReference:
    """Audit 120 rows with correct probabilities. 8 labels are wrong unless `given` sets others."""
    labels = list(NAMES[GIVEN]) if given is None else given
    path = folder / "insects.parquet"
    table = pa.table({"id": IDS, "label": labels, "pred_probs": list(0.05 + 0.85 * np.eye(3)[RIGHT])})
    pq.write_table(table.replace_schema_metadata({"class_names": '["ant", "bee", "fly"]'}), path)
    dataset = {"url": str(path), "name": "insects", "version": version}
    config = build_config({"dataset": dataset, "output": {"url": str(output)}})
    return audit_probabilities(config, ExternalProbabilities(str(path)))


def open_insects(folder: Path, output: object) -> PublishedAudit:
    return audit_to_review(audit_insects(folder, output).audit_url)


def right_label(example_id: str) -> str:
    return str(NAMES[RIGHT[IDS.index(example_id)]])


def truly(example_id: str) -> Draft:
    """Return the verdict of a person who knows the right labels."""
    if example_id in WRONG:
        return Draft(example_id, Decision.WRONG, right_label(example_id))
    return Draft(example_id, Decision.FINE)


def make_verdict(example_id: str = "i000", decision: Decision | None = Decision.FINE, **changes: object) -> Verdict:
    values = {
        "example_id": example_id,
        "content_digest": "c0",
        "given_label": "bee",
        "verdict": decision,
        "right_label": "ant" if decision == Decision.WRONG else None,
        "remove_reason": "off-topic" if decision == Decision.REMOVE else None,
        "reviewer": "ann",
        "decided_at": "2026-01-01T00:00:00.000000+00:00",
        "audit_id": "a1",
        "was_flagged": True,
    }
    return Verdict(**{**values, **changes})  # type: ignore[arg-type]
