"""The quality of the inputs of a version: measured while it is read, and stored for the steps that follow."""

from __future__ import annotations

import numpy as np

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.work_files import read_columns, unchanged_file
from labelaudit.data.dataset import Examples
from labelaudit.quality.input_quality import InputMeasures, InputQuality
from labelaudit.schemas import Status
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

INPUT_QUALITY = "input-quality.parquet"


def measured_quality(examples: Examples, measures: InputMeasures) -> InputQuality:
    """Return the quality of the inputs that were measured while the rows were read."""
    is_readable = examples.status != Status.UNREADABLE.value
    return measures.quality(
        examples.content_digest,
        examples.position,
        np.asarray(is_readable, bool),
        examples.label,
        examples.class_names,
    )


def load_quality(store: Store, plan: Plan) -> InputQuality | None:
    """Return the quality of the inputs of a plan; None if their contents are unknown.

    Raises:
        StorageError: the file was changed since.
    """
    if plan.quality_sha256 is None:
        return None
    files = TemporaryFiles()
    file = unchanged_file(store, f"{plan.work_folder}/{INPUT_QUALITY}", plan.quality_sha256, files)
    return InputQuality.from_table(read_columns(file.path, None))
