"""Keys below the output URL. The published part is a contract; `_work` holds what makes a rerun cheap.

    dataset=<name>/latest.json                                the youngest audit
    dataset=<name>/version=<version>/audit=<audit_id>/…       published, manifest.json last
    dataset=<name>/index.html, trend.parquet                  all audits, made anew by each publish
    dataset=<name>/_audits/version=<version>/<audit_id>.json  the main figures of each published audit; .parquet: of
                                                              its classes
    dataset=<name>/_verdicts/<name>.json                      what people decided, append-only
    dataset=<name>/_verdicts/compacted/<digest>.json          copies of many of them in one, to be read faster
    dataset=<name>/_samples/<name>.json                       random samples that people judge, append-only
    dataset=<name>/_audited/<state>.json                      which audit a state of a version has
    dataset=<name>/_announced/<state>.json                    that a state of a version was announced
    dataset=<name>/_work/scans/<key>.json, .parquet           what a set of files was found to contain
    dataset=<name>/_work/folds/<training_key>/…               committed folds, checkpoints of unfinished ones
    dataset=<name>/_work/audits/<audit_id>/…                  what the steps of one audit hand on
    _work/conditional-writes                                  empty: tells whether the store honours conditions

Names that begin with an underscore are skipped by Hive-style readers.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

MANIFEST = "manifest.json"
PAGE = "report.html"
SUMMARY = "summary.json"
CONDITIONS_PROBE = "_work/conditional-writes"


def _part(name: str, value: str) -> str:
    # Hive escapes partition values with percent signs; "." and ".." alone would be other folders.
    escaped = quote(value, safe=" -_.~+@")
    return f"{name}={escaped}"


def dataset_folder(dataset: str) -> str:
    return _part("dataset", dataset)


def latest_key(dataset: str) -> str:
    """Pointer to the youngest published audit, made anew with the dataset's page."""
    return f"{dataset_folder(dataset)}/latest.json"


def dataset_page_key(dataset: str) -> str:
    """The static page of a dataset."""
    return f"{dataset_folder(dataset)}/index.html"


def trend_key(dataset: str) -> str:
    return f"{dataset_folder(dataset)}/trend.parquet"


def audit_records_folder(dataset: str) -> str:
    """One small record per published audit: who wants to know all audits reads these."""
    return f"{dataset_folder(dataset)}/_audits"


def audit_record_key(dataset: str, version: str, audit_id: str) -> str:
    return f"{audit_records_folder(dataset)}/{_part('version', version)}/{audit_id}.json"


def audit_classes_key(dataset: str, version: str, audit_id: str) -> str:
    """The figures of its classes, written before the record: only who draws their course needs them."""
    return f"{audit_records_folder(dataset)}/{_part('version', version)}/{audit_id}.parquet"


def verdicts_folder(dataset: str) -> str:
    """What people decided; every decision is an object of its own, so that reviewers never meet."""
    return f"{dataset_folder(dataset)}/_verdicts"


def compacted_verdicts_folder(dataset: str) -> str:
    """Copies of decisions, which may be removed."""
    return f"{verdicts_folder(dataset)}/compacted"


def samples_folder(dataset: str) -> str:
    """Random samples of rows that people judge, for an interval of the error rate."""
    return f"{dataset_folder(dataset)}/_samples"


def dataset_of(folder: str) -> str | None:
    """The dataset whose folder has this name; None where it is none."""
    name, equals, value = folder.partition("=")
    return unquote(value) if equals and name == "dataset" else None


def audited_key(dataset: str, state: str) -> str:
    """Record of the published audit of one state of a version."""
    return f"{dataset_folder(dataset)}/_audited/{state}.json"


def announced_key(dataset: str, state: str) -> str:
    """Record of the event that announced one state of a version."""
    return f"{dataset_folder(dataset)}/_announced/{state}.json"


def audit_folder(dataset: str, version: str, audit_id: str) -> str:
    return f"{dataset_folder(dataset)}/{_part('version', version)}/{_part('audit', audit_id)}"


def scan_record_key(dataset: str, key: str) -> str:
    """The small JSON record whose existence commits a scan."""
    return f"{dataset_folder(dataset)}/_work/scans/{key}.json"


def scan_data_key(dataset: str, key: str) -> str:
    return f"{dataset_folder(dataset)}/_work/scans/{key}.parquet"


def fold_record_key(dataset: str, training_key: str, fold: int) -> str:
    """The small JSON record whose existence commits a fold."""
    return f"{dataset_folder(dataset)}/_work/folds/{training_key}/fold={fold}.json"


def fold_data_key(dataset: str, training_key: str, fold: int, sha256: str) -> str:
    # Named by content: of two workers that train the same fold, each writes its own bytes, and the record
    # of the first one points at the right ones.
    return f"{dataset_folder(dataset)}/_work/folds/{training_key}/fold={fold}-{sha256[:16]}.parquet"


def fold_checkpoints_folder(dataset: str, training_key: str, fold: int) -> str:
    """What a fold that was killed goes on from; removed when the fold is committed."""
    return f"{dataset_folder(dataset)}/_work/folds/{training_key}/fold={fold}.checkpoints"


def work_folder(dataset: str, version: str, audit_id: str) -> str:
    """Where the steps of one audit hand on what is not published yet."""
    return f"{dataset_folder(dataset)}/_work/audits/{_part('version', version)}/{audit_id}"


def published_fold_key(fold: int) -> str:
    """Key of one fold's probabilities, relative to the audit's folder."""
    return f"pred_probs/fold={fold}/part.parquet"
