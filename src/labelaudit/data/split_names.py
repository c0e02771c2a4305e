"""Splits of a dataset (train, test, …), by the names of files and folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from labelaudit.data.compression import without_compression

# fmt: off
_NAMES = frozenset((
    "train", "training", "trn", "traindata", "test", "testing", "tst", "testdata", "val", "valid", "validation",
    "validate", "dev", "devel", "development", "eval", "evaluation", "holdout", "heldout", "unsupervised",
))
# Those whose rows have labels for certain.
TRAINING_SPLITS = frozenset(("train", "training", "trn", "traindata"))
# Words that stand next to the name of a split: train_set, test-images, x_train, train-00000-of-00001.
_FILLERS = frozenset((
    "set", "sets", "data", "dataset", "split", "images", "image", "imgs", "img", "x", "y", "of", "part", "shard",
    "labels", "label", "the",
))
# fmt: on
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def split_name(name: str) -> str | None:
    """Return the split that a file or folder name stands for, in lower case; None if it stands for none.

    Digits and words such as "set" or "images" may stand next to it: `Training`, `train2017`, `test-00000-of-00002`.
    """
    found = _splits_in(name)
    others = {word.lower() for word in _WORDS.findall(name)} - _NAMES - _FILLERS
    return found.pop() if len(found) == 1 and not others else None


def are_splits(names: Iterable[str]) -> bool:
    """Return whether all names stand for splits."""
    return all(split_name(name) is not None for name in names)


def splits_of_files(paths: Sequence[str]) -> list[str | None]:
    """Return the split of each table file, from its own name or a folder around it; all None if it is only one."""
    found = [split_in_name(path) for path in paths]
    return found if len(set(found) - {None}) > 1 else [None] * len(paths)


def split_in_name(path: str) -> str | None:
    """Return the split that the name of a file, or else of a folder around it, contains."""
    *folders, name = without_compression(path).split("/")
    # The names of files often begin with that of the dataset: fruit-train.csv.
    found = _splits_in(name.partition(".")[0])
    if len(found) == 1:
        return found.pop()
    return next((split for folder in reversed(folders) if (split := split_name(folder.removeprefix("split=")))), None)


def _splits_in(name: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(name)} & _NAMES
