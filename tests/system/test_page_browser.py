"""The report page in a real browser: sorting, filtering, enlarging by key, in light and dark, without requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from labelaudit.report.page import render_page
from support.browsing import open_browser
from support.contents import make_content

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=console.error('ran')>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    content = make_content(class_names=("cat", "dog", HOSTILE), flag_every=2)
    path.write_text(render_page(content), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, report: str) -> Iterator[Page]:
    """Open the page, and check at the end that there was no console message, no error and no other request."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    requests: list[str] = []
    opened.on("request", lambda sent: requests.append(sent.url))
    opened.goto(report)
    yield opened
    assert troubles == []
    assert [url for url in requests if not url.startswith("data:")] == [report]
    context.close()


def column(page: Page, section: str, number: int) -> list[str]:
    cells = page.locator(f"#{section} table.sortable tbody tr > :nth-child({number})")
    return cells.all_inner_texts()


def visible_ranks(page: Page) -> list[int]:
    cards = page.locator(".card:not([hidden])").all()
    return [int(card.get_attribute("data-rank") or 0) for card in cards]


def test_colours_follow_the_scheme(page: Page) -> None:
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    light_of = "(e) => getComputedStyle(e).backgroundColor.match(/[0-9]+/g).map(Number).reduce((a, b) => a + b)"
    assert (page.locator("body").evaluate(light_of) < 150) == dark


def test_text_contrast_is_at_least_aa(page: Page) -> None:
    """Each foreground has a contrast of 4.5 on each background on which it is used (WCAG 2.2, 1.4.3)."""
    pairs = [
        *((text, ground) for text in ("ink", "muted", "given", "suggested") for ground in ("paper", "panel")),
        *(("on-heat", f"heat-{level}") for level in (5, 6, 7)),
        *(("ink", f"heat-{level}") for level in (1, 2, 3, 4)),
    ]
    style = "(name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"
    for text, ground in pairs:
        lighter, darker = sorted((luminance(page.evaluate(style, name)) for name in (text, ground)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_header_sorts_its_table(page: Page) -> None:
    names = column(page, "classes", 1)
    page.get_by_role("button", name="class", exact=True).click()
    assert column(page, "classes", 1) == sorted(names, key=str.lower)
    assert page.locator("#classes th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="mean score").click()
    scores = [float(text) for text in column(page, "classes", 7)]
    assert scores == sorted(scores, reverse=True)
    page.get_by_role("button", name="mean score").click()
    assert [float(text) for text in column(page, "classes", 7)] == sorted(scores)


def test_the_gallery_is_filtered_and_sorted(page: Page) -> None:
    assert len(visible_ranks(page)) == 24
    assert page.locator("#shown").inner_text() == "24 of 60 shown"
    page.locator("#filter-given").select_option(label="cat (20)")
    assert page.locator(".card:not([hidden]) .given bdi").all_inner_texts() == ["cat"] * 20
    page.locator("#filter-suggested").select_option(label="cat (20)")
    assert page.locator("#shown").inner_text() == "no matching example"
    assert visible_ranks(page) == []
    page.locator("#filter-given").select_option("")
    page.locator("#filter-suggested").select_option("")
    page.get_by_role("button", name="Show all").click()
    assert visible_ranks(page) == list(range(1, 61))
    page.locator("#sort").select_option("confident")
    sure = page.locator(".card").evaluate_all("(cards) => cards.map((card) => Number(card.dataset.confident))")
    assert sure == sorted(sure, reverse=True)


def test_a_count_of_confusions_shows_its_examples(page: Page) -> None:
    pair = page.locator("#confusions tbody tr").first
    given, suggested = pair.locator("bdi").all_inner_texts()
    pair.locator("a").click()
    assert page.locator(".card:not([hidden]) .given bdi").all_inner_texts() == [given] * 20
    assert page.locator(".card:not([hidden]) .suggested bdi").all_inner_texts() == [suggested] * 20


def test_examples_are_opened_by_keys_alone(page: Page) -> None:
    viewer = page.locator("#viewer")
    for key in ("j", "j", "ArrowRight", "k"):
        page.keyboard.press(key)
    opener = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert opener.startswith("Enlarge example 2: given ")
    page.keyboard.press("Enter")
    assert viewer.is_visible()
    assert viewer.locator(".facts").inner_text().startswith("#2")
    page.keyboard.press("ArrowRight")
    assert viewer.locator("#viewer-place").inner_text() == "3 of 60"
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    # The dialog's close event comes a moment later.
    expect(page.locator(".card[data-rank='3']:focus-within")).to_have_count(1)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert not viewer.is_visible()


def test_keys_go_beyond_the_cards_that_are_shown(page: Page) -> None:
    page.keyboard.press("j")
    for _ in range(24):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('.card').dataset.rank") == "25"
    assert len(visible_ranks(page)) == 48


def test_nothing_overflows_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_is_whole_without_scripts(browser: Browser, report: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(report)
    assert len(opened.locator(".card").all()) == 60
    assert not opened.locator(".toolbar").is_visible()
    assert opened.locator("#provenance").is_visible()
    context.close()
