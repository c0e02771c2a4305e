"""The verdict in every case, the summary's keys, and Markdown that stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.codec import from_record, to_record
from labelaudit.findings import Summary
from labelaudit.report.page import PageContent
from labelaudit.report.summary import escape_markdown, markdown, percent, verdict
from support.contents import make_content


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def judged(content: PageContent, counts: dict[str, int], issues: int, rate: float) -> str:
    return plain(verdict(counts, issues, rate, content.confusions))


@pytest.mark.parametrize(
    ("counts", "issues", "rate", "sentence"),
    [
        (
            {"scored": 5000},
            466,
            0.0912,
            "About 9.1 % of 5,000 labels look wrong: 466 examples are flagged; most often cat → dog.",
        ),
        (
            {"scored": 100_000, "unlabeled": 7},
            1,
            0.0002,
            "About 0.02 % of 100,000 labels look wrong: 1 example is flagged; most often cat → dog.",
        ),
        (
            {"scored": 500},
            3,
            0.0,
            "3 examples are flagged of 500, though hardly any label is estimated to be wrong; most often cat → dog.",
        ),
        (
            {"scored": 600, "unlabeled": 300, "unreadable": 100},
            60,
            0.1,
            "Only 600 of 1,000 rows (60.0 %) could be scored. Among these, about 10.0 % of 600 labels look"
            " wrong: 60 examples are flagged; most often cat → dog.",
        ),
    ],
)
def test_verdicts_with_issues(counts: dict[str, int], issues: int, rate: float, sentence: str) -> None:
    assert judged(make_content(), counts, issues, rate) == sentence


@pytest.mark.parametrize(
    ("counts", "rate", "sentence"),
    [
        ({"scored": 5000}, 0.0, "No label issue found in 5,000 labels."),
        (
            {"scored": 5000},
            0.02,
            "No label issue found in 5,000 labels, though about 2.0 % are estimated to be wrong.",
        ),
        (
            {"scored": 10, "unlabeled": 90},
            0.0,
            "Only 10 of 100 rows (10.0 %) could be scored. Among these, no label issue found in 10 labels.",
        ),
        ({"unlabeled": 90}, 0.0, "None of the 90 rows could be scored."),
    ],
)
def test_verdicts_without_issues(counts: dict[str, int], rate: float, sentence: str) -> None:
    assert judged(make_content(flag_every=0), counts, 0, rate) == sentence


def test_names_in_a_verdict_are_short_and_turn_nothing() -> None:
    content = make_content(class_names=("\u202eevil\u2066", "long " * 500))
    sentence = verdict({"scored": 100}, 9, 0.5, content.confusions)
    assert "evil" in sentence
    assert not set(sentence) & set("\u202e\u2066")
    assert len(sentence) < 250


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "<0.1 %"), (0.0912, "9.1 %"), (0.9996, ">99.9 %"), (1, "100 %"), (1e-12, "<0.1 %")],
)
def test_percent(share: float, text: str) -> None:
    assert plain(percent(share)) == text


def test_summary_is_strict_json_and_adds_up() -> None:
    content = make_content(class_names=[f"c{i:02d}" for i in range(25)], rows=300, rare_classes={"yak": 2})
    summary = to_record(content.summary)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert from_record(Summary, summary) == content.summary
    assert summary["examples"] == 302
    assert summary["scored"] == 300
    assert summary["issues"] == 100
    assert summary["health_score"] == pytest.approx(1 - 0.3)
    assert summary["statuses"] == {"scored": 300, "rare_class": 2}
    assert isinstance(summary["classes"], list)
    assert len(summary["classes"]) == 10
    assert summary["classes"][0] == content.classes.to_pylist()[0]
    assert summary["confusions"] == content.confusions.slice(0, 10).to_pylist()
    assert summary["notes"] == ["three rows were normalised"]


def test_summary_leaves_out_pairs_that_are_only_estimated() -> None:
    assert make_content(flag_every=0).summary.confusions == ()


def test_markdown_tells_what_the_summary_tells() -> None:
    content = make_content(rare_classes={"yak": 2})
    text = plain(markdown(content.summary))
    assert text.startswith("# pets v3\n\n**About 30.0 % of 120 labels look wrong: 40 examples are flagged")
    assert "| cat | dog | 40 |" in text
    assert "| rare\\_class | 2 |" in text
    assert "- three rows were normalised" in text
    assert "## Notes" not in markdown(make_content(notes=[]).summary)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


@pytest.mark.parametrize(
    "label",
    [
        "a|b",
        "<script>alert(1)</script>",
        "`code`",
        "[x](javascript:alert(1))",
        "**b** _i_ ~s~",
        "a\nb\n# c",
        "&lt;",
    ],
)
def test_labels_stay_text_in_markdown(label: str) -> None:
    text = markdown(make_content(class_names=("cat", label), dataset=label, notes=[label]).summary)
    reference = markdown(make_content(class_names=("cat", "x"), dataset="x", notes=["x"]).summary)
    parser = Tags()
    parser.feed(text)
    assert parser.tags == []
    # As many lines and unescaped cell borders as with a harmless label.
    assert [line.replace("\\|", "").count("|") for line in text.splitlines()] == [
        line.count("|") for line in reference.splitlines()
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("- no list", "&#45; no list"),
        ("12. no list", "&#49;2. no list"),
        ("see https://x.org", "see https:&#47;&#47;x.org"),
        ("&amp;", "&amp;amp;"),
        ("two\nlines", "two lines"),
    ],
)
def test_escapes(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


@given(st.text(alphabet="\\\\`*_{}[]()#+!|~$<>&ab \n", max_size=40))
def test_every_special_character_is_escaped(text: str) -> None:
    rest = re.sub(r"\\[\\`*_{}\[\]()#+!|~$]|&(?:lt|gt|amp);", "", escape_markdown(text))
    assert set(rest) <= set("ab ")


def test_long_labels_are_cut_in_markdown() -> None:
    assert "x" * 61 not in markdown(make_content(class_names=("cat", "x" * 9_000)).summary)
