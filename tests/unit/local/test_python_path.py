"""The module search path: a user's folder comes last, and new interpreters search in the same order."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from labelaudit.local.python_path import append_working_directory, python_path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["first", "second"])
    return tmp_path


def test_the_working_directory_comes_last_and_once(folder: Path) -> None:
    append_working_directory()
    append_working_directory()
    assert sys.path == ["first", "second", str(folder)]


def test_a_new_interpreter_searches_in_the_same_order(folder: Path) -> None:
    assert python_path() == os.pathsep.join(["first", "second", str(folder)])
    sys.path[:] = ["", "first"]
    assert python_path() == os.pathsep.join([str(folder), "first"]), "an empty entry is the working directory"
