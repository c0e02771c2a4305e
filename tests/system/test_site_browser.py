"""The page of all audits, and the changes of a report, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from labelaudit.report.changes import changes_content
from labelaudit.report.dataset_page import render_site
from labelaudit.report.page import render_page
from labelaudit.schemas import CHANGES, CLASS_CHANGES
from support.browsing import open_browser
from support.contents import changes, make_content
from support.entries import entry

pytestmark = pytest.mark.browser
LONG = "a-version-with-a-name-that-does-not-end-" * 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset's folder with its page and the report of its newest version, which has a comparison."""
    folder = tmp_path_factory.mktemp("dataset=pets")
    settings = ("training.epochs 5 → 9",)
    entries = [entry(number, 0.1 / number, gate="failed" if number == 3 else "passed") for number in range(1, 40)]
    entries[10] = entry(11, 0.03, gate="warned", changed_settings=settings)
    entries[-1] = entry(39, 0.02, version=LONG, folder="version=v39/audit=abc")
    (folder / "index.html").write_text(render_site("pets", entries, "0" * 64), encoding="utf-8")
    content = make_content(flag_every=2)
    ids = content.issues["example_id"].to_pylist()
    rows = [{"example_id": ids[place], "issue_change": "new"} for place in (1, 35)]
    changed = CHANGES.empty_table().from_pylist(rows, schema=CHANGES)
    report = folder / "version=v39" / "audit=abc" / "report.html"
    report.parent.mkdir(parents=True)
    compared = changes_content(
        changes(warning="Not only the data changed since v38: training.epochs 5 → 9."),
        changed,
        CLASS_CHANGES.empty_table(),
        content.issues,
    )
    report.write_text(render_page(make_content(flag_every=2, changes=compared)), encoding="utf-8")
    return folder


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, folder: Path) -> Iterator[Page]:
    """Open the page of all audits, and check at the end that it caused no console message or foreign request."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("console", lambda message: troubles.append(message.text))
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    requests: list[str] = []
    opened.on("request", lambda sent: requests.append(sent.url))
    opened.goto((folder / "index.html").as_uri())
    yield opened
    assert troubles == []
    assert not [url for url in requests if not url.startswith(("data:", folder.as_uri()))]
    context.close()


def test_it_follows_the_scheme_and_fits_a_phone(page: Page) -> None:
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    light_of = "(e) => getComputedStyle(e).backgroundColor.match(/[0-9]+/g).map(Number).reduce((a, b) => a + b)"
    assert (page.locator("body").evaluate(light_of) < 150) == dark
    line = page.locator("#trend svg [stroke]").first.evaluate("(e) => getComputedStyle(e).stroke")
    assert line.startswith("rgb")
    page.locator("details").evaluate("(e) => { e.open = true }")
    for width in (390, 768):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_from_all_audits_to_a_report_and_back(page: Page) -> None:
    assert page.locator("#audits tbody tr:visible").count() == 30
    page.locator("#audits tbody a").first.click()
    assert page.locator("#changes").is_visible()
    page.get_by_role("link", name="All audits").click()
    assert page.locator("#trend svg").is_visible()


def test_a_new_issue_shows_its_card(page: Page) -> None:
    page.locator("#audits tbody a").first.click()
    assert page.locator("#changes .warning").inner_text().startswith("Attention. Not only the data changed")
    page.locator("#filter-given").select_option(label="dog (20)")
    page.locator('#changes a[href="#example-36"]').click()
    assert page.evaluate("document.activeElement.closest('.card').id") == "example-36"
    assert page.locator("#example-36").is_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
