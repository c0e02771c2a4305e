"""What a config points to: a dataset version, and the store of its audits."""

from __future__ import annotations

from collections.abc import Sequence

from labelaudit.config import AuditConfig
from labelaudit.errors import ConfigError, DatasetError
from labelaudit.storage.store import DatasetFiles, Store, StoredFile, open_dataset
from labelaudit.storage.versions import DatasetName, dataset_url, name_from_url


def open_source(config: AuditConfig) -> DatasetFiles:
    """Return the files of the config's dataset version. Raises `DatasetError` if there are none."""
    dataset = config.dataset
    url = dataset_url(dataset.url, dataset.name, dataset.version)
    return open_dataset(url, config.storage.options, marker=config.versions.marker)


def open_annotations(config: AuditConfig) -> DatasetFiles | None:
    """Return the files with the answers of annotators; None if the config names none.

    Raises:
        DatasetError: nothing is stored there.
        ConfigError: they are part of the dataset.
    """
    dataset = config.dataset
    if dataset.annotations is None:
        return None
    url = dataset_url(dataset.annotations, dataset.name, dataset.version)
    try:
        found = open_dataset(url, config.storage.options, marker=config.versions.marker)
    except DatasetError as error:
        raise DatasetError(str(error).replace("dataset.url", "dataset.annotations")) from error
    audited = open_source(config)
    if not audited.is_single_file and f"{found.url}/".startswith(f"{audited.url.rstrip('/')}/"):
        raise ConfigError(
            f"dataset.annotations {url!r} is inside dataset.url, so its rows would be audited. Store it next to the "
            "dataset, in another folder."
        )
    return found


def with_annotations(config: AuditConfig, files: Sequence[StoredFile]) -> list[StoredFile]:
    """Return the files of a dataset version and those of its annotations."""
    annotations = open_annotations(config)
    return [*files, *([] if annotations is None else annotations.files())]


def open_output(config: AuditConfig) -> Store:
    """Return the store in which the config's audits are published."""
    return Store(config.output.url, config.storage.options)


def version_in_url(config: AuditConfig) -> str | None:
    """Return the version that the URL contains; None if the content at the URL is the version."""
    return config.dataset.version if config.dataset.has_version_in_url else None


def audited_name(config: AuditConfig) -> DatasetName:
    """Return the name and version of the config's dataset: as configured, else from the URL."""
    guessed = name_from_url(config.dataset.url)
    return DatasetName(config.dataset.name or guessed.name, config.dataset.version or guessed.version)
