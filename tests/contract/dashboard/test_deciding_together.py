"""One decision for a row and some of its nearest rows: which are ticked, stored and undone."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from labelaudit.dashboard import ui
from labelaudit.dashboard.queries import Address
from labelaudit.dashboard.review_session import ReviewSession, SessionVerdict
from labelaudit.dashboard.settings import Settings
from labelaudit.reviews.verdict_store import append_verdicts, read_verdicts
from labelaudit.reviews.verdicts import LabeledExample, Verdict, current, utc_now
from labelaudit.schemas import Decision
from labelaudit.storage.store import Store
from support.dashboards import publish_small, texts
from support.waiting import PATIENCE_SECONDS

APP = Path(ui.__file__).parent / "app.py"
# Rows 0, 12 and 24 are flagged cats, 4 is a flagged dog, and 3 and 6 are cats that are not flagged.
NEAR = ["example-012", "example-003", "example-004", "example-024", "example-006", "example-059"]


def review() -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=PATIENCE_SECONDS)
    app.session_state["page wanted"] = "review"
    app.run()
    app.session_state["example"] = Address("example-000")
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    (found,) = [button for button in app.button if button.label == label]
    app = found.click().run()
    assert not app.exception
    return app


def ticks(app: AppTest) -> list[bool]:
    return [bool(box.value) for box in app.main.checkbox]


def answers(store: Store) -> dict[str, tuple[Decision | None, str | None]]:
    found = current(read_verdicts(store, "pets"))
    return {example.example_id: (verdict.verdict, verdict.right_label) for example, verdict in found.items()}


def test_similar_rows_get_the_same_decision_and_undo_takes_all_back(store: Store) -> None:
    publish_small(store, neighbours={"example-000": NEAR})
    app = review()
    assert all(f'<div class="id">{name}</div>' in texts(app) for name in NEAR[:5])
    # The last row is not scored, so it is nobody's neighbour.
    assert ticks(app) == [False] * 5
    app = press(app, "Same for 2 similar")
    assert ticks(app) == [True, False, False, True, False]
    assert "A decision is about 3 rows: this one and 2 below." in [caption.value for caption in app.caption]
    app = press(app, "Wrong: dog")
    assert answers(store) == dict.fromkeys(("example-000", "example-012", "example-024"), (Decision.WRONG, "dog"))
    assert app.toast[0].value == ui.plain_text("Decided on 3 rows.")
    # The next undecided row is none of them, and nothing is ticked there.
    assert app.query_params["example"] in (["example-004"], "example-004")
    assert ticks(app) == []
    app = press(app, "Undo")
    assert answers(store) == {}
    assert app.query_params["example"] in (["example-000"], "example-000")
    assert app.toast[0].value == ui.plain_text("Undone: wrong on 3 rows of pets.")


def test_ticks_are_taken_back_by_the_same_key(store: Store) -> None:
    publish_small(store, neighbours={"example-000": NEAR})
    app = press(press(review(), "Same for 2 similar"), "Only this row")
    assert ticks(app) == [False] * 5
    press(app, "Fine")
    assert answers(store) == {"example-000": (Decision.FINE, None)}


def test_a_row_with_the_right_label_is_not_wrong(store: Store) -> None:
    publish_small(store, neighbours={"example-000": NEAR})
    app = review()
    for number in (1, 2):
        app.main.checkbox[number].check()
    app = press(app.run(), "Wrong: dog")
    # Row 4 is labeled dog.
    assert answers(store) == dict.fromkeys(("example-000", "example-003"), (Decision.WRONG, "dog"))
    told = "Decided on 2 rows. 1 ticked with the label dog already: not decided."
    assert app.toast[0].value == ui.plain_text(told)


def test_rows_that_are_decided_already_are_not_similar(store: Store) -> None:
    publish_small(store, neighbours={"example-000": NEAR, "example-012": ["example-000", "example-024"]})
    app = press(press(review(), "Same for 2 similar"), "Fine")
    app.session_state["example"] = Address("example-012")
    app.run()
    assert [button.label for button in app.button if "similar" in button.label] == []


def test_a_read_only_dashboard_shows_neighbours_without_ticks(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_small(store, neighbours={"example-000": NEAR})
    monkeypatch.setattr(sys, "argv", ["app.py", Settings(str(tmp_path), read_only=True).to_json()])
    st.cache_resource.clear()
    app = review()
    assert "Nearest rows" in texts(app)
    assert ticks(app) == []


def test_an_audit_without_neighbours(store: Store) -> None:
    publish_small(store)
    assert "Nearest rows" not in texts(review())


def verdict(name: str, decision: Decision = Decision.FINE) -> SessionVerdict:
    given = Verdict(name, "d1", "cat", decision, None, "ann", utc_now(), "a", was_flagged=True)
    return SessionVerdict("pets", Address(name), given)


def together(*names: str) -> SessionVerdict:
    first, *also = map(verdict, names)
    return first._replace(also=tuple(also))


def names(given: SessionVerdict) -> list[str]:
    return [member.address.example_id for member in given.members]


def test_what_others_changed_since_stays(store: Store) -> None:
    publish_small(store)
    review()
    mine = ReviewSession()
    mine.store(together("a", "b", "c"))
    (given,) = mine.undoable
    moment = f"{int(utc_now()[:4]) + 1}{utc_now()[4:]}"
    others = replace(verdict("b").verdict, verdict=Decision.AMBIGUOUS, reviewer="ben", decided_at=moment)
    append_verdicts(store, "pets", [others])
    assert mine.undo(given, "ann") == 2
    assert {example.example_id for example in current(read_verdicts(store, "pets"))} == {"b"}
    assert mine.undo(given, "ann") == 0


def test_only_new_verdicts_can_be_undone(store: Store) -> None:
    publish_small(store)
    review()
    mine = ReviewSession()
    mine.store(verdict("b"))
    mine.store(together("a", "b"))
    assert list(map(names, mine.undoable)) == [["b"], ["a"]]


def test_unsaved_verdicts_on_other_rows_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_small(store)
    review()
    mine = ReviewSession()
    mine.unsaved = [together("a", "b", "c"), verdict("d")]
    mine.store(together("a", "d"))
    # The last one is stored, and those of the first key on other rows are kept.
    assert list(map(names, mine.unsaved)) == [["b", "c"]]
    mine.store_unsaved()
    assert mine.unsaved == []
    found = {example.example_id for example in current(read_verdicts(store, "pets"))}
    assert found == {"a", "b", "c", "d"}
    assert LabeledExample("a", "d1", "cat") in current(read_verdicts(store, "pets"))
