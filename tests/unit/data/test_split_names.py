"""Splits by the names of files and folders."""

from __future__ import annotations

import pytest

from labelaudit.data.split_names import are_splits, split_name, splits_of_files


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "training"),
        ("TEST", "test"),
        ("train2017", "train"),
        ("test-00000-of-00002", "test"),
        ("train_set", "train"),
        ("images_val", "val"),
        ("ValidationData", "validation"),
        ("x_test", "test"),
        ("cat", None),
        ("test tube", None),
        ("trains", None),
        ("contest", None),
        ("train_test", None),
        ("", None),
        ("2017", None),
    ],
)
def test_a_name_stands_for_a_split_if_nothing_else_is_in_it(name, split):
    assert split_name(name) == split


def test_folders_are_splits_only_if_all_of_them_are():
    assert are_splits(["Training", "Testing"])
    assert not are_splits(["train", "test", "cat"])


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"], ["train", "validation"]),
        (["train/0.parquet", "test/0.parquet"], ["train", "test"]),
        (["split=train/0.parquet", "split=test/0.parquet"], ["train", "test"]),
        (["fruit-train.csv.gz", "fruit-test.csv"], ["train", "test"]),
        (["train-0.csv", "train-1.csv"], [None, None]),
        (["train.csv", "labels.csv", "test.csv"], ["train", None, "test"]),
    ],
)
def test_files_have_splits_if_there_are_several(paths, splits):
    assert splits_of_files(paths) == splits
