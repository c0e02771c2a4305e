"""Names and versions from URLs."""

from __future__ import annotations

import pytest

from labelaudit.errors import ConfigError
from labelaudit.storage.layout import audit_folder, dataset_folder
from labelaudit.storage.versions import dataset_url, name_from_url


@pytest.mark.parametrize(
    ("url", "name", "version"),
    [
        ("s3://datasets/cifar10n/v3", "cifar10n", "v3"),
        ("s3://datasets/cifar10n/v3/", "cifar10n", "v3"),
        ("s3://datasets/cifar10n/{version}/", "cifar10n", None),
        ("s3://datasets/dataset=news/version=2026-11-20", "news", "2026-11-20"),
        ("data/cifar10n-5k.parquet", "cifar10n-5k", None),
        ("cifar10n-5k.parquet", "cifar10n-5k", None),
        ("s3://bucket/news/2026-11-20.csv", "news", "2026-11-20"),
        ("file:///data/photos", "photos", None),
        ("photos", "photos", None),
        ("s3://bucket/cats/{version}/data.parquet", "cats", None),
        ("s3://bucket/cats-{version}.parquet", "cats", None),
        ("./", "dataset", None),
    ],
)
def test_name_from_url(url: str, name: str, version: str | None) -> None:
    assert name_from_url(url) == (name, version)


def test_the_version_goes_into_the_url() -> None:
    assert dataset_url("s3://b/{version}/x", "v1") == "s3://b/v1/x"
    assert dataset_url("s3://b/x", "v1") == "s3://b/x"
    with pytest.raises(ConfigError, match=r"holds \{version\}, but dataset\.version is not set"):
        dataset_url("s3://b/{version}/x", None)


def test_names_cannot_leave_their_folder() -> None:
    assert dataset_folder("../x/y") == "dataset=..%2Fx%2Fy"
    assert audit_folder("a=b", "v 1", "id") == "dataset=a%3Db/version=v 1/audit=id"
