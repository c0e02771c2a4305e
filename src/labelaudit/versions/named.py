"""The dataset version that a config names: its name, and its files."""

from __future__ import annotations

from labelaudit.config import AuditConfig
from labelaudit.storage.store import DatasetFiles, open_dataset
from labelaudit.storage.versions import DatasetName, dataset_url, name_from_url


def open_source(config: AuditConfig) -> DatasetFiles:
    """The files of the config's dataset version. Raises `DatasetError` when there is nothing."""
    dataset = config.dataset
    url = dataset_url(dataset.url, dataset.name, dataset.version)
    return open_dataset(url, config.storage.options, marker=config.versions.marker)


def version_in_url(config: AuditConfig) -> str | None:
    """The version, where the URL holds it; None where the content at the URL is the version."""
    return config.dataset.version if "{version}" in config.dataset.url else None


def audited_name(config: AuditConfig) -> DatasetName:
    guessed = name_from_url(config.dataset.url)
    return DatasetName(config.dataset.name or guessed.name, config.dataset.version or guessed.version)
