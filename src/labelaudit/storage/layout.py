"""Keys below the output URL. The published part is a contract; `_work` is there so that runs can resume.

    dataset=<name>/latest.json                                the newest audit
    dataset=<name>/version=<version>/audit=<audit_id>/…       published, manifest.json last
    dataset=<name>/index.html, trend.parquet                  all audits, rewritten by each publish
    dataset=<name>/_audits/version=<version>/<audit_id>.json  the main figures of each published audit; .parquet: those
                                                              of its classes
    dataset=<name>/_verdicts/<name>.json                      decisions of people, append-only
    dataset=<name>/_verdicts/compacted/<digest>.json          copies of many of them in one, faster to read
    dataset=<name>/_samples/<name>.json                       random samples for people to judge, append-only
    dataset=<name>/_audited/<state>.json                      the audit of one state of a version
    dataset=<name>/_announced/<state>.json                    the announcement of one state of a version
    dataset=<name>/_features/<encoder>/<shard>.parquet, .json features of an encoder, append-only; .json: the index of
                                                              the shard, written after the data
    dataset=<name>/_work/scans/<key>.json, .parquet           the content of a set of files
    dataset=<name>/_work/features/<key>.json                  the shards whose features all folds of a version use
    dataset=<name>/_work/folds/<training_key>/…               committed folds, checkpoints of unfinished ones
    dataset=<name>/_work/audits/<audit_id>/…                  what the steps of one audit pass on
    _work/conditional-writes                                  empty: the probe for conditional writes

Hive-style readers skip names that begin with an underscore.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

MANIFEST = "manifest.json"
PAGE = "report.html"
SUMMARY = "summary.json"
CONDITIONS_PROBE = "_work/conditional-writes"


def _part(name: str, value: str) -> str:
    # Hive escapes partition values with percent signs too. The name in front keeps "." and ".." from being folders.
    escaped = quote(value, safe=" -_.~+@")
    return f"{name}={escaped}"


def dataset_folder(dataset: str) -> str:
    return _part("dataset", dataset)


def latest_key(dataset: str) -> str:
    """Return the key of the pointer to the newest published audit, rewritten with the dataset's page."""
    return f"{dataset_folder(dataset)}/latest.json"


def dataset_page_key(dataset: str) -> str:
    """Return the key of a dataset's static page."""
    return f"{dataset_folder(dataset)}/index.html"


def trend_key(dataset: str) -> str:
    return f"{dataset_folder(dataset)}/trend.parquet"


def audit_records_folder(dataset: str) -> str:
    """Return the folder with one small record per published audit, to list all audits."""
    return f"{dataset_folder(dataset)}/_audits"


def audit_record_key(dataset: str, version: str, audit_id: str) -> str:
    return f"{audit_records_folder(dataset)}/{_part('version', version)}/{audit_id}.json"


def audit_classes_key(dataset: str, version: str, audit_id: str) -> str:
    """Return the key of the figures of an audit's classes, written before the record; used for trends."""
    return f"{audit_records_folder(dataset)}/{_part('version', version)}/{audit_id}.parquet"


def verdicts_folder(dataset: str) -> str:
    """Return the folder of decisions of people. Each is a separate object, so reviewers cannot conflict."""
    return f"{dataset_folder(dataset)}/_verdicts"


def compacted_verdicts_folder(dataset: str) -> str:
    """Return the folder of copies of decisions, which may be removed."""
    return f"{verdicts_folder(dataset)}/compacted"


def samples_folder(dataset: str) -> str:
    """Return the folder of random samples, from which the error rate is measured."""
    return f"{dataset_folder(dataset)}/_samples"


def dataset_of(folder: str) -> str | None:
    """Return the dataset whose folder has this name; None if it is another name."""
    name, equals, value = folder.partition("=")
    return unquote(value) if equals and name == "dataset" else None


def audited_key(dataset: str, state: str) -> str:
    """Return the key of the record of one state's published audit."""
    return f"{dataset_folder(dataset)}/_audited/{state}.json"


def announced_key(dataset: str, state: str) -> str:
    """Return the key of the record of one state's announcement."""
    return f"{dataset_folder(dataset)}/_announced/{state}.json"


def all_features_folder(dataset: str) -> str:
    """Return the folder of the features of all encoders."""
    return f"{dataset_folder(dataset)}/_features"


def features_folder(dataset: str, encoder: str) -> str:
    """Return the folder of the features of one encoder, named by its key."""
    return f"{all_features_folder(dataset)}/{encoder}"


def feature_data_key(folder: str, shard: str) -> str:
    return f"{folder}/{shard}.parquet"


def feature_index_key(folder: str, shard: str) -> str:
    """Return the key of the index of a shard. It is written after the data, and removed before."""
    return f"{folder}/{shard}.json"


def version_shards_key(dataset: str, key: str) -> str:
    """Return the key of the list of shards whose features all folds of a version use."""
    return f"{dataset_folder(dataset)}/_work/features/{key}.json"


def audit_folder(dataset: str, version: str, audit_id: str) -> str:
    return f"{dataset_folder(dataset)}/{_part('version', version)}/{_part('audit', audit_id)}"


def scan_record_key(dataset: str, key: str) -> str:
    """Return the key of the small JSON record that commits a scan."""
    return f"{dataset_folder(dataset)}/_work/scans/{key}.json"


def scan_data_key(dataset: str, key: str) -> str:
    return f"{dataset_folder(dataset)}/_work/scans/{key}.parquet"


def scan_quality_key(dataset: str, key: str) -> str:
    return f"{dataset_folder(dataset)}/_work/scans/{key}.quality.parquet"


def fold_record_key(dataset: str, training_key: str, fold: int) -> str:
    """Return the key of the small JSON record that commits a fold."""
    return f"{dataset_folder(dataset)}/_work/folds/{training_key}/fold={fold}.json"


def fold_data_key(dataset: str, training_key: str, fold: int, sha256: str) -> str:
    # The name contains the digest. If two workers train the same fold, each writes its own file, and the record
    # of the first one points to the right file.
    return f"{dataset_folder(dataset)}/_work/folds/{training_key}/fold={fold}-{sha256[:16]}.parquet"


def fold_dynamics_key(dataset: str, training_key: str, fold: int, sha256: str) -> str:
    """Return the key of the training dynamics of a fold, which are written before its record."""
    return f"{dataset_folder(dataset)}/_work/folds/{training_key}/fold={fold}-{sha256[:16]}.dynamics.parquet"


def fold_checkpoints_folder(dataset: str, training_key: str, fold: int) -> str:
    """Return the folder of checkpoints from which a killed fold resumes; removed when the fold is committed."""
    return f"{dataset_folder(dataset)}/_work/folds/{training_key}/fold={fold}.checkpoints"


def work_folder(dataset: str, version: str, audit_id: str) -> str:
    """Return the folder of the intermediate results of one audit."""
    return f"{dataset_folder(dataset)}/_work/audits/{_part('version', version)}/{audit_id}"


def published_fold_key(fold: int) -> str:
    """Return the key of one fold's probabilities, relative to the audit's folder."""
    return f"pred_probs/fold={fold}/part.parquet"
