"""Class names that are nearly the same, by hand and as properties; names of missing values."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelaudit.config import parse_config
from labelaudit.data.label_hygiene import find_twins, hygiene_warnings

CYRILLIC_CAT = "\u0421at"
NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (("cat", "Cat", "CAT"), "letter case"),
        (("cat", "cat "), "spaces"),
        (("sea lion", "sea  lion"), "spaces"),
        (("sea lion", "sea\u00a0lion"), "Unicode form"),
        (("cat", "cat\u200b"), "invisible characters"),
        (("cat", "\ufeffcat"), "invisible characters"),
        ((NFC, NFD), "Unicode form"),
        (("cat", "\uff43\uff41\uff54"), "Unicode form"),
        (("sea lion", "sea_lion", "sea-lion"), "hyphens, underscores or spaces"),
        (("1", "1.0"), "how a number is written"),
        (("7", "007", "7e0"), "how a number is written"),
        (("-0.5", "-.50"), "how a number is written"),
        (("Cat", CYRILLIC_CAT), "letters that look alike"),
        (("A", "\u0391"), "letters that look alike"),
        (("COVID", "C0VID"), "characters that look alike"),
        (("Ill", "I1l"), "characters that look alike"),
        (("cat", "Cat "), "spaces and letter case"),
        (("cat", CYRILLIC_CAT), "letters that look alike and letter case"),
        (("sea lion", "Sea_Lion"), "hyphens, underscores or spaces and letter case"),
    ],
)
def test_twins_and_how_they_differ(names: tuple[str, ...], difference: str) -> None:
    (group,) = find_twins(["other", *names, "another"])
    assert group == list(names)
    (warning,) = hygiene_warnings(dict.fromkeys(("other", *names), 3), format="csv")
    assert warning.startswith(f"Class names differ only in {difference}: ")


@pytest.mark.parametrize(
    "names",
    [
        *(["fall", "fail"], ["bali", "ball", "bail"], ["-1", "1", "0"], ["1", "10", "100"], ["0", "O", "1", "l", "I"]),
        *(["C", "C++", "C#"], ["cat", "cats"], ["caf\u00e9", "cafe"], ["a b", "ab"], ["+", "-"], ["1.5", "1"]),
        *(["\u0442\u043e\u043a", "tok"], ["1-0", "0-1", "10"], ["unknown", "other"], ["\U0001f600", "\U0001f601"]),
    ],
)
def test_names_that_are_no_twins(names: list[str]) -> None:
    assert find_twins(names) == []
    assert hygiene_warnings(dict.fromkeys(names, 2), format="csv") == ()


def test_the_sentence_counts_rows_and_ends_with_the_remedy() -> None:
    classes = {"Cat": 19, "cat": 112, "cat ": 1, "dog": 112}
    assert hygiene_warnings(classes, format="csv") == (
        'Class names differ only in spaces and letter case: "cat" (112 rows), "Cat" (19 rows), "cat " (1 row). '
        'If they mean one class, set dataset.rename: {"Cat": "cat", "cat ": "cat"}.',
    )
    assert hygiene_warnings(classes, format=None)[0].endswith(
        "If they mean one class, correct the labels and compute the probabilities again."
    )


def test_a_tidy_name_is_suggested_even_if_it_is_rarer() -> None:
    (warning,) = hygiene_warnings({"cat ": 90, "cat": 20}, format="parquet")
    assert 'dataset.rename: {"cat ": "cat"}.' in warning


def test_names_that_look_the_same_are_escaped() -> None:
    (forms,) = hygiene_warnings({NFC: 9, NFD: 1}, format="csv")
    assert r'"caf\u00e9" (9 rows), "cafe\u0301" (1 row)' in forms
    (alike,) = hygiene_warnings({"Cat": 9, CYRILLIC_CAT: 1}, format="csv")
    assert r'{"\u0421at": "Cat"}' in alike
    (invisible,) = hygiene_warnings({"cat": 9, "cat\u200b": 1}, format="csv")
    assert r'{"cat\u200b": "cat"}' in invisible


def test_a_long_list_is_cut() -> None:
    pairs = {name: 2 for number in range(8) for name in (f"class {number}", f"Class {number}")}
    warnings = hygiene_warnings(pairs, format="csv")
    assert len(warnings) == 6
    assert warnings[-1] == "3 more groups of class names are nearly the same."
    many = {"cat" + " " * spaces: 100 - spaces for spaces in range(9)}
    (warning,) = hygiene_warnings(many, format="csv")
    assert "and 4 more. If" in warning
    assert ", …}." in warning


@pytest.mark.parametrize("name", ["NA", "nan", "null", "None", "N/A", "?", " NULL ", "<NA>"])
def test_names_of_missing_values(name: str) -> None:
    (warning,) = hygiene_warnings({name: 20, "cat": 1}, format="csv")
    assert warning == (
        f'The class "{name}" (20 rows) has the name of a missing value. If it is not a class, add "{name}" to '
        "dataset.csv.missing, so that its rows count as unlabeled."
    )
    (parquet,) = hygiene_warnings({name: 1}, format="parquet")
    assert parquet.endswith("write null instead, so that its rows count as unlabeled.")
    (folder,) = hygiene_warnings({name: 1}, format="image_folder")
    assert folder.endswith("take the folder out of the dataset.")


NAMES = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs", "Cf"]), min_size=1, max_size=6)
CLASSES = st.dictionaries(NAMES | st.from_regex(r"\A[aAbB01lI _-]{1,4}\Z"), st.integers(1, 99), max_size=12)


@given(NAMES)
def test_careless_spellings_are_twins(name: str) -> None:
    spellings = (f" {name}", f"{name}\u200b", unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name))
    for other in {*spellings, f"{name}\u00a0"} - {name}:
        assert find_twins([name, other]) == [[name, other]]


@given(CLASSES, st.randoms())
def test_groups_are_a_partition_that_ignores_order(classes: dict[str, int], random: object) -> None:
    groups = find_twins(list(classes))
    members = [name for group in groups for name in group]
    assert len(members) == len(set(members))
    assert set(members) <= set(classes)
    assert all(len(group) > 1 for group in groups)
    reverse = find_twins(list(reversed(classes)))
    assert {frozenset(group) for group in reverse} == {frozenset(group) for group in groups}


def test_blank_twins_need_a_visible_name() -> None:
    """Because dataset.rename refuses a blank one."""
    warnings = list(hygiene_warnings({" ": 1, "\xa0": 1}, format="csv"))
    assert "If they mean one class, give them a visible name with dataset.rename." in warnings[0]


@given(CLASSES)
@example({" ": 1, "\xa0": 1})
def test_the_remedy_is_yaml_that_leaves_no_twins(classes: dict[str, int]) -> None:
    """Names that are twins only through a third one may need a second step, so the remedy is applied until it ends."""
    for _ in range(len(classes) + 1):
        warnings = [warning for warning in hygiene_warnings(classes, format="csv") if "dataset.rename: " in warning]
        if not warnings or ", …}." in warnings[0]:
            break
        remedy = warnings[0].rpartition("dataset.rename: ")[2].removesuffix(".")
        rename = parse_config("dataset: {url: x}", overrides=[f"dataset.rename={remedy}"]).dataset.rename
        assert rename.keys() <= classes.keys()
        merged: dict[str, int] = {}
        for name, rows in classes.items():
            merged[rename.get(name, name)] = merged.get(rename.get(name, name), 0) + rows
        assert len(merged) < len(classes)
        classes = merged
    else:
        raise AssertionError("the remedies do not end")


def test_removed_separators_make_twins():
    assert find_twins(["ice cream", "icecream", "ice-cream", "item 1 2", "item 12"]) == [
        ["ice cream", "icecream", "ice-cream"]
    ]
