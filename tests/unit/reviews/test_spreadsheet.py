"""CSV files: no cell is a formula, every text comes back, and what cannot be read is named."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelaudit.errors import ReviewError
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.spreadsheet import csv_bytes, guarded, read_spreadsheet, unguarded
from labelaudit.schemas import Decision

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
HEADER = "example_id,given_label,verdict,right_label\n"


@given(TEXT)
@example("=cmd|' /C calc'!A0")
@example("'=1")
@example("''")
@example("-x")
@example("\ufeffbom")
@example("a;=cmd|' /C calc'!A0;b")
@example("'\t;'=")
def test_every_text_comes_back_and_none_is_a_formula(text: str) -> None:
    assert unguarded(guarded(text)) == text
    cell = guarded(text)
    assert not cell.startswith(("=", "@", "\t", "\r", "\n"))
    if cell.startswith(("+", "-")):
        float(cell.replace(",", "."))


@given(st.lists(TEXT | st.text("=+-@;\t\n\r', \"a\uff1d"), min_size=1, max_size=4))
@example(["i1", "a;=cmd|' /C calc'!A0;b"])
@example(["i1", "a\n=1", 'say ";=1'])
def test_no_cell_is_a_formula_with_other_separators(texts: list[str]) -> None:
    data = csv_bytes(["name"] * len(texts), [texts]).decode()
    line = data.partition("\r\n")[2]
    # Quotes mean nothing but at the beginning of a cell, so that any of them may be one.
    for cell in re.split("[;\t\r\n]", line):
        assert not cell.startswith(("=", "+", "-", "@", "\uff1d"))


@pytest.mark.parametrize("text", ["-1", "+2.5", "-1e-5", "-0,5", "plain", "", "a=b"])
def test_ordinary_texts_and_numbers_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text


@given(st.lists(st.tuples(TEXT.filter(bool), TEXT.filter(bool)), min_size=1, max_size=5))
@example([("a\r\nb", 'say "hi"'), ("=x", "\0")])
def test_a_whole_file_comes_back(rows: list[tuple[str, str]]) -> None:
    data = csv_bytes(["example_id", "verdict", "right_label"], [(name, "wrong", label) for name, label in rows])
    found = read_spreadsheet(data, "file")
    assert [(one.example_id, one.right_label) for one in found] == rows


def test_a_filled_file() -> None:
    text = HEADER + "i1,bee,wrong,ant\ni2,bee,,\n,,,\n\ni3,'=bee, Fine ,\ni4,bee,AMBIGUOUS\n"
    assert read_spreadsheet(("\ufeff" + text).encode(), "f.csv") == [
        Draft("i1", Decision.WRONG, "ant", "line 2", "bee"),
        Draft("i3", Decision.FINE, None, "line 6", "=bee"),
        Draft("i4", Decision.AMBIGUOUS, None, "line 7", "bee"),
    ]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("off-topic", "off-topic"),
        (" Off Topic ", "off-topic"),
        ("SEVERAL_CLASSES", "several-classes"),
        ("A leaf, not an insect", "A leaf, not an insect"),
        ("'=A1", "=A1"),
    ],
)
def test_a_reason_to_remove(written: str, reason: str) -> None:
    text = f'example_id,verdict,remove_reason\ni1,remove,"{written}"\n'
    assert read_spreadsheet(text.encode(), "f.csv") == [
        Draft("i1", Decision.REMOVE, None, "line 2", remove_reason=reason)
    ]


def test_a_reason_without_a_verdict() -> None:
    (found,) = read_spreadsheet(b"example_id,verdict,remove_reason\ni1,,broken\n", "f.csv")
    assert (
        found.problem == "'i1': there is a reason, but not a verdict; write wrong, fine, ambiguous, remove, or nothing"
    )


def test_columns_that_spreadsheets_add_are_ignored() -> None:
    text = "example_id,,verdict,right_label,,\ni1,a note,fine,,,\ni2,,wrong,ant,,,,\ni3,,fine\n"
    assert [one[:3] for one in read_spreadsheet(text.encode(), "f.csv")] == [
        ("i1", Decision.FINE, None),
        ("i2", Decision.WRONG, "ant"),
        ("i3", Decision.FINE, None),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_other_delimiters_and_columns(delimiter: str) -> None:
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter).writerows([["verdict", "note", "example_id"], ["fine", "a,b;c", "i1"]])
    assert read_spreadsheet(sink.getvalue().encode(), "f.csv") == [Draft("i1", Decision.FINE, None, "line 2")]


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    found = read_spreadsheet((HEADER + '"i\n1",bee,fine,\ni2,bee,fine,\n').encode(), "f.csv")
    assert [one.place for one in found] == ["line 2", "line 4"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("i1,bee,perhaps,", "'i1': 'perhaps' is not a verdict; write wrong, fine, ambiguous, remove"),
        ("i1,bee,,ant", "'i1': there is a right label, but not a verdict"),
        ("i1,bee,fine,,,x", "6 cells under 4 columns"),
    ],
)
def test_bad_lines_keep_their_place(line: str, problem: str) -> None:
    (found,) = read_spreadsheet((HEADER + line).encode(), "f.csv")
    assert found.place == "line 2"
    assert problem in str(found.problem)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "f.csv is empty. The first line must name example_id and verdict"),
        (
            b"id,verdict\ni1,fine\n",
            "f.csv has the columns 'id', 'verdict'. The first line must name example_id and verdict",
        ),
        (b"example_id,verdict,verdict\n", "once each, right_label"),
        ("example_id,verdict\nä,fine\n".encode("latin-1"), "f.csv is not UTF-8 text (byte 19)"),
        (b'example_id,verdict\n"i1,fine\n', "f.csv is not a CSV file (unexpected end of data, line 2)"),
        (HEADER.encode() + b"a" * 200_000, "field larger than field limit"),
    ],
)
def test_a_file_that_cannot_be_read(data: bytes, message: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        read_spreadsheet(data, "f.csv")
