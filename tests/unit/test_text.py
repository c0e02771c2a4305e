"""Lists that are cut short, close matches, and the characters that terminals, HTML and XML must not get."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.text import REPLACEMENT, closest, for_html, for_xml, in_one_direction, is_control, listing, plain

# All code points, lone surrogates included.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("names", "shown", "separator", "expected"),
    [
        ([], 5, ", ", ""),
        (["a"], 5, ", ", "a"),
        (["a", "b"], 2, ", ", "a, b"),
        (["a", "b", "c"], 2, ", ", "a, b and 1 more"),
        (["a", "b", "c"], 1, "; ", "a; and 2 more"),
        (["a", "b", "c"], 2, "\n  ", "a\n  b\n  and 1 more"),
        (range(2_000), 2, ", ", "0, 1 and 1,998 more"),
    ],
)
def test_listing(names: list[str], shown: int, separator: str, expected: str) -> None:
    assert listing(names, shown=shown, separator=separator) == expected


@given(st.lists(st.text("abc", min_size=1)), st.integers(1, 9))
def test_a_listing_names_or_counts_every_name(names: list[str], shown: int) -> None:
    text = listing(iter(names), shown=shown)
    assert text.startswith(", ".join(names[:shown]))
    more = max(0, len(names) - shown)
    assert text.endswith(f" and {more} more") == (more > 0)


def test_closest() -> None:
    assert closest("epoch", ["batch_size", "epochs"]) == "epochs"
    assert closest("epoch", {"batch_size": 1}) is None
    assert closest("epoch", []) is None


@given(ANY_TEXT)
def test_plain_text_has_no_control_character(text: str) -> None:
    shown = plain(text)
    assert not any(map(is_control, shown))
    assert len(shown) == len(text)
    assert plain(shown) == shown


@given(ANY_TEXT)
def test_any_text_fits_into_xml(text: str) -> None:
    # A parser reads each of the three kinds of line ends as a line feed.
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert (ElementTree.fromstring(f"<a>{escape(for_xml(lines))}</a>").text or "") == for_xml(lines)


@given(ANY_TEXT)
def test_any_text_fits_into_html(text: str) -> None:
    shown = for_html(text)
    assert shown.encode().decode() == shown
    assert not any(is_control(character) and ord(character) < 0xA0 for character in shown if character not in "\t\n\r")


@pytest.mark.parametrize("clean", [plain, for_html, for_xml, in_one_direction])
def test_words_of_any_language_stay(clean: Callable[[str], str]) -> None:
    text = "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \u732b \u0639\u0631\u0628\u064a \N{PARTY POPPER}"
    assert clean(text) == text


def test_what_each_replaces() -> None:
    text = "a\x1bb\x92c\u202ed\u200de"
    gone = REPLACEMENT
    assert plain(text) == f"a{gone}b{gone}c{gone}d{gone}e"
    assert for_html(text) == f"a{gone}b{gone}c\u202ed\u200de"
    assert for_xml(text) == f"a{gone}b\x92c\u202ed\u200de"
    assert in_one_direction(text) == f"a\x1bb\x92c{gone}d\u200de"
