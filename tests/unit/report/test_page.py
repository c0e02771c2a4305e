"""The page: what it says, that hostile data stays text, its limits, and that it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelaudit.report.gallery import CardPreview, UnusualColumn, thumbnail
from labelaudit.report.page import PageContent, PublishedFile, render_page
from labelaudit.report.summary import percent
from labelaudit.schemas import FOLDS
from support.contents import make_content, picture

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onfocus='alert(3)' autofocus='",
    "</style></script></title><h1>x",
    "--><!-- ]]>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202etxt.exe\u2066",
    "javascript:alert(4)",
    "&lt;b&gt;&amp;",
]


class Page(HTMLParser):
    """Collects elements with their attributes, the text, and the rows of each section's tables."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.section = ""
        self.cell: list[str] | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag == "section":
            self.section = found.get("id") or ""
        elif tag == "tr":
            self.tables.setdefault(self.section, []).append([])
        elif tag in ("td", "th"):
            self.cell = []
            self.tables[self.section][-1].append(("", found.get("data-value")))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            row = self.tables[self.section][-1]
            row[-1] = (" ".join("".join(self.cell).split()), row[-1][1])
            self.cell = None

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.cell is not None:
            self.cell.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def structure(self) -> Counter[tuple[str, tuple[str, ...]]]:
        """Return how often each element occurs with the same attribute names."""
        return Counter((tag, tuple(attrs)) for tag, attrs in self.elements)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def rows(self, section: str) -> list[list[tuple[str, str | None]]]:
        return self.tables[section][1:]


def spaced(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def everywhere(text: str, kind: str = "text") -> PageContent:
    """Return content with the text in every place that can contain text."""
    previews: dict[str, CardPreview] = {
        "text": text,
        "columns": (UnusualColumn(text, text, text),),
        "image": picture(0),
    }
    content = make_content(
        class_names=("cat", text),
        rows=16,
        previews=lambda row: previews[kind],
        example_id=lambda row: f"{text}{row:02d}",
        file=text,
        rare_classes={f"{text}!": 2},
        dataset=text,
        version=text,
        notes=[text],
        status_counts={"scored": 16, "rare_class": 2, text: 3},
        provenance={text: text},
    )
    folds = [{**row, "device": text, "precision": text} for row in content.folds.to_pylist()]
    return replace(
        content,
        folds=pa.Table.from_pylist(folds, schema=FOLDS),
        files=[*content.files, PublishedFile(text, 1, text, None)],
    )


@pytest.mark.parametrize("kind", ["text", "columns", "image"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element_and_no_attribute(text: str, kind: str) -> None:
    hostile = Page(render_page(everywhere(text, kind)))
    harmless = Page(render_page(everywhere("x" * len(text), kind)))
    assert hostile.structure() == harmless.structure()
    assert hostile.text.count(" ".join(text.split())) >= 10


@settings(max_examples=12)
@given(st.text(min_size=1, max_size=40).filter(lambda text: text != "cat"))
def test_any_text_adds_no_element_and_no_attribute(text: str) -> None:
    hostile = Page(render_page(everywhere(text)))
    assert hostile.structure() == Page(render_page(everywhere("x" * len(text)))).structure()


def test_what_html_cannot_hold_is_replaced() -> None:
    html = render_page(everywhere("a\x00b\x1b[31mc"))
    html += render_page(make_content(dataset="x\ud800y", notes=["\udfff"], provenance={"\ud800": "\x07"}))
    html.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", html)
    assert "a\ufffdb\ufffd[31m" in html


def test_long_names_are_cut() -> None:
    html = render_page(everywhere("I" * 10_000))
    # A link must be complete; all else is cut.
    assert "I" * 2_001 not in re.sub('href="[^"]*"', "", html)
    assert len(html) < 250_000


def test_the_page_loads_nothing() -> None:
    page = Page(render_page(make_content()))
    names = {name for _, attrs in page.elements for name in attrs}
    assert not [name for name in names if name.startswith("on")]
    for _, attrs in page.elements:
        assert (attrs.get("src") or "data:image/").startswith("data:image/")
        assert (attrs.get("href") or "#").startswith(("#", "./", "../../", "data:image/svg+xml,"))
    assert not page.all("iframe") + page.all("form") + page.all("base") + page.all("object")
    assert "@import" not in page.text
    assert "url(" not in "".join(page.texts)


def test_only_the_pages_own_script_may_run() -> None:
    html = render_page(make_content())
    policy = next(a["content"] for a in Page(html).all("meta") if a.get("http-equiv"))
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    assert html.count("<script") == 1


def test_class_numbers_are_those_of_the_table() -> None:
    content = make_content(rare_classes={"yak": 2}, rows=1000)
    shown = Page(render_page(content)).rows("classes")
    for cells, row in zip(shown, content.classes.to_pylist(), strict=True):
        assert cells[0][0].startswith(row["class_name"])
        assert cells[1][0] == f"{row['examples']:,}"
        names = (
            "label_issues",
            "label_noise",
            "inverse_label_issues",
            "inverse_label_noise",
            "mean_label_score",
        )
        for (text, value), name in zip(cells[2:], names, strict=True):
            if row[name] is None:
                assert text == "-"
            else:
                assert float(value or "nan") == row[name]
        if row["label_noise"] is not None:
            assert spaced(cells[3][0]) == spaced(percent(row["label_noise"]))
            assert cells[6][0] == f"{row['mean_label_score']:.3f}"


def test_pair_fold_issue_and_status_numbers_are_those_of_the_tables() -> None:
    content = make_content(rare_classes={"yak": 2})
    page = Page(render_page(content))
    for cells, row in zip(page.rows("confusions"), content.confusions.to_pylist(), strict=True):
        assert [text for text, _ in cells[:3]] == [
            row["given_label"],
            row["suggested_label"],
            str(row["examples"]),
        ]
        assert [float(value or "nan") for _, value in cells[3:]] == [
            row["estimated_examples"],
            row["share_of_given"],
        ]
    first, second = ([text for text, _ in cells] for cells in page.rows("folds"))
    assert [spaced(text) for text in first] == [
        *("0", "60", "60", "61.3 %", "0.500", "0.250", "12", "3.5", "cpu float32")
    ]
    assert [spaced(text) for text in second] == ["1", "60", "60", "72.5 %", "0.600", "-", "-", "-", "-"]
    for cells, row in zip(page.rows("examples")[-40:], content.issues.to_pylist(), strict=True):
        assert [cells[0][0], cells[1][0], cells[2][0], cells[3][0]] == [
            str(row["rank"]),
            row["example_id"],
            row["given_label"],
            row["suggested_label"],
        ]
        assert float(cells[4][1] or "nan") == row["p_wrong"]
        assert spaced(cells[4][0]) == f"{100 * row['p_wrong']:.0f} %"
        assert float(cells[5][1] or "nan") == row["label_score"]
        assert cells[9][0] == f"{row['file']}:{row['row']}"
    assert [cells[1][0] for cells in page.rows("rows")] == ["120", "2"]


def test_cards_bear_what_the_issues_say() -> None:
    content = make_content(flag_every=2)
    page = Page(render_page(content))
    cards = [attrs for attrs in page.all("li") if attrs.get("class") == "card"]
    assert [card["data-rank"] for card in cards] == [str(rank) for rank in content.issues["rank"].to_pylist()]
    assert [float(card["data-confident"] or 0) for card in cards] == content.issues["p_suggested"].to_pylist()
    options = [attrs.get("data-label") for attrs in page.all("option") if "data-label" in attrs]
    assert options == ["cat", "dog", "eel"] * 2
    images = page.all("img")
    assert len(images) == len(cards)
    assert all((image["alt"] or "").startswith("Example img-") for image in images)


def test_files_are_linked_beside_the_page() -> None:
    names = ["issues.parquet", "pred_probs/fold=0/part.parquet", "javascript:alert(1)", "a b#c?.parquet"]
    content = make_content(files=[PublishedFile(name, 2_500_000, "c" * 64, 7) for name in names])
    page = Page(render_page(content))
    links = [attrs["href"] for attrs in page.all("a") if (attrs.get("href") or "").startswith("./")]
    assert links.count("./issues.parquet") == 2
    assert "./pred_probs/fold%3D0/part.parquet" in links
    assert "./javascript%3Aalert%281%29" in links
    assert "./a%20b%23c%3F.parquet" in links
    assert [cell for cell, _ in page.rows("files")[0]] == ["issues.parquet", "7", "2.5 MB", "c" * 64]


def test_healthy_audit_has_no_gallery_and_no_pairs() -> None:
    page = Page(render_page(make_content(flag_every=0)))
    assert "Hardly any of 120 labels look wrong; none is flagged." in spaced(page.text)
    assert {"examples", "confusions"}.isdisjoint(page.tables)
    linked = {attrs["href"] for attrs in page.all("a")} & {"#examples", "#confusions"}
    assert not linked


def test_rows_that_are_not_judged_are_named() -> None:
    counts = {"scored": 120, "unlabeled": 1000, "unreadable": 5, "duplicate_id": 0}
    page = Page(render_page(make_content(status_counts=counts)))
    assert "Only 120 of 1,125 rows" in page.text
    assert "Not scored: 1,000 unlabeled, 5 unreadable." in page.text
    assert [spaced(cells[2][0]) for cells in page.rows("rows")] == ["10.7 %", "88.9 %", "0.4 %"]


def test_nothing_scored_at_all() -> None:
    content = make_content(flag_every=0, status_counts={"unlabeled": 9})
    content = replace(content, classes=content.classes.slice(0, 0), folds=content.folds.slice(0, 0))
    assert "None of the 9 rows could be scored." in Page(render_page(content)).text


def test_audit_without_previews_shows_the_table_of_issues() -> None:
    page = Page(render_page(make_content(previews=None)))
    assert [attrs for attrs in page.all("details") if "open" in attrs]
    assert len(page.rows("examples")) == 40
    assert not page.all("img")


def test_text_and_column_previews_are_shown() -> None:
    words = Page(render_page(make_content(previews=lambda row: f"story {row}")))
    assert "story 33" in words.text
    columns = Page(render_page(make_content(previews=lambda row: (UnusualColumn("tempo", f"{row}", "9 to 12"),))))
    assert ["tempo", "33", "9 to 12"] in [[text for text, _ in row] for row in columns.rows("examples")]
    assert "no unusual column" in Page(render_page(make_content(previews=lambda row: ()))).text


def test_page_has_landmarks_headings_and_scopes() -> None:
    page = Page(render_page(make_content()))
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("main", "nav", "footer", "h1")] == [1, 1, 1, 1]
    # The others are names of charts and tooltips in them.
    assert tags[: tags.index("body")].count("title") == 1
    assert page.all("html") == [{"lang": "en"}]
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        assert attrs.get("aria-labelledby") in (None, *ids)
        if (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids


def test_a_large_audit_stays_below_the_limit() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    worst = thumbnail(noise)
    content = make_content(
        class_names=[f"class number {i:05d}" for i in range(1500)],
        rows=3000,
        flag_every=2,
        previews=lambda row: worst,
        example_id=lambda row: f"{row:06d}" + "i" * 5_000,
        file="f" * 5_000,
        notes=["n" * 10_000] * 200,
        files=[PublishedFile(f"pred_probs/fold={i}/part.parquet", 1, "d" * 64, 1) for i in range(5_000)],
    )
    issues = pa.concat_tables([content.issues] * 67).combine_chunks()
    assert len(issues) > 100_000
    html = render_page(replace(content, issues=issues, summary=replace(content.summary, issues=len(issues))))
    page = Page(html)
    assert len(html.encode()) < 5_000_000
    assert len(page.all("img")) >= 200
    assert "The first 200 of 5,000 files" in page.text
    assert "The first 100 of 200 notes" in page.text
    assert "The first 500 of 1,500 classes" in page.text
    assert f"of {len(issues):,} flagged" in page.text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (600, "The 300 flagged examples that are most likely wrong, of 600."),
        (300, "All 300 flagged examples, the most likely wrong first."),
    ],
)
def test_without_previews_the_table_is_what_is_shown(rows: int, said: str) -> None:
    page = Page(render_page(make_content(rows=rows, flag_every=1, previews=None)))
    assert said in page.text


@pytest.mark.parametrize("classes", [2, 200])
def test_confusions_work_for_few_and_many_classes(classes: int) -> None:
    names = [f"class {i:03d}" for i in range(classes)]
    content = make_content(class_names=names, rows=4 * classes, flag_every=1)
    page = Page(render_page(content))
    assert len(page.rows("confusions")) == min(15, len(content.confusions))
    assert ("busiest of 200 classes" in page.text) == (classes == 200)
    assert len(page.rows("classes")) == classes
