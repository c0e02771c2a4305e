"""Weights of encoders are fetched once per machine, and a copy that is not complete is never used."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelaudit.errors import ConfigError, StorageError
from labelaudit.pipeline.encoder_weights import local_weights
from labelaudit.storage.cache import Cache
from labelaudit.storage.store import Store
from support.memory_store import clear_memory


@pytest.fixture(autouse=True)
def _empty_memory() -> None:
    clear_memory()


def cached() -> list[str]:
    return sorted(path.name for path in Cache().root.glob("entry-*"))


def test_a_local_path_is_used_as_it_is(tmp_path: Path) -> None:
    with local_weights(str(tmp_path / "net.pt"), {}) as path:
        assert path == tmp_path / "net.pt"
    (tmp_path / "net.pt").write_bytes(b"weights")
    with local_weights(f"file://{tmp_path}/net.pt", {}) as path:
        assert path == tmp_path / "net.pt"
    with local_weights(f"file://{tmp_path}", {}) as path:
        assert path == tmp_path
    assert cached() == []


def test_a_file_is_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Store("memory://models").write("deep/net.safetensors", b"weights")
    Store("memory://models").write("deep/net.safetensors.txt", b"other")
    with local_weights("memory://models/deep/net.safetensors", {}) as path:
        assert path.name == "net.safetensors"
        assert path.read_bytes() == b"weights"
    assert len(cached()) == 1
    monkeypatch.setattr(Store, "open", None)
    with local_weights("memory://models/deep/net.safetensors", {}) as path:
        assert path.read_bytes() == b"weights"


def test_a_folder_of_a_model_is_fetched() -> None:
    Store("memory://models").write("mini/config.json", b"{}")
    Store("memory://models").write("mini/1_Pooling/config.json", b"[]")
    with local_weights("memory://models/mini/", {}) as path:
        assert {str(file.relative_to(path)) for file in path.rglob("*.json")} == {
            "config.json",
            "1_Pooling/config.json",
        }


def test_changed_weights_are_fetched_again() -> None:
    for content in (b"old", b"newer"):
        Store("memory://models").write("net.pt", content)
        with local_weights("memory://models/net.pt", {}) as path:
            assert path.read_bytes() == content


def test_a_copy_that_ends_early_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    Store("memory://models").write("net.pt", b"weights")
    monkeypatch.setattr("labelaudit.pipeline.encoder_weights.pieces", lambda _: [b"wei"])
    with (
        pytest.raises(StorageError, match=r"net\.pt ended after 3 of 7 bytes, so its copy is not used"),
        local_weights("memory://models/net.pt", {}),
    ):
        pass
    assert cached() == []
    monkeypatch.undo()
    with local_weights("memory://models/net.pt", {}) as path:
        assert path.read_bytes() == b"weights"


@pytest.mark.parametrize("url", ["memory://models/net.pt", "memory://models"])
def test_missing_weights_are_an_error(url: str) -> None:
    with pytest.raises(ConfigError, match=f"No weights are stored at {url}"), local_weights(url, {}):
        pass


def test_weights_in_s3(s3: str) -> None:
    Store(s3).write("net.pt", b"weights")
    with local_weights(f"{s3}/net.pt", {}) as path:
        assert path.read_bytes() == b"weights"
    with local_weights(s3, {}) as path:
        assert [file.name for file in path.iterdir()] == ["net.pt"]
