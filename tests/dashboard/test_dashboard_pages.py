"""The pages without a browser: what they show, what they refuse, and text that stays text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from hypothesis import given, strategies
from streamlit.testing.v1 import AppTest

from dashboards import publish_small, texts
from labelaudit.dashboard import look
from labelaudit.dashboard.settings import Settings
from labelaudit.storage.layout import latest_key
from labelaudit.storage.store import Store, clear_memory

APP = Path(look.__file__).parent / "app.py"
OUTPUT = "memory://pages"


@pytest.fixture
def store() -> Store:
    clear_memory()
    return Store(OUTPUT)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], AppTest]]:
    """Runs the script once."""
    monkeypatch.setattr(sys, "argv", ["app.py", Settings(OUTPUT, reviewer="ann").to_json()])
    st.cache_resource.clear()
    st.cache_data.clear()
    yield lambda: AppTest.from_file(str(APP), default_timeout=60).run()
    st.cache_resource.clear()


def test_the_overview(store: Store, run: Callable[[], AppTest]) -> None:
    publish_small(store, rows=20)
    publish_small(store, rows=20, version="v2", day=2)
    app = run()
    assert not app.exception
    assert "5 examples are flagged of 20" in texts(app)
    assert "gate passed" in texts(app)
    assert [box.label for box in app.sidebar.selectbox] == ["Dataset", "Audit"]
    assert app.sidebar.text_input[0].value == "ann"


def test_versions_with_the_same_content(store: Store, run: Callable[[], AppTest]) -> None:
    """Their audits have one id, and are two audits all the same."""
    records = [publish_small(store, rows=20, version=version) for version in ("v1", "v2")]
    assert len({record.audit_id for record in records}) == 1
    app = run()
    box = app.sidebar.selectbox[1]
    assert sorted(label.split()[0] for label in box.options) == ["v1", "v2"]
    other = "v1" if "v2" in str(box.value) else "v2"
    app = box.select(f"{other}/{records[0].audit_id}").run()
    assert not app.exception
    assert other in str(app.sidebar.selectbox[1].value)


def test_an_output_whose_audits_went_away(store: Store, run: Callable[[], AppTest]) -> None:
    assert "There is no audit below" in run().error[0].value


def test_a_dataset_without_an_audit(store: Store, run: Callable[[], AppTest]) -> None:
    store.write("dataset=pets/_verdicts/a.json", b"{}")
    assert not store.exists(latest_key("pets"))
    assert "The dataset 'pets' has no published audit" in run().error[0].value


@given(strategies.text(alphabet="ab:-<>=~*_[]()!`$\\&#/@. \n", max_size=40))
def test_plain_text_means_nothing(text: str) -> None:
    shown = look.plain(text)
    for mark in (":a", "->", "<-", "--", ">=", "<", ">", "://", "\n"):
        assert mark not in shown.replace("&lt;", "").replace("&gt;", "")
    for at, character in enumerate(shown):
        if character in "*_[]()`$!":
            assert shown[at - 1] == "\\"


def test_values_are_escaped_and_markup_is_kept() -> None:
    inner = look.fill("<b>{name}</b>", name="<i>\x00\u202e")
    assert str(look.fill("{inner}{text}", inner=inner, text="'\"")) == "<b>&lt;i&gt;\ufffd\ufffd</b>&#39;&#34;"
    assert look.clip("abcdef", 4) == "abc…"
    assert look.score(0.0001) == "<0.001"
