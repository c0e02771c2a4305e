"""Columns in the names of folders, as Hive, Spark and pandas write them: `label=cat/part-0.parquet`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

_PARTITION = re.compile(r"([^=/]+)=([^/]*)")
# What Hive writes for a missing value.
_MISSING = "__HIVE_DEFAULT_PARTITION__"

# The values of a file's partition columns, by name; None if missing.
Partitions = dict[str, str | None]


def partitions_of(path: str) -> Partitions:
    """Return the columns in a file's folders, the outermost first, with `%20` and the like decoded."""
    found: Partitions = {}
    for folder in path.split("/")[:-1]:
        if match := _PARTITION.fullmatch(folder):
            name, value = map(unquote, match.groups())
            found[name] = None if value == _MISSING else value
    return found


def partition_columns(paths: Sequence[str]) -> list[str]:
    """Return the names of the partition columns of a dataset, in their order.

    Raises:
        ValueError: files have different partition columns; the message names two of them.
    """
    first = list(partitions_of(paths[0])) if paths else []
    for path in paths:
        names = list(partitions_of(path))
        if set(names) != set(first):
            raise ValueError(f"{paths[0]} has {first or 'none'}, but {path} has {names or 'none'}")
    return first
