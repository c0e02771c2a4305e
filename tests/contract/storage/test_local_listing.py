"""Local folders are listed through links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labelaudit.errors import DatasetError
from labelaudit.storage.local_listing import local_files
from labelaudit.storage.non_data import is_non_data
from labelaudit.storage.store import Store, open_dataset


def _paths(root: Path) -> list[str]:
    return sorted(file.path for file in local_files(str(root)))


def test_links_to_files_and_folders_are_followed(tmp_path):
    real, data = tmp_path / "real" / "cat", tmp_path / "data"
    real.mkdir(parents=True)
    data.mkdir()
    (real / "1.png").write_bytes(b"one")
    (data / "cat").symlink_to(real)
    (data / "also cat").symlink_to(real)
    (data / "alone.png").symlink_to(real / "1.png")
    assert _paths(data) == ["alone.png", "also cat/1.png", "cat/1.png"]
    assert [file.size for file in Store(str(data)).find()] == [3, 3, 3]


def test_a_link_to_a_folder_around_it_ends(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    (tmp_path / "cat" / "all").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self", target_is_directory=True)
    with pytest.raises(OSError, match="self"):
        _paths(tmp_path)
    (tmp_path / "self").unlink()
    assert _paths(tmp_path) == ["cat/1.png"]


def test_a_link_that_leads_nowhere_is_an_error(tmp_path):
    (tmp_path / "1.png").symlink_to(tmp_path / "missing.png")
    with pytest.raises(
        DatasetError, match=r"1\.png is a link to a file that does not exist \(.*missing\.png\)\. Restore"
    ):
        open_dataset(str(tmp_path)).files()


def test_names_that_are_not_utf8_are_listed(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.csv", "wb") as file:
        file.write(b"a")
    (name,) = _paths(tmp_path)
    assert os.fsencode(name) == b"caf\xe9.csv"
    with open_dataset(str(tmp_path)).open(name) as opened:
        assert opened.read() == b"a"


def test_a_missing_folder_has_no_files(tmp_path):
    assert _paths(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("_SUCCESS", True),
        ("a/_metadata", True),
        ("a/._b.jpg", True),
        ("__MACOSX/a/b.jpg", True),
        ("a/.part-0.parquet.crc", True),
        ("_MG_0001.JPG", False),
        ("_background_noise_/a.wav", False),
        ("a/.hidden.csv", False),
    ],
)
def test_only_what_tools_leave_behind_is_not_data(path, expected):
    assert is_non_data(path) is expected
