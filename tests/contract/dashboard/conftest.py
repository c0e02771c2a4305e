"""Shared by the tests of pages without a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from labelaudit.dashboard import deciding, session
from labelaudit.dashboard.settings import Settings
from labelaudit.storage.store import Store
from support.read_once import component_manifests


@pytest.fixture(scope="session", autouse=True)
def _components_searched_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        component_manifests(patch)
        yield


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The storage of a dashboard that reads verdicts at every rerun, and accepts a click at once."""
    monkeypatch.setattr(sys, "argv", ["app.py", Settings(str(tmp_path), reviewer="ann").to_json()])
    monkeypatch.setattr(session, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(deciding, "UNSEEN_SECONDS", 0.0)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield Store(str(tmp_path))
    st.cache_resource.clear()
