"""The page of all audits: what it says, that names stay text, and that a thousand versions fit on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from labelaudit.findings import ErrorRange, RateBasis
from labelaudit.report.dataset_page import render_site
from labelaudit.report.trend import AuditEntry, direction, trend_table
from labelaudit.schemas import TREND
from support.entries import class_figures, entry

RECORDS = "5" * 64
HOSTILE = "<img src=x onerror=alert(1)>{{ 7 * 7 }}\x1b[31m"


class Links(HTMLParser):
    """Collects all elements and the targets of links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        assert not [name for name in values if name.startswith("on") or name == "src"]
        if "href" in values:
            self.found.append(values["href"] or "")


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def single(rate: float) -> ErrorRange:
    return ErrorRange(rate, rate, rate, RateBasis.EARLIER_RELEASE)


def site(entries: Sequence[AuditEntry]) -> str:
    return render_site("pets", entries, RECORDS)


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        ([], ""),
        (
            [0.05],
            "Between 2.5 % and 10 % of the labels of v1 look wrong. The next version will show a trend.",
        ),
        (
            [0.05, 0.01],
            "Between 0.5 % and 2 % of the labels of v2 look wrong: fewer than in v1 (2.5 to 10 %).",
        ),
        (
            [0.05, 0.04],
            "Between 2 % and 8 % of the labels of v2 look wrong: not clearly more or fewer than in v1 (2.5 to 10 %).",
        ),
        (
            [0.05, 0.01, 0.05],
            "Between 2.5 % and 10 % of the labels of v3 look wrong: more than in v2 (0.5 to 2 %), and not clearly more "
            "or fewer than in v1 (2.5 to 10 %), the first version.",
        ),
        (
            [0.05, 0.04, 0.05],
            "Between 2.5 % and 10 % of the labels of v3 look wrong: not clearly more or fewer than in v2 (2 to 8 %) "
            "and in v1 (2.5 to 10 %), the first version.",
        ),
    ],
    ids=str,
)
def test_whether_labels_get_better(rates: list[float], sentence: str) -> None:
    entries = [entry(number, rate) for number, rate in enumerate(rates, start=1)]
    assert plain(direction(entries)) == sentence


def test_a_trend_across_other_settings_is_no_proof() -> None:
    entries = [entry(1, 0.05), entry(2, 0.04, changed_settings=("training.epochs 5 → 9",))]
    assert direction(entries).endswith("%). Not only the data changed.")


def test_versions_audited_by_an_earlier_release_have_a_number() -> None:
    old = [entry(number, error_range=single(rate)) for number, rate in ((1, 0.0912), (2, 0.05), (3, 0.0501))]
    assert plain(direction(old[:1])) == (
        "About 9.1 % of the labels of v1 look wrong. The next version will show a trend."
    )
    assert plain(direction(old[:2])) == "About 5.0 % of the labels of v2 look wrong: fewer than in v1 (9.1 %)."
    assert plain(direction(old[1:])) == "About 5.0 % of the labels of v3 look wrong: as many as in v2 (5.0 %)."
    now = entry(2, 0.06)
    assert plain(direction([old[0], now])).endswith(
        "Between 3 % and 12 % of the labels of v2 look wrong: not clearly more or fewer than in v1 (9.1 %)."
    )
    rows = [row for row in trend_table([old[0], now], RECORDS).to_pylist() if row["class_name"] is None]
    limits = [(row["error_rate_low"], row["error_rate_high"], row["error_rate_basis"]) for row in rows]
    assert limits == [(None, None, "earlier_release"), (0.03, 0.12, "probabilities")]
    assert '<td class="number">9.1 %</td>' in plain(site([old[0], now]))


def test_versions_without_a_score_say_nothing() -> None:
    assert direction([entry(1, scored=0)]) == ""
    assert "No version has scored rows yet." in site([entry(1, scored=0)])
    assert "No version has scored rows yet." in site([])


def test_table_of_the_trend() -> None:
    older = entry(1, 0.08, position=None)
    table = trend_table([older, entry(2, 0.04, gate="passed"), entry(1, 0.06)], RECORDS)
    assert table.schema.equals(TREND)
    assert table.schema.metadata == {**TREND.metadata, b"records": RECORDS.encode()}
    rows = table.to_pylist()
    assert [(row["version"], row["class_name"], row["error_rate"]) for row in rows] == [
        ("v1", None, 0.06),
        ("v1", "cat", pytest.approx(0.09)),
        ("v1", "dog", 0.03),
        ("v1", "eel", None),
        ("v2", None, 0.04),
        ("v2", "cat", 0.06),
        ("v2", "dog", 0.02),
        ("v2", "eel", None),
    ]
    assert [row["scored"] for row in rows[:4]] == [1000, 500, 500, 0]
    limits = [(row["error_rate_low"], row["error_rate_high"], row["error_rate_basis"]) for row in rows[:2]]
    assert limits == [(0.03, 0.12, "probabilities"), (None, None, None)]
    assert {row["gate"] for row in rows[4:]} == {"passed"}
    assert rows[0]["created_at"].isoformat() == "2026-01-02T03:00:00+00:00"


def test_newest_first_with_links_and_gates() -> None:
    again = entry(1, 0.05, audit_id="b" * 12, folder="version=v1/audit=bbb", position=None)
    entries = [again, entry(1, 0.05), entry(2, 0.04, gate="failed", changed_settings=("training.epochs 5 → 9",))]
    html = site(entries)
    reports = [link for link in Links(html).found if link.endswith("report.html")]
    assert reports[1:] == [
        "./version=v2/audit=000000000002/report.html",
        "./version=v1/audit=000000000001/report.html",
        "./version=v1/audit=bbb/report.html",
    ]
    assert '<span class="gate failed">failed</span>' in html
    assert html.count("superseded") == 1
    assert "Not only the data changed: training.epochs 5 → 9" in html
    assert "At a dotted line not only the data changed" in html
    assert "Hollow dots: the gate failed." in html


def test_gates_are_left_out_where_none_is_set() -> None:
    html = site([entry(1), entry(2)])
    assert 'scope="col">gate' not in html
    assert "Hollow dots" not in html
    assert "dotted line" not in html


def test_hostile_names_stay_text() -> None:
    classes = class_figures({HOSTILE: 0.5})
    folder = "version=javascript:x%2F%3Cb%3E+/audit=1"
    hostile = [
        entry(number, version=HOSTILE, verdict=HOSTILE, folder=folder, classes=classes, gate=HOSTILE)
        for number in (1, 2)
    ]
    html = render_site(HOSTILE, hostile, RECORDS)
    page = Links(html)
    assert not page.tags & {"img", "script", "iframe"}
    assert "49" not in re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", html, flags=re.DOTALL)
    assert "\x1b" not in html
    links = [link for link in page.found if not link.startswith(("#", "data:image/svg+xml,"))]
    assert links
    assert all(link.startswith("./") and "+" not in link for link in links)
    assert "./version=javascript%3Ax%252F%253Cb%253E%2B/audit=1/report.html" in links


def test_a_thousand_versions_stay_readable() -> None:
    entries = [entry(number, 0.05 + number % 7 / 1000) for number in range(1, 1001)]
    html = site(entries)
    table = trend_table(entries, RECORDS)
    assert len(html) < 1_500_000
    assert len(table) == 4000
    assert html.count("report.html") == 1001
    assert html == site(entries)
    assert "<summary>970 older audits</summary>" in html


def test_more_audits_than_the_page_holds() -> None:
    html = site([entry(number) for number in range(1, 2011)])
    assert "The 2,000 newest of 2,010 audits." in html


def test_many_classes() -> None:
    classes = class_figures({f"c{number:03d}": number / 100 for number in range(60)})
    html = site([entry(1), entry(2, classes=classes)])
    assert "24 of 60 classes" in html
    assert html.index("c059") < html.index("c036")
    assert "c035" not in html
