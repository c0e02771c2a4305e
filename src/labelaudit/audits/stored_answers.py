"""The answers of annotators in the work folder of an audit, as they were when it was planned."""

from __future__ import annotations

from labelaudit.audits.audit_plan import Plan, output_store
from labelaudit.audits.references import PlanReference
from labelaudit.audits.work_files import parquet_file, read_columns, unchanged_file
from labelaudit.data.annotations import AnswerTable
from labelaudit.storage.file_on_disk import FileOnDisk
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles

ANSWERS_FILE = "annotations.parquet"


def answers_file(answers: AnswerTable, files: TemporaryFiles) -> FileOnDisk:
    """Write the answers as a Parquet file, which `load_answers` reads."""
    return parquet_file([answers.to_table()], files)


def load_answers(reference: PlanReference, plan: Plan) -> AnswerTable:
    """Read the answers of a plan that has some.

    Raises:
        StorageError: they were changed since.
    """
    return answers_in(output_store(reference), plan)


def answers_in(store: Store, plan: Plan) -> AnswerTable:
    """Read the answers of a plan that has some from the store of its audit.

    Raises:
        StorageError: they were changed since.
    """
    assert plan.annotations_sha256 is not None, "the plan has no answers"
    files = TemporaryFiles()
    file = unchanged_file(store, f"{plan.work_folder}/{ANSWERS_FILE}", plan.annotations_sha256, files)
    return AnswerTable.from_table(read_columns(file.path, None, ("example_id", "annotator", "label")))
