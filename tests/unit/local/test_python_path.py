"""The module search path: without the working directory, unless PYTHONPATH names it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from labelaudit.local.python_path import leave_out_working_directory, python_environment


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/first", str(tmp_path), "/second"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


@pytest.mark.parametrize("python_path", [None, "", os.pathsep, f"{os.pathsep}/first", f"/first{os.pathsep}"])
def test_the_working_directory_is_left_out(monkeypatch: pytest.MonkeyPatch, python_path: str | None) -> None:
    """It is there because of `python -m`, or of an empty entry."""
    if python_path is not None:
        monkeypatch.setenv("PYTHONPATH", python_path)
    assert python_environment()["PYTHONPATH"] == os.pathsep.join(["/first", "/second"])
    assert python_environment()["PYTHONSAFEPATH"] == "1"
    leave_out_working_directory()
    assert sys.path == ["/first", "/second"]
    inherited = os.environ.get("PYTHONPATH")
    assert inherited == (None if python_path is None else "/first" if "/first" in python_path else "")


@pytest.mark.parametrize("entry", [".", "the folder itself"])
def test_a_user_can_name_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/first", entry if entry == "." else str(folder)]))
    assert python_environment()["PYTHONPATH"] == os.pathsep.join([str(folder), "/first", "/second"])
    leave_out_working_directory()
    assert sys.path == [str(folder), "/first", str(folder), "/second"]


def test_an_empty_variable_adds_nothing() -> None:
    """An interpreter takes an empty PYTHONPATH for none."""
    sys.path[:] = [""]
    assert python_environment()["PYTHONPATH"] == ""
