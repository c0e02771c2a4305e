"""The keys of a summary, summaries of earlier releases, and Markdown that stays text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.codec import from_record, to_record
from labelaudit.findings import ErrorRange, RateBasis, Summary
from labelaudit.report.summary import escape_markdown, markdown
from support.contents import make_content


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_summary_is_strict_json_and_adds_up() -> None:
    content = make_content(class_names=[f"c{i:02d}" for i in range(25)], rows=300, rare_classes={"yak": 2})
    summary = to_record(content.summary)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert from_record(Summary, summary) == content.summary
    assert summary["examples"] == 302
    assert summary["scored"] == 300
    assert summary["issues"] == 100
    assert summary["error_range"] == {"estimate": 0.3, "low": 0.25, "high": 0.38, "basis": "probabilities"}
    assert (summary["flag_precision"], summary["cut"], summary["promise"]) == (0.75, 0.5, None)
    assert summary["statuses"] == {"scored": 300, "rare_class": 2}
    assert isinstance(summary["classes"], list)
    assert len(summary["classes"]) == 10
    assert summary["classes"][0] == content.classes.to_pylist()[0]
    assert summary["confusions"] == content.confusions.slice(0, 10).to_pylist()
    assert summary["notes"] == ["three rows were normalised"]


def test_a_summary_of_an_earlier_release_has_the_number_that_it_stored() -> None:
    record = to_record(make_content().summary)
    for name in ("error_range", "noise", "flag_precision", "cut", "promise"):
        del record[name]
    summary = from_record(Summary, {**record, "estimated_error_rate": 0.0912, "health_score": 0.9088})
    assert summary.error_range == ErrorRange(0.0912, 0.0912, 0.0912, RateBasis.EARLIER_RELEASE)
    assert (summary.noise, summary.flag_precision, summary.cut) == (None, None, None)
    assert from_record(Summary, to_record(summary)) == summary
    # The dot would begin a list, so the digit is written as an entity.
    assert "| 120 | 120 | 40 | &#57;.1 % | &#45; |" in plain(markdown(summary))


def test_a_summary_without_any_rate_is_none_of_ours() -> None:
    record = to_record(make_content().summary)
    del record["error_range"]
    with pytest.raises(ValueError, match="error_range is missing"):
        from_record(Summary, record)


def test_summary_leaves_out_pairs_that_are_only_estimated() -> None:
    assert make_content(flag_every=0).summary.confusions == ()


def test_markdown_tells_what_the_summary_tells() -> None:
    content = make_content(rare_classes={"yak": 2})
    text = plain(markdown(content.summary))
    assert text.startswith(
        "# pets v3\n\n**Between 25 % and 38 % of 120 labels look wrong; 40 are flagged, about 3 in 4"
    )
    assert "| 122 | 120 | 40 | 25 to 38 % | about 3 in 4 |" in text
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
