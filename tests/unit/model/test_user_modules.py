"""Modules that a config names are found where Python finds them, else in the working directory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from labelaudit.errors import ConfigError
from labelaudit.model.user_modules import code_sha256, find_user_module, import_callable, import_user_module


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_a_module_of_the_working_directory_and_one_next_to_it(folder: Path) -> None:
    (folder / "nets_of_mine").mkdir()
    (folder / "nets_of_mine" / "small.py").write_text("import layers_of_mine\nwidth = layers_of_mine.width\n")
    (folder / "layers_of_mine.py").write_text("width = 7\n")
    assert import_user_module("nets_of_mine.small").width == 7
    assert sys.path[-1] == str(folder)
    before = list(sys.path)
    import_user_module("nets_of_mine.small")
    assert sys.path == before


def test_no_file_replaces_a_module_that_is_found_elsewhere(folder: Path) -> None:
    (folder / "random.py").write_text("raise SystemExit")
    before = list(sys.path)
    assert not hasattr(import_user_module("random"), "__path__")
    spec = find_user_module("random")
    assert spec is not None
    assert spec.origin != str(folder / "random.py")
    assert sys.path == before


def test_the_working_directory_is_not_searched_for_a_module_that_is_not_there() -> None:
    before = list(sys.path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        import_user_module("nowhere_to_be_found")
    assert find_user_module("nowhere_to_be_found") is None
    assert sys.path == before


def test_a_callable_and_the_digest_of_its_file(folder: Path) -> None:
    (folder / "maker_of_mine.py").write_text("def build():\n    return 5\n\nwidth = 3\n")
    assert import_callable("maker_of_mine:build", subject="Network", example="a:b")() == 5
    before = code_sha256("maker_of_mine:build")
    assert before is not None
    (folder / "maker_of_mine.py").write_text("def build():\n    return 6\n")
    assert code_sha256("maker_of_mine:build") not in (None, before)
    assert code_sha256("nowhere_to_be_found:build") is None
    with pytest.raises(ConfigError, match=r"Encoder 'maker_of_mine:width' is a int\. Name a function or a class"):
        import_callable("maker_of_mine:width", subject="Encoder", example="a:b")
    with pytest.raises(ConfigError, match=r"Encoder 'maker_of_mine:x' cannot be imported: .*write the name as a:b"):
        import_callable("maker_of_mine:x", subject="Encoder", example="a:b")
