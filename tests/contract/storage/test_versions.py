"""Names and versions from URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ConfigError
from labelaudit.storage.layout import audit_folder, dataset_folder
from labelaudit.storage.versions import VersionedTemplate, dataset_url, name_from_url, natural_order


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
        ("fruit.csv.gz", "fruit", None),
        ("hub/datasets--me--fruit/snapshots/0123456789abcdef0123456789abcdef01234567/data", "fruit", "0123456789ab"),
        ("fruit/0123456789abcdef0123456789abcdef01234567", "fruit", "0123456789abcdef0123456789abcdef01234567"),
    ],
)
def test_name_from_url(url: str, name: str, version: str | None) -> None:
    assert name_from_url(url) == (name, version)


def test_the_version_goes_into_the_url() -> None:
    assert dataset_url("s3://b/{version}/x", None, "v1") == "s3://b/v1/x"
    assert dataset_url("s3://b/{name}/{version}/{version}.csv", "cats", "v1") == "s3://b/cats/v1/v1.csv"
    assert dataset_url("s3://b/x", None, "v1") == "s3://b/x"
    with pytest.raises(ConfigError, match=r"contains \{version\}, but dataset\.version is not set"):
        dataset_url("s3://b/{version}/x", None, None)
    with pytest.raises(ConfigError, match=r"contains \{name\}, but dataset\.name is not set\. .*--name fruit"):
        dataset_url("s3://b/{name}/x", None, None)
    for path in ("a/b", "..", "."):
        with pytest.raises(ConfigError, match=r"is a path, but \{version\} in dataset\.url stands for one segment"):
            dataset_url("s3://b/{version}/x", None, path)


@pytest.mark.parametrize(
    ("template", "parent", "child", "version"),
    [
        ("s3://b/cats/{version}/", "s3://b/cats", "v3", "v3"),
        ("s3://b/cats/version={version}/data", "s3://b/cats", "version=3", "3"),
        ("s3://b/cats-{version}.csv", "s3://b", "cats-2026.csv", "2026"),
        ("s3://b/cats-{version}.csv", "s3://b", "dogs-2026.csv", None),
        ("s3://b/cats/{version}/", "s3://b/cats", "_tmp", None),
        ("{version}/x.csv", ".", "v1", "v1"),
        ("/{version}/x.csv", "/", "v1", "v1"),
        ("s3://{version}/x.csv", "s3://", "v1", "v1"),
        ("/data/{version}-{version}.csv", "/data", "v1-v1.csv", "v1"),
        ("/data/{version}-{version}.csv", "/data", "v1-v2.csv", None),
    ],
)
def test_templates(template: str, parent: str, child: str, version: str | None) -> None:
    parsed = VersionedTemplate.parse(template)
    assert parsed.parent == parent
    assert parsed.version_of(child) == version


@given(st.lists(st.from_regex(r"[a-z]{0,2}[0-9]{1,3}([.-][0-9]{1,3})?", fullmatch=True), max_size=6))
def test_natural_order_is_an_order(names: list[str]) -> None:
    assert sorted(sorted(names, reverse=True), key=natural_order) == sorted(sorted(names), key=natural_order)


def test_natural_order_counts() -> None:
    names = ["v10", "v9", "2026-01-10", "2026-01-9", "a"]
    assert sorted(names, key=natural_order) == ["a", "v9", "v10", "2026-01-9", "2026-01-10"]


def test_names_cannot_leave_their_folder() -> None:
    assert dataset_folder("../x/y") == "dataset=..%2Fx%2Fy"
    assert audit_folder("a=b", "v 1", "id") == "dataset=a%3Db/version=v 1/audit=id"
