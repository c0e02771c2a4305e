"""The pages without a browser: what they show, what they refuse, and text that stays text."""

from __future__ import annotations

import base64
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from hypothesis import given, strategies
from streamlit.testing.v1 import AppTest

from labelaudit.audits.comparison import compare_published
from labelaudit.audits.history import write_audit_record
from labelaudit.audits.published import open_audit
from labelaudit.dashboard import ui
from labelaudit.dashboard.queries import Address
from labelaudit.dashboard.settings import Settings
from labelaudit.storage.layout import audit_record_key, latest_key
from labelaudit.storage.store import Store
from support.dashboards import publish_small, texts
from support.memory_store import clear_memory
from support.waiting import PATIENCE_SECONDS

APP = Path(ui.__file__).parent / "app.py"
OUTPUT = "memory://pages"


@pytest.fixture
def store() -> Store:
    clear_memory()
    return Store(OUTPUT)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Runs the script once, opened with an address."""
    monkeypatch.setattr(sys, "argv", ["app.py", Settings(OUTPUT, reviewer="ann").to_json()])
    st.cache_data.clear()

    def run_once(**address: str) -> AppTest:
        st.cache_resource.clear()
        app = AppTest.from_file(str(APP), default_timeout=PATIENCE_SECONDS)
        app.query_params.update(address)
        return app.run()

    yield run_once
    st.cache_resource.clear()


def test_the_overview(store: Store, run: Callable[..., AppTest]) -> None:
    publish_small(store, rows=20)
    publish_small(store, rows=20, version="v2", day=2)
    app = run()
    assert not app.exception
    assert "5 examples are flagged of 20" in texts(app)
    assert "gate passed" in texts(app)
    assert [box.label for box in app.sidebar.selectbox] == ["Dataset", "Audit"]
    assert app.sidebar.text_input[0].value == "ann"


def test_the_first_page_needs_no_altair(
    store: Store, run: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing it takes a second. The trend is an image, in which a name is text."""
    monkeypatch.setitem(sys.modules, "altair", None)
    for day, version in ((1, "v1"), (2, 'v2"<')):
        publish_small(store, rows=20, version=version, day=day)
    app = run()
    assert not app.exception
    assert "Share of wrong labels and share of flagged rows by version" in texts(app)
    (image,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', texts(app))
    svg = ET.fromstring(base64.b64decode(image))
    shown = ["".join(node.itertext()) for node in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert [name for name in shown if name.startswith("v")] == ["v1", 'v2"<']


def test_versions_with_the_same_content(store: Store, run: Callable[..., AppTest]) -> None:
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


def test_the_url_names_dataset_and_audit(store: Store, run: Callable[..., AppTest]) -> None:
    """Also by default, and by names that stay when the same version is audited again."""
    first = publish_small(store, rows=20)
    app = run()
    address = dict(app.query_params)
    assert address == {"dataset": "pets", "audit": first.name}
    publish_small(store, rows=24, version="v1", day=2)
    publish_small(store, rows=24, dataset="ants")
    again = run(**address)
    assert not again.warning
    assert [box.value for box in again.sidebar.selectbox] == ["pets", first.name]


def test_a_link_to_something_missing(store: Store, run: Callable[..., AppTest]) -> None:
    newest = publish_small(store, rows=20)
    app = run(dataset="*cats*", audit="v9/none")
    assert [box.value for box in app.sidebar.selectbox] == ["pets", newest.name]
    assert [warning.value for warning in app.warning] == [
        "The dataset \\*cats\\* of the link is not here. This one is shown instead.",
        "The audit v9/none of the link is not here. This one is shown instead.",
    ]
    other = publish_small(store, rows=20, version="v2", day=2)
    st.cache_resource.clear()
    app = app.run().sidebar.selectbox[1].select(other.name).run()
    assert len(app.warning) == 1


def test_a_first_audit_under_way_is_not_the_default(store: Store, run: Callable[..., AppTest]) -> None:
    store.write("dataset=ants/_work/scans/a.json", b"{}")
    publish_small(store, rows=20)
    app = run()
    assert not app.error
    assert app.sidebar.selectbox[0].value == "pets"
    assert "The dataset 'ants' does not have a published audit" in run(dataset="ants").error[0].value


def test_an_unreadable_dataset_does_not_hide_the_others(store: Store, run: Callable[..., AppTest]) -> None:
    publish_small(store, rows=20)
    broken = publish_small(store, rows=20, dataset="ants")
    store.write(audit_record_key("ants", broken.version, broken.audit_id), b"{}")
    app = run()
    assert not app.exception
    assert not app.error
    assert "5 examples are flagged of 20" in texts(app)
    table = app.dataframe[0].value
    assert list(zip(table["dataset"], table["gate"], strict=True)) == [("ants", "cannot be read"), ("pets", "passed")]
    assert "is not the record of an audit" in run(dataset="ants").error[0].value


def test_other_changes_between_two_audits(store: Store, run: Callable[..., AppTest]) -> None:
    """An `auto` that follows the data, such as the batch size of `publish_small`, is none of it."""
    publish_small(store, rows=20)
    publish_small(store, rows=24, version="v2", day=2)
    publish_small(store, rows=24, version="v3", day=3, epochs=5)
    for version, day, expected in (
        ("v2", 2, []),
        (
            "v3",
            3,
            [
                "Not only the data changed since v2: training.epochs 3 → 5. "
                "This alone may change which rows are flagged."
            ],
        ),
    ):
        app = run(audit=f"{version}/{day:012x}")
        app.session_state["page wanted"] = "compare"
        app.run()
        assert not app.exception
        assert [warning.value.replace("\u2060", "") for warning in app.warning] == expected


def test_two_audits_are_compared_as_diff_compares_them(store: Store, run: Callable[..., AppTest]) -> None:
    """Also a file that moved to the folder of another class, so that its id is another one."""
    moved = {"status": "scored", "content_digest": "f" * 32, "is_label_issue": False, "label_score": 0.5}
    old = {**moved, "example_id": "cat/x.png", "given_label": "cat", "is_label_issue": True}
    before = publish_small(store, rows=20, more=[old])
    now = publish_small(
        store, rows=24, version="v2", day=2, more=[{**moved, "example_id": "owl/x.png", "given_label": "owl"}]
    )
    found = compare_published(*(open_audit(store, record.folder) for record in (before, now)))
    # The last row of v1 has no label.
    assert (found.changes.data["relabeled"], found.changes.issues["fixed"]) == (2, 1)
    app = run()
    app.session_state["page wanted"] = "compare"
    app.run()
    assert not app.exception
    shown = texts(app)
    assert "Since version v1" in shown
    for name, count in (*found.changes.data.items(), *found.changes.issues.items()):
        label = f"{name} flags" if name in found.changes.issues else f"rows {name}"
        figure = f"<dt>{label}</dt><dd><strong>{count}</strong>"
        assert (figure in shown) == (count > 0), figure
    assert "cat → owl (1)" in shown


def test_the_changes_since_the_predecessor_come_from_the_summary(store: Store, run: Callable[..., AppTest]) -> None:
    """The tables of both are not fetched for it."""
    before = publish_small(store, rows=20)
    after = publish_small(store, rows=24, version="v2", day=2)
    found = compare_published(*(open_audit(store, record.folder) for record in (before, after)))
    changes = replace(found.changes, data={**found.changes.data, "added": 4_321})
    write_audit_record(store, replace(after, summary=replace(after.summary, changes=changes)))
    app = run()
    app.session_state["page wanted"] = "compare"
    app.run()
    assert not app.exception
    assert "<strong>4,321</strong>" in texts(app)


def test_slices_and_their_filter(store: Store, run: Callable[..., AppTest]) -> None:
    publish_small(store, rows=20, batches=["b*7", "b8", "b9"])
    app = run()
    app.session_state["page wanted"] = "audit"
    app.run()
    assert not app.exception
    assert "batch b*7: 4.0 times as many wrong labels as the others" in texts(app)
    app.session_state["page wanted"] = "review"
    app.run()
    box = next(box for box in app.sidebar.selectbox if box.label == "Slice")
    assert box.options == ["batch: b*7", "batch: b8", "batch: b9"]
    assert "5 examples" in texts(app)
    box.select("batch: b8").run()
    # Of rows 1, 4, 7, …, rows 4 and 16 are flagged.
    assert not app.exception
    assert "2 examples" in texts(app)


def test_an_output_whose_audits_were_removed(store: Store, run: Callable[..., AppTest]) -> None:
    assert "There is no audit below" in run().error[0].value


def test_decisions_that_cannot_be_read_are_named(store: Store, run: Callable[..., AppTest]) -> None:
    publish_small(store, rows=20)
    app = run()
    app.session_state["page wanted"] = "review"
    assert [*app.run().warning, *app.exception] == []
    for number in range(5):
        store.write(f"dataset=pets/_verdicts/{number}.json", b"{}")
    st.cache_resource.clear()
    app.session_state["page wanted"] = "review"
    warnings = [str(one.value) for one in app.run().warning]
    assert len(warnings) == 3
    assert "Field required" in warnings[0]


def test_passwords_of_a_url_are_not_shown(run: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    url = "memory://ann:secret@pages"
    monkeypatch.setattr(sys, "argv", ["app.py", Settings(url).to_json()])
    assert "There is no audit below memory" in run().error[0].value
    assert "secret" not in run().error[0].value
    publish_small(Store(url), rows=20)
    app = run()
    assert "ann:…@pages" in texts(app)
    assert "secret" not in texts(app)


def test_a_dataset_without_an_audit(store: Store, run: Callable[..., AppTest]) -> None:
    store.write("dataset=pets/_verdicts/a.json", b"{}")
    assert not store.exists(latest_key("pets"))
    assert "The dataset 'pets' does not have a published audit" in run().error[0].value


def test_rows_without_ids_are_neither_decided_on_nor_compared(store: Store, run: Callable[..., AppTest]) -> None:
    publish_small(store, rows=20)
    publish_small(store, rows=20, version="v2", day=2, has_made_up_ids=True)
    app = run()
    assert "read-only: rows without ids" in texts(app)
    app.session_state["page wanted"] = "review"
    app.session_state["example"] = Address("example-004")
    app.run()
    assert not app.exception
    assert "These rows cannot be reviewed. Rows without an id column" in app.info[0].value
    assert not {"Fine", "Ambiguous", "Undo"} & {button.label for button in app.button}
    app.session_state["page wanted"] = "compare"
    app.run()
    assert not app.exception
    assert "cannot be compared. Rows without an id column" in app.info[0].value


@given(strategies.text(alphabet="ab:-<>=~*_[]()!`$\\&#/@. \n", max_size=40))
def test_plain_text_is_never_markdown(text: str) -> None:
    shown = ui.plain_text(text)
    for mark in (":a", "->", "<-", "--", ">=", "<", ">", "://", "\n"):
        assert mark not in shown.replace("&lt;", "").replace("&gt;", "")
    for at, character in enumerate(shown):
        if character in "*_[]()`$!":
            assert shown[at - 1] == "\\"


def test_values_are_escaped_and_markup_is_kept() -> None:
    inner = ui.fill("<b>{name}</b>", name="<i>\x00\u202e")
    assert str(ui.fill("{inner}{text}", inner=inner, text="'\"")) == "<b>&lt;i&gt;\ufffd\ufffd</b>&#39;&#34;"
    assert ui.clip("abcdef", 4) == "abc…"
    assert ui.score(0.0001) == "<0.001"
