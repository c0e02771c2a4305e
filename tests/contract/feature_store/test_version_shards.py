"""The stored choice of the shards whose features all folds of a version use."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelaudit.errors import StorageError
from labelaudit.feature_store.version_shards import ShardChoice, VersionShards
from labelaudit.storage.store import Store

FIRST, SECOND = VersionShards(("a", "b")), VersionShards(("a", "c"))


def test_the_first_choice_stays_until_it_is_replaced(tmp_path: Path) -> None:
    choice, other = (ShardChoice(Store(str(tmp_path)), "fruit", "k") for _ in range(2))
    assert choice.load() is None
    assert choice.create(FIRST) == FIRST
    assert other.create(SECOND) == FIRST
    other.replace(SECOND)
    assert choice.load() == SECOND


def test_digests_are_equal_for_equal_shards() -> None:
    assert VersionShards.from_json(FIRST.to_json()) == FIRST
    assert VersionShards(("a", "b")).digest == FIRST.digest != SECOND.digest


@pytest.mark.parametrize("damage", ["{", "[]", "[1]", '{"shards": []}'])
def test_a_damaged_choice_is_named(tmp_path: Path, damage: str) -> None:
    choice = ShardChoice(Store(str(tmp_path)), "fruit", "k")
    choice.create(FIRST)
    (file,) = tmp_path.rglob("*.json")
    file.write_text(damage)
    with pytest.raises(StorageError, match=rf"^{file} is not a list of shards \(.*\)\. Remove it and run the audit"):
        choice.load()
