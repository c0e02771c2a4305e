"""The dashboard in a real browser: filters, decisions by keys and by mouse, reload, read-only, hostile text, S3."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from labelaudit.reviews.verdict_store import read_verdicts
from labelaudit.schemas import Decision
from labelaudit.storage.store import Store
from support.browsing import MOVE_TRIES, dashboard, move, open_browser, press, settled, shown_id
from support.dashboards import publish_small

pytestmark = pytest.mark.browser

HOSTILE = (
    "<img src=x onerror=console.error('ran')>",
    "[x](javascript:console.error('ran')) :material/home: :smile: :red[y] $\\text{z}$ **b** -> `c`",
    "=cmd|' /C calc'!A0\u202e",
)
SECONDS = 1000
expect.set_options(timeout=120 * SECONDS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Open pages, and check at the end that no code in a label ran and nothing was loaded from elsewhere."""
    contexts, troubles, requests = [], [], []
    origins = set()

    def open_url(url: str) -> Page:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120 * SECONDS)
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("request", lambda sent: requests.append(sent.url))
        page.on("websocket", lambda socket: requests.append(socket.url.replace("ws:", "http:")))
        origins.add(url.split("/")[2])
        page.goto(url)
        return page

    yield open_url
    for context in contexts:
        context.close()
    assert "ran" not in troubles
    assert [
        url for url in requests if not url.startswith(("data:", "blob:")) and url.split("/")[2] not in origins
    ] == []


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dashboard") / "cache"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[str, Path]]:
    """Return the URL of a dashboard and its folder, which contains a dataset for each test."""
    folder = tmp_path_factory.mktemp("audits")
    store = Store(str(folder))
    for dataset in ("keys", "refusing", "twice"):
        publish_small(store, dataset=dataset)
    publish_small(store, dataset="mapped", has_map=True)
    publish_small(store, dataset="near", neighbours={"example-000": ["example-012", "example-003", "example-024"]})
    publish_small(store, dataset="filters", rows=200, new_ids=["example-012", "example-100"])
    for day in (1, 2):
        publish_small(store, dataset="two", rows=20 + 20 * day, version=f"v{day}", day=day)
        publish_small(store, dataset="address", rows=20, version=f"v{day}", day=day)
    with dashboard(folder, cache, "--reviewer", "ann") as url:
        yield url, folder


def cards(page: Page) -> list[str]:
    return page.locator(".card .id").all_inner_texts()


def decide_and_reload(page: Page) -> None:
    """Decide on three rows by key and on one by mouse, undo one, reload, and find the decisions."""
    expect(page.locator(".card")).to_have_count(15)
    move(page, "Enter")
    shown_id(page, "example-000")
    press(page, "f")
    shown_id(page, "example-004")
    press(page, "w")
    shown_id(page, "example-008")
    press(page, "1")
    shown_id(page, "example-012")
    settled(page)
    page.get_by_role("button", name="Ambiguous").click()
    shown_id(page, "example-016")
    move(page, "ArrowLeft")
    shown_id(page, "example-012")
    expect(page.locator(".said")).to_contain_text("ambiguous")
    expect(page.locator(".said")).to_contain_text("by ann")
    press(page, "u")
    expect(page.locator(".said")).to_contain_text("undecided")
    # The reasons to remove a row have the keys of the labels.
    press(page, "x")
    expect(page.locator(".st-key-reasons")).to_contain_text("several-classes")
    press(page, "2")
    shown_id(page, "example-016")
    move(page, "ArrowLeft")
    expect(page.locator(".said")).to_contain_text("remove: several-classes")
    press(page, "u")
    expect(page.locator(".said")).to_contain_text("undecided")
    page.reload()
    shown_id(page, "example-012")
    expect(page.locator(".said")).to_contain_text("undecided")
    move(page, "ArrowLeft")
    shown_id(page, "example-008")
    expect(page.locator(".said")).to_contain_text("wrong → cat")
    move(page, "Escape")
    expect(page.locator(".card")).to_have_count(15)
    assert page.locator(".card .chip").all_inner_texts() == ["fine", "wrong → owl", "wrong → cat"]


def stored(store: Store, dataset: str = "pets") -> list[tuple[str, Decision | None, str | None, str]]:
    verdicts = read_verdicts(store, dataset)
    return [(v.example_id, v.verdict, v.right_label or v.remove_reason, v.reviewer) for v in verdicts]


MADE = [
    ("example-000", Decision.FINE, None, "ann"),
    ("example-004", Decision.WRONG, "owl", "ann"),
    ("example-008", Decision.WRONG, "cat", "ann"),
    ("example-012", Decision.AMBIGUOUS, None, "ann"),
    ("example-012", None, None, "ann"),
    ("example-012", Decision.REMOVE, "several-classes", "ann"),
    ("example-012", None, None, "ann"),
]


Shared = tuple[str, Path]
OpenPage = Callable[[str], Page]


def test_decisions_by_keys_and_mouse_are_stored(shared: Shared, open_page: OpenPage) -> None:
    url, folder = shared
    store = Store(str(folder))
    decide_and_reload(open_page(f"{url}/review?dataset=keys"))
    assert stored(store, "keys") == MADE
    other = open_page(f"{url}/review?dataset=keys&decided=undecided")
    expect(other.locator(".card")).to_have_count(12)


def test_the_same_in_s3(s3: str, cache: Path, open_page: OpenPage) -> None:
    store = Store(s3)
    publish_small(store)
    with dashboard(f"{s3}/dataset=pets", cache, "--reviewer", "ann") as url:
        decide_and_reload(open_page(f"{url}/review"))
        assert stored(store) == MADE


def test_one_decision_for_similar_rows(shared: Shared, open_page: OpenPage) -> None:
    url, folder = shared
    page = open_page(f"{url}/review?dataset=near")
    expect(page.locator(".card")).to_have_count(15)
    move(page, "Enter")
    shown_id(page, "example-000")
    near = page.locator(".st-key-nearest")
    expect(near.locator(".card .id")).to_have_text(["example-012", "example-003", "example-024"])
    expect(near.locator("img")).to_have_count(3)
    press(page, "s")
    expect(near.locator("input:checked")).to_have_count(2)
    # A mouse adds a row.
    near.locator("label").nth(1).click()
    expect(near.locator("input:checked")).to_have_count(3)
    expect(page.get_by_text("A decision is about 4 rows")).to_be_visible()
    press(page, "w")
    shown_id(page, "example-004")
    names = ("example-000", "example-012", "example-003", "example-024")
    decided = [(name, Decision.WRONG, "dog", "ann") for name in names]
    assert stored(Store(str(folder)), "near") == decided
    press(page, "u")
    shown_id(page, "example-000")
    expect(page.locator(".said")).to_contain_text("undecided")
    assert sorted(stored(Store(str(folder)), "near")[4:]) == sorted((name, None, None, "ann") for name in names)


def draw_box(page: Page) -> None:
    """Draw a box on the right side of a circle on which rows are in the order of their ids."""
    place = page.get_by_test_id("stVegaLiteChart").bounding_box()
    assert place is not None
    middle, height = place["x"] + place["width"] / 2, place["height"]
    page.mouse.move(middle + 10, place["y"] + 0.3 * height)
    page.mouse.down()
    page.mouse.move(middle + place["width"] / 4, place["y"] + 0.6 * height, steps=4)
    page.mouse.move(place["x"] + place["width"] - 4, place["y"] + 0.9 * height, steps=4)
    page.mouse.up()


def test_a_box_on_the_map_filters_the_gallery(shared: Shared, open_page: OpenPage) -> None:
    page = open_page(f"{shared[0]}/review?dataset=mapped&map=true")
    expect(page.locator(".card")).to_have_count(15)
    drawn, no_box = page.get_by_test_id("stVegaLiteChart").locator(".box_brush_bg path"), "M0,0h0v0h0Z"
    settled(page)
    expect(drawn).to_have_attribute("d", no_box)
    remove = page.get_by_role("button", name="Remove box")
    # The second box is drawn on a new chart.
    for _ in range(2):
        draw_box(page)
        expect(remove).to_be_visible()
        settled(page)
        shown = set(cards(page))
        assert {"example-000", "example-004", "example-056"} <= shown
        assert "example-028" not in shown
        expect(drawn).not_to_have_attribute("d", no_box)
        remove.click()
        expect(page.locator(".card")).to_have_count(15)
        # Until then, the page may have both charts.
        settled(page)
        expect(drawn).to_have_attribute("d", no_box)
    draw_box(page)
    expect(remove).to_be_visible()
    # The box stays while a row is open.
    move(page, "Enter")
    move(page, "Escape")
    settled(page)
    assert set(cards(page)) == shown
    remove.click()
    expect(page.locator(".card")).to_have_count(15)


def test_filters_and_pages(shared: Shared, open_page: OpenPage) -> None:
    url, _ = shared
    page = open_page(f"{url}/review?dataset=filters")
    expect(page.locator(".head h2")).to_have_text("50 examples")
    expect(page.locator(".card")).to_have_count(30)
    move(page, "ArrowRight")
    expect(page.locator(".card")).to_have_count(20)
    choose(page, "Given label", "cat")
    expect(page.locator(".head h2")).to_have_text("17 examples")
    expect(page.locator(".card .given")).to_have_text(["cat"] * 17)
    expect(page.locator(".card .suggested")).to_have_text(["dog"] * 17)
    page.get_by_text("New only").click()
    expect(page.locator(".card .id")).to_have_text(["example-012"])
    page.goto(f"{url}/review?dataset=filters&show=unlabeled")
    expect(page.locator(".card .id")).to_have_text(["example-199"])
    expect(page.locator(".card")).to_contain_text("no label")
    page.goto(f"{url}/review?dataset=filters&show=random+sample&id=99")
    expect(page.locator(".card")).to_have_count(1)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=re.compile(label)).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_read_only_shows_nothing_that_decides(tmp_path: Path, cache: Path, open_page: OpenPage) -> None:
    store = Store(str(tmp_path))
    record = publish_small(store)
    for options in ([tmp_path, "--read-only"], [tmp_path / record.folder]):
        with dashboard(options[0], cache, *map(str, options[1:])) as url:
            page = open_page(f"{url}/review?example=example-004")
            shown_id(page, "example-004")
            for name in ("Fine", "Wrong", "Ambiguous", "Remove", "Undo"):
                expect(page.get_by_role("button", name=name)).to_have_count(0)
            press(page, "f")
            move(page, "ArrowRight")
            shown_id(page, "example-008")
            expect(page.locator(".stSidebar")).to_contain_text("read-only")
            expect(page.get_by_label("Reviewer")).to_have_count(0)
    assert stored(store) == []


def test_a_storage_that_refuses_keeps_the_decision(shared: Shared, open_page: OpenPage) -> None:
    url, folder = shared
    store = Store(str(folder))
    # A file in place of the folder of verdicts: even root cannot write below it.
    in_the_way = folder / "dataset=refusing" / "_verdicts"
    in_the_way.write_bytes(b"")
    page = open_page(f"{url}/review?dataset=refusing&example=example-004")
    shown_id(page, "example-004")
    refused = page.get_by_text("Not stored yet")
    for _ in range(MOVE_TRIES):
        # A page that draws its buttons again loses a key. Nothing is stored, so pressing it again decides the same.
        press(page, "w")
        with contextlib.suppress(AssertionError):
            expect(refused).to_be_visible()
            break
    expect(refused).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("_verdicts")
    shown_id(page, "example-004")
    in_the_way.unlink()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".said")).to_contain_text("wrong → owl")
    expect(page.get_by_text("Not stored yet")).to_have_count(0)
    shown_id(page, "example-004")
    assert stored(store, "refusing") == [("example-004", Decision.WRONG, "owl", "ann")]


def test_a_second_click_or_key_decides_on_nothing(shared: Shared, open_page: OpenPage) -> None:
    url, folder = shared
    store = Store(str(folder))
    page = open_page(f"{url}/review?dataset=twice&example=example-004")
    shown_id(page, "example-004")
    settled(page)
    box = page.get_by_role("button", name="Fine").bounding_box()
    assert box is not None
    page.mouse.dblclick(box["x"] + 5, box["y"] + 5)
    shown_id(page, "example-008")
    press(page, "w")
    page.keyboard.press("w")
    shown_id(page, "example-012")
    settled(page)
    shown_id(page, "example-012")
    assert stored(store, "twice") == [
        ("example-004", Decision.FINE, None, "ann"),
        ("example-008", Decision.WRONG, "cat", "ann"),
    ]
    press(page, "u")
    page.keyboard.press("u")
    shown_id(page, "example-008")
    settled(page)
    shown_id(page, "example-008")
    assert stored(store, "twice")[2:] == [("example-008", None, None, "ann")]


def test_hostile_labels_stay_text(tmp_path: Path, cache: Path, open_page: OpenPage) -> None:
    store = Store(str(tmp_path))
    for day in (1, 2):
        publish_small(store, class_names=HOSTILE, dataset="<b>pets</b> [x](http://a.example)", day=day,
                      version=f":smile: <i>v</i>{day}")  # fmt: skip
    with dashboard(tmp_path, cache, "--reviewer", "<b>ann</b>") as url:
        page = open_page(url)
        expect(page.locator(".sentence")).to_contain_text(HOSTILE[0])
        expect(page.locator(".subject")).to_contain_text("<b>pets</b> [x](http://a.example)")
        for name in ("audit", "compare", "review", "review?example=example-004"):
            page.goto(f"{url}/{name}")
            expect(page.locator(".stSidebar .brand")).to_be_visible()
            expect(page.locator(".stMain .subject, .stMain .sentence").first).to_be_visible()
            settled(page)
            assert (
                page.locator(".stMain img[src=x], .stMain a, .stMain .katex, .stMain bdi b, .stMain bdi i").count() == 0
            )
            assert page.locator("[data-testid=stIconMaterial]", has_text="home").count() == 0
        buttons = page.locator(".st-key-labels button")
        shown = [strip(text) for text in buttons.all_inner_texts()]
        assert [text[:12] for text in shown] == [name[:12] for name in sorted(HOSTILE)]
        page.get_by_role("button", name="Fine").click()
        expect(page.locator(".values dd").first).not_to_have_text("example-004")
    assert [v.reviewer for v in read_verdicts(store, "<b>pets</b> [x](http://a.example)")] == ["<b>ann</b>"]


def strip(text: str) -> str:
    return text.replace("\u2060", "")


def test_two_audits_side_by_side(shared: Shared, open_page: OpenPage) -> None:
    url, _ = shared
    page = open_page(f"{url}/compare?dataset=two")
    expect(page.locator(".sentence")).to_have_text("v1 → v2")
    expect(page.locator(".figures").nth(1)).to_contain_text("rows added20not in the previous version")
    page.goto(f"{url}/?dataset=two")
    expect(page.locator(".chart img")).to_be_visible()


def test_the_address_on_every_page_and_back(shared: Shared, open_page: OpenPage) -> None:
    url, _ = shared
    page = open_page(f"{url}/?dataset=address")
    old, new = (f"?dataset=address&audit=v{day}%2F{day:012x}" for day in (1, 2))
    expect(page).to_have_url(f"{url}/{new}")
    choose(page, "Audit", "v1 · 2025-01-01")
    expect(page).to_have_url(f"{url}/{old}")
    page.get_by_role("link", name="Review").click()
    expect(page).to_have_url(f"{url}/review{old}")
    for before in (f"{url}/{old}", f"{url}/{new}"):
        # Also over the address without names, which the click on a link leaves behind.
        while page.url != before:
            settled(page)
            here = page.url
            page.go_back()
            page.wait_for_url(lambda address, here=here: address != here)
    expect(page.locator(".subject")).to_contain_text("v2")


def test_foreign_names_and_origins_are_refused(shared: Shared) -> None:
    url, _ = shared
    port = int(url.rpartition(":")[2])
    own = f"http://127.0.0.1:{port}"
    assert websocket_status(port, f"127.0.0.1:{port}", own) == 101
    assert websocket_status(port, f"evil.example:{port}", f"http://evil.example:{port}") == 403
    assert websocket_status(port, f"127.0.0.1:{port}", "http://evil.example") == 403


def websocket_status(port: int, host: str, origin: str) -> int:
    request = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request.encode())
        return int(connection.recv(1024).split()[1])
