"""A store that cannot access anything outside its URL, even for keys from records."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import StorageError
from labelaudit.storage.confined import ConfinedStore, split_url
from labelaudit.storage.store import Store
from support.faulty_proxy import FaultyProxy, Refusal

AUDIT = "dataset=pets/version=v1/audit=0a"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://audits", ("s3://audits", "")),
        ("s3://audits/team/", ("s3://audits/team/", "")),
        ("s3://audits/team/dataset=pets", ("s3://audits/team", "dataset=pets")),
        (f"/data/{AUDIT}/", ("/data", AUDIT)),
        ("/data/dataset=pets/version=v1", ("/data", "dataset=pets/version=v1")),
        ("dataset=pets", (".", "dataset=pets")),
        ("/dataset=pets", ("/", "dataset=pets")),
        ("/data/version=v1", ("/data/version=v1", "")),
        ("/data/dataset=", ("/data/dataset=", "")),
    ],
)
def test_the_folder_of_a_url(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


def test_keys_are_the_same_from_everywhere(tmp_path: Path) -> None:
    Store(str(tmp_path)).write(f"{AUDIT}/summary.json", b"{}")
    for url in (tmp_path, tmp_path / "dataset=pets", tmp_path / AUDIT):
        store = ConfinedStore(str(url))
        assert store.read(f"{AUDIT}/summary.json") == b"{}"
        assert store.children() == ["dataset=pets"]


HOSTILE = ["../secret", f"{AUDIT}/../../../../secret", "/etc/passwd", "a//b", "./a", "a\\..\\b", "a\nb", "a\x00b", ".."]


@pytest.mark.parametrize("key", HOSTILE)
def test_keys_that_lead_out_are_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text("secret")
    store = ConfinedStore(str(tmp_path / "audits"))
    for request in (store.read, store.open, store.exists, store.find, store.size, store.remove):
        with pytest.raises(StorageError, match=r"may lead out of .* Nothing was read"):
            request(key)
    with pytest.raises(StorageError, match="may lead out of"):
        store.write(key, b"")


def test_what_lies_beside_the_folder_is_refused(tmp_path: Path) -> None:
    Store(str(tmp_path)).write("dataset=other/latest.json", b"{}")
    store = ConfinedStore(str(tmp_path / "dataset=pets"))
    for key in ("dataset=other/latest.json", "dataset=pets2/latest.json", "_work/conditional-writes"):
        with pytest.raises(StorageError, match=r"is outside .*dataset=pets. Open the URL of the dataset"):
            store.read(key)
    with pytest.raises(StorageError, match="'The whole output' is outside"):
        store.find("")


def test_a_refusal_without_a_word_is_asked_about_within_the_folder(s3: str, proxy: FaultyProxy) -> None:
    """As everywhere: answers to HEAD have no body."""
    store = ConfinedStore(f"{s3}/team/dataset=pets")
    proxy.plan = lambda method, path: Refusal(403, "InvalidAccessKeyId")
    with pytest.raises(StorageError, match=r"The credentials for .*latest\.json are wrong \(InvalidAccessKeyId\)"):
        store.exists("dataset=pets/latest.json")


@given(st.text(max_size=30))
def test_no_key_leads_out(key: str) -> None:
    store = ConfinedStore("memory://audits/dataset=pets")
    try:
        path = store._path(key)
    except StorageError:
        return
    assert path.startswith("/audits/dataset=pets")
    assert ".." not in path.split("/")
