"""`labelaudit diff`: what changed from one published audit to another."""

from __future__ import annotations

from dataclasses import replace

from labelaudit.audits.comparison import AuditDifference, compare_published
from labelaudit.audits.published import PublishedAudit, find_audit
from labelaudit.audits.work_files import parquet_bytes
from labelaudit.cli.console import show, show_json
from labelaudit.cli.options import config_from
from labelaudit.codec import to_record
from labelaudit.config_files import is_config_file
from labelaudit.errors import ConfigError
from labelaudit.report.changes import changes_in_words
from labelaudit.storage.layout import dataset_folder
from labelaudit.storage.store import Store
from labelaudit.versions.named import audited_name


def diff_command(
    before: str, after: str, *, dataset: str | None, output: str | None, limit: int, as_json: bool
) -> None:
    """Compare two audits and print the changes.

    Args:
        before: URL of the earlier audit, or a version of `dataset`.
        after: URL of the later audit, or a version of `dataset`.
        dataset: Folder of a dataset, or a config file.
        output: Parquet file for all changed rows.
        limit: How many new issues to list.
        as_json: Whether to print JSON.
    """
    audit_before, audit_after = _audits(before, after, dataset)
    found = compare_published(audit_before, audit_after)
    if output is not None:
        _write(output, found)
    if as_json:
        show_json(to_record(found.changes))
    else:
        _print(audit_before, audit_after, found, limit)


def _audits(before: str, after: str, dataset: str | None) -> tuple[PublishedAudit, PublishedAudit]:
    url, storage_options = dataset, None
    if dataset is not None and is_config_file(dataset):
        config = config_from(dataset)
        url, storage_options = _dataset_url(config.output.url, audited_name(config).name), config.storage.options
    return (
        find_audit(before, storage_options, dataset_url=url),
        find_audit(after, storage_options, dataset_url=url),
    )


def _dataset_url(output_url: str, dataset: str) -> str:
    return f"{output_url.rstrip('/')}/{dataset_folder(dataset)}"


def _write(file: str, found: AuditDifference) -> None:
    if not file.lower().endswith(".parquet"):
        raise ConfigError(
            f"--output {file!r} must end in .parquet, because changed rows are written as Parquet. Change the name."
        )
    folder, slash, name = file.rpartition("/")
    Store(folder + slash if slash else ".").write(name, parquet_bytes(found.rows))


def _print(before: PublishedAudit, after: PublishedAudit, found: AuditDifference, limit: int) -> None:
    if found.changes.warning:
        show(found.changes.warning, fg="red", bold=True)
    for audit in (before, after):
        version, audited_at = audit.version, audit.created_at[:16].replace("T", " ")
        show(f"{version}, audited {audited_at} UTC: {audit.summary().verdict}")
    for sentence in changes_in_words(replace(found.changes, warning=None)):
        show(sentence)
    for note in found.changes.notes:
        show(f"note: {note}")
    for row in found.new_issues.slice(0, limit).to_pylist():
        labels = f"{row['given_label']} \N{RIGHTWARDS ARROW} {row['suggested_label']}"
        id_before = row["example_id_before"]
        renamed = "" if id_before in (None, row["example_id"]) else f"  (was {id_before})"
        show(f"  new  {row['label_score']:.3f}  {row['example_id']}  {labels}{renamed}")
    more = len(found.new_issues) - limit
    if more > 0:
        show(f"  and {more:,} more new issues")
