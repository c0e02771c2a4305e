"""Deciding row by row, in the pages without a browser: no verdict is lost, doubled, or stored for an unseen row."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from labelaudit.dashboard import deciding, session, ui
from labelaudit.dashboard.queries import Address
from labelaudit.dashboard.review_session import ReviewSession, SessionVerdict
from labelaudit.dashboard.settings import Settings
from labelaudit.reviews.verdict_store import append_verdicts, read_verdicts
from labelaudit.reviews.verdicts import Verdict, current, utc_now
from labelaudit.schemas import Decision, RemoveReason, Status
from labelaudit.storage.layout import verdicts_folder
from labelaudit.storage.store import Store
from support.dashboards import publish_small, texts, unreadable
from support.waiting import PATIENCE_SECONDS

APP = Path(ui.__file__).parent / "app.py"


def review(*, example: str | None = "example-000", **chosen: object) -> AppTest:
    """The page Review, as a session of its own."""
    app = AppTest.from_file(str(APP), default_timeout=PATIENCE_SECONDS)
    app.session_state["page wanted"] = "review"
    app.run()
    app.session_state["example"] = Address(example) if example else None
    for name, value in chosen.items():
        app.session_state[name] = value
    app.run()
    assert not app.exception
    return app


def button(app: AppTest, label: str) -> Button:
    (found,) = [button for button in app.button if button.label == label]
    return found


def press(app: AppTest, label: str) -> AppTest:
    app = button(app, label).click().run()
    assert not app.exception
    return app


def shown(app: AppTest) -> str:
    """Id of the row at full size."""
    return linked(app, "example")


def linked(app: AppTest, name: str) -> str:
    """A parameter in the address of the page."""
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def stored(store: Store, dataset: str = "pets") -> list[tuple[str, Decision | None, str | None, str]]:
    return [(v.example_id, v.verdict, v.right_label, v.reviewer) for v in read_verdicts(store, dataset)]


def decide_as(reviewer: str, store: Store, decision: Decision | None) -> Verdict:
    """Store another answer to the newest verdict on a dataset, from another reviewer."""
    last = read_verdicts(store, "pets")[-1]
    right_label = "cat" if decision == Decision.WRONG else None
    moment = f"{last.decided_at[:-6]}+00:00".replace(last.decided_at[:4], str(int(last.decided_at[:4]) + 1), 1)
    record = {**asdict(last), "verdict": decision, "right_label": right_label}
    verdict = Verdict(**{**record, "reviewer": reviewer, "decided_at": moment})
    append_verdicts(store, "pets", [verdict])
    return verdict


def test_buttons_belong_to_their_row(store: Store) -> None:
    """And the undo button to its verdict: a second click on the old page never hits the new one."""
    publish_small(store)
    moving = {"gallery", "previous", "next", "again", "forget"}
    app = review()
    for label in ("Fine", "Fine", "Undo"):
        keys = {str(one.key) for one in app.button} - moving
        app = press(app, label)
        after = {str(one.key) for one in app.button} - moving
        assert len(keys) == len(after) == 8
        assert keys & after == set()


def test_a_row_is_removed_for_a_reason(store: Store) -> None:
    publish_small(store)
    app = press(review(), "Remove …")
    labels = {one.label for one in app.button}
    assert {"Cancel", *(reason.value for reason in RemoveReason)} <= labels
    # The reasons have the keys of the labels, which are hidden meanwhile.
    assert "cat" not in labels
    assert "cat" in {one.label for one in press(app, "Cancel").button}
    assert stored(store) == []
    app = press(press(app, "Remove …"), "several-classes")
    assert shown(app) == "example-004"
    assert "Remove …" in {one.label for one in app.button}
    app = press(app, "Remove …")
    (own,) = (one for one in app.text_input if str(one.key).startswith("own-"))
    own.input(" My Reason ")
    app = press(app, "Remove for this reason")
    removed = [(v.example_id, v.verdict, v.remove_reason) for v in read_verdicts(store, "pets")]
    assert removed == [
        ("example-000", Decision.REMOVE, "several-classes"),
        ("example-004", Decision.REMOVE, "My Reason"),
    ]
    assert "remove: several-classes" in str(texts(review()))
    press(press(app, "Undo"), "Undo")
    assert [v.verdict for v in read_verdicts(store, "pets")][2:] == [None, None]


def test_a_click_on_a_row_that_has_just_appeared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_small(store)
    app = review()
    monkeypatch.setattr(deciding, "UNSEEN_SECONDS", 1e9)
    app = press(app, "Fine")
    assert app.toast[0].value == "Not decided: this row has only just appeared. Decide again."
    assert (shown(app), stored(store)) == ("example-000", [])
    monkeypatch.setattr(deciding, "UNSEEN_SECONDS", 0.0)
    assert shown(press(app, "Fine")) == "example-004"


def test_a_verdict_of_a_moment_ago_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_small(store)
    app = press(press(review(), "Fine"), "Previous")
    monkeypatch.setattr(session, "FRESH_SECONDS", float("inf"))
    decide_as("ben", store, Decision.AMBIGUOUS)
    # The page does not show it yet, and still the same decision is no repetition.
    press(app, "Fine")
    assert [verdict[3] for verdict in stored(store)] == ["ann", "ben", "ann"]


def test_the_same_decision_again_is_stored_once(store: Store) -> None:
    publish_small(store)
    app = press(press(review(), "Fine"), "Previous")
    app = press(app, "Fine")
    assert (shown(app), len(stored(store))) == ("example-004", 1)
    app = press(press(app, "Previous"), "Ambiguous")
    assert stored(store)[1:] == [("example-000", Decision.AMBIGUOUS, None, "ann")]
    # One step back is one decision.
    press(press(app, "Undo"), "Undo")
    assert [verdict[1] for verdict in stored(store)] == [Decision.FINE, Decision.AMBIGUOUS, Decision.FINE, None]
    assert current(read_verdicts(store, "pets")) == {}


def test_two_clicks_at_once_are_one_decision(store: Store) -> None:
    """Streamlit begins the second callback while the first still runs."""
    publish_small(store)
    press(review(), "Fine")
    (verdict,) = read_verdicts(store, "pets")
    step = SessionVerdict(
        "pets", Address("example-000"), replace(verdict, verdict=Decision.AMBIGUOUS, decided_at=utc_now())
    )
    mine = ReviewSession()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(mine.store, [step] * 8))
        assert (len(stored(store)), len(mine.undoable), mine.unsaved) == (2, 1, [])
        assert sum(pool.map(mine.undo, mine.undoable * 8, ["ann"] * 8)) == 1
    assert len(stored(store)) == 3


def test_a_second_undo_shows_the_row(store: Store) -> None:
    """Streamlit may end the first callback once the decision is taken back, and begin the second one."""
    publish_small(store)
    app = press(review(), "Fine")
    mine: ReviewSession = app.session_state["review_session"]
    assert mine.undo(mine.undoable[-1], "ann")
    app = press(app, "Undo")
    assert (shown(app), list(app.toast)) == ("example-000", [])
    assert [verdict[1] for verdict in stored(store)] == [Decision.FINE, None]


def test_undo_belongs_to_the_dataset_of_the_decision(store: Store) -> None:
    for dataset in ("pets", "zoo"):
        publish_small(store, dataset=dataset)
    app = press(review(dataset="zoo"), "Fine")
    app = app.sidebar.selectbox[0].select("pets").run()
    app = press(app, "Undo")
    assert shown(app) == "example-004"
    assert app.toast[0].value == ui.plain_text("Undone: fine on example-000 of zoo.")
    assert stored(store) == []
    assert [verdict[1] for verdict in stored(store, "zoo")] == [Decision.FINE, None]


def test_undo_is_in_the_name_of_the_person_who_undoes(store: Store) -> None:
    publish_small(store)
    app = press(review(), "Fine")
    app = app.sidebar.text_input(key="reviewer").input("").run()
    app = press(app, "Undo")
    assert "Enter yours in the field Reviewer" in app.error[0].value
    app = app.sidebar.text_input(key="reviewer").input("eve").run()
    press(app, "Undo")
    assert stored(store) == [("example-000", Decision.FINE, None, "ann"), ("example-000", None, None, "eve")]


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (
            Decision.WRONG,
            "ben decided on 'example-000' since: wrong → cat. Nothing was undone. To change it, decide again.",
        ),
        (None, "The verdict on 'example-000' was taken back already."),
    ],
)
def test_undo_does_not_change_later_verdicts_of_others(store: Store, decision: Decision | None, told: str) -> None:
    publish_small(store, class_names=("owl", "dog", "cat"))
    app = press(review(), "Fine")
    verdict = decide_as("ben", store, decision)
    app = press(app, "Undo")
    assert ui.plain_text(told, 1000) == app.error[0].value
    assert read_verdicts(store, "pets")[1:] == [verdict]
    assert button(app, "Undo").disabled


def block(store: Store, dataset: str = "pets") -> Path:
    """Put a file in place of the folder of verdicts: even root cannot write below it."""
    path = Path(store.url) / verdicts_folder(dataset)
    path.write_bytes(b"")
    return path


def waiting(app: AppTest) -> list[str]:
    """Ids of decisions that are not stored, as the page names them."""
    return [line.split("<bdi>")[1].split("<")[0] for line in texts(app).split("<li>")[1:] if line.startswith("<span")]


def test_decisions_wait_for_the_storage_on_every_page(store: Store) -> None:
    for dataset in ("pets", "zoo"):
        publish_small(store, dataset=dataset)
    blocked = block(store)
    app = press(press(review(), "Fine"), "Next")
    app = press(app, "Ambiguous")
    assert "was not stored" in app.error[0].value
    assert (shown(app), waiting(app)) == ("example-004", ["example-000", "example-004"])
    # Decided again before it was ever stored.
    app = press(app, "Fine")
    assert waiting(app) == ["example-000", "example-004"]
    # What another dataset takes is stored, and holds back nothing.
    app = press(app.sidebar.selectbox[0].select("zoo").run(), "Fine")
    assert stored(store, "zoo") == [("example-004", Decision.FINE, None, "ann")]
    assert waiting(app) == ["example-000", "example-004"]
    app.session_state["page wanted"] = "audit"
    app = press(app.run(), "Try again")
    assert waiting(app) == ["example-000", "example-004"]
    blocked.unlink()
    app = press(app, "Try again")
    assert waiting(app) == []
    assert [verdict[:2] for verdict in stored(store)] == [("example-000", "fine"), ("example-004", "fine")]


def test_unsaved_decisions_can_be_discarded(store: Store) -> None:
    publish_small(store)
    blocked = block(store)
    app = press(review(), "Fine")
    for _ in range(6):
        app = press(press(app, "Next"), "Fine")
    assert len(waiting(app)) == 5
    assert "<li>and 2 more</li>" in texts(app)
    blocked.unlink()
    assert waiting(press(app, "Forget")) == []
    assert stored(store) == []


def test_a_decision_is_stored_even_if_others_cannot_be_read(store: Store) -> None:
    publish_small(store)
    app = review()
    key = f"{verdicts_folder('pets')}/b.json"
    store.write(key, b'{"verdicts": []}')
    with unreadable("b.json"):
        app = press(app, "Fine")
    # The page itself claims nothing that it does not know.
    assert ui.plain_text(store.url_of(key)) in app.error[0].value
    assert stored(store) == [("example-000", Decision.FINE, None, "ann")]
    app = app.run()
    assert (shown(app), waiting(app)) == ("example-004", [])


def test_a_decision_is_stored_even_if_the_next_row_cannot_be_found(store: Store, tmp_path: Path) -> None:
    """The decision is stored all the same, and can be taken back."""
    record = publish_small(store, new_ids=["example-000", "example-004"])
    app = review(new=True)
    changes = tmp_path / record.folder / "changes.parquet"
    data = changes.read_bytes()
    # The first to need this table is the search for the next row.
    changes.unlink()
    app = press(app, "Fine")
    assert "changes.parquet" in app.error[0].value.replace("\\", "").replace("\u2060", "")
    assert (shown(app), waiting(app), len(stored(store))) == ("example-000", [], 1)
    app = press(app, "Next")
    assert (shown(app), len(app.error)) == ("example-000", 1)
    app = press(app, "Undo")
    assert [verdict[1] for verdict in stored(store)] == [Decision.FINE, None]
    changes.write_bytes(data)
    app = press(app, "Fine")
    assert (shown(app), len(app.error)) == ("example-004", 0)


def test_objects_without_verdicts_are_named(store: Store) -> None:
    publish_small(store)
    store.write(f"{verdicts_folder('pets')}/broken.json", b"{}")
    for app in (review(), review(example=None)):
        (warning,) = app.warning
        assert ui.plain_text(store.url_of(f"{verdicts_folder('pets')}/broken.json")) in warning.value


COPIES = [
    {"example_id": "example-000", "status": Status.DUPLICATE_ID.value, "file": "data.parquet", "row": row, **values}
    for row, values in ((60, {"given_label": "cat"}), (61, {"given_label": "dog"}), (62, {}))
]


def test_rows_with_the_same_id_are_shown_one_by_one(store: Store) -> None:
    publish_small(store, more=COPIES)
    app = review(example=None, show=Status.DUPLICATE_ID)
    app = app.button(key="open-0").click().run()
    seen = []
    for _ in COPIES:
        seen.append((shown(app), linked(app, "row")))
        assert "Another row also has the id" in app.info[0].value
        assert {button.label for button in app.button} == {"Gallery", "Undo", "Previous", "Next"}
        app = press(app, "Next")
    assert seen == [("example-000", "60"), ("example-000", "61"), ("example-000", "62")]
    assert app.toast[0].value == "This is the last one."
    app = press(press(app, "Previous"), "Gallery")
    assert set(app.query_params) & {"example", "file", "row"} == set()


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ({}, None),
        ({"example": "a"}, Address("a")),
        ({"example": "a", "file": "b/c", "row": "61"}, Address("a", "b/c", 61)),
        ({"example": "a", "file": "b", "row": "61x"}, Address("a", "b")),
        ({"example": "a", "file": "b", "row": "9" * 5000}, Address("a", "b")),
    ],
)
def test_a_link_names_one_row(link: dict[str, str], address: Address | None) -> None:
    def script() -> None:
        import streamlit as st

        from labelaudit.dashboard import session

        st.session_state["found"] = session.opened_example()

    app = AppTest.from_function(script)
    for name, value in link.items():
        app.query_params[name] = value
    app.run()
    assert app.session_state["found"] == address


def test_the_gallery_shows_the_current_verdicts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict in the audit is shown only if verdicts are out of reach."""
    taken_back = {"example_id": "old", "status": "scored", "given_label": "cat", "verdict": "fine"}
    record = publish_small(store, more=[taken_back])
    app = review(example=None, show="all rows", id="old")
    assert '<div class="id">old' in texts(app)
    assert "fine" not in texts(app)
    settings = Settings(f"{store.url}/{record.folder}", reviewer="ann")
    monkeypatch.setattr(sys, "argv", ["app.py", settings.to_json()])
    st.cache_resource.clear()
    app = review(example=None, show="all rows", id="old")
    assert '<span class="chip good">fine</span>' in texts(app)
    assert "when the audit was made" in texts(review(example="old", show="all rows"))
