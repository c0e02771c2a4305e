"""Class names that probably should not be as they are: twins of another name, and names of missing values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations
from typing import NamedTuple
from unicodedata import category, normalize

from labelaudit.text import listing

# As many groups and names as a person reads before any training.
SHOWN_GROUPS = 5
SHOWN_TWINS = 5
MISSING_VALUES = frozenset(("na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "(null)", "nil", "none", "nat", "?"))

# Letters that look the same as a Latin one in most fonts, from Unicode's confusables.txt.
_CYRILLIC = (
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425",
    "ABESIJKMHOPCTYX",
)
_CYRILLIC_SMALL = ("\u0430\u0435\u0455\u0456\u0458\u043e\u0440\u0441\u0443\u0445", "aesijopcyx")
_GREEK = (
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03bd",
    "ABEZHIKMNOPTYXov",
)
_OTHER_SCRIPTS = {**str.maketrans(*_CYRILLIC), **str.maketrans(*_CYRILLIC_SMALL), **str.maketrans(*_GREEK)}
_DIGITS = str.maketrans("0I1", "Oll")
_BETWEEN_WORDS = re.compile(r"(?<=[^\W_])[\s_\-\u2010-\u2015\u2212]+(?=[^\W_])")
# "ice cream" is "icecream", but "1 2" is not 12, and "a b" is not "ab".
_BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_]{2})[\s_\-\u2010-\u2015\u2212]+(?=[^\W\d_]{2})")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


class _Step(NamedTuple):
    """A way to ignore one kind of difference."""

    difference: str
    apply: Callable[[str], str]


def _without_invisible(name: str) -> str:
    if name.isascii() and name.isprintable():
        return name  # Nearly all names, and there may be many.
    return "".join(character for character in name if character.isspace() or not _is_invisible(character))


def _is_invisible(character: str) -> bool:
    # Variation selectors decide whether a symbol is shown as an emoji.
    return category(character) in ("Cf", "Cc") or "\ufe00" <= character <= "\ufe0f"


def _like_digits(name: str) -> str:
    # Single characters are the classes of data sets of characters.
    return name.translate(_DIGITS) if len(name) > 1 else name


def _without_separators(name: str) -> str:
    return _BETWEEN_WORDS.sub(" ", _BETWEEN_LETTERS.sub("", name))


def _number(name: str) -> str:
    if not _NUMBER.fullmatch(name):
        return name
    number = Decimal(name)
    return str(number.normalize()) if number else "0"


_FORM = _Step("Unicode form", lambda name: normalize("NFKC", name))
_INVISIBLE = _Step("invisible characters", _without_invisible)
_SPACES = _Step("spaces", lambda name: " ".join(name.split()))
_SEPARATORS = _Step("hyphens, underscores or spaces", _without_separators)
_SCRIPTS = _Step("letters that look alike", lambda name: name.translate(_OTHER_SCRIPTS))
_LIKE_DIGITS = _Step("characters that look alike", _like_digits)
_CASE = _Step("letter case", str.casefold)
_NUMBERS = _Step("how a number is written", _number)
# In the order in which they are applied. Steps that do not fit together are in different rows of _IGNORED:
# without regard to case, 1, l and I would make twins of "fail" and "fall".
_STEPS = (_FORM, _INVISIBLE, _SPACES, _SEPARATORS, _SCRIPTS, _LIKE_DIGITS, _CASE, _NUMBERS)
_TIDYING = (_FORM, _INVISIBLE, _SPACES)
_ALWAYS_IGNORED = (*_TIDYING, _SEPARATORS)
_IGNORED = ((_CASE, _NUMBERS), (_SCRIPTS, _CASE), (_SCRIPTS, _LIKE_DIGITS))


def hygiene_warnings(classes: Mapping[str, int], *, format: str | None) -> tuple[str, ...]:
    """Return a sentence or two for each group of class names that are nearly the same, or look like a missing value.

    Args:
        classes: the number of rows of each class.
        format: of the dataset (`Columns.format`); None: the probabilities are external, so labels cannot be changed.

    Returns:
        Sentences with row counts and a remedy, the groups with most rows first.
    """
    return (*_twin_warnings(classes, can_rename=format is not None), *_missing_warnings(classes, format))


def find_twins(class_names: Sequence[str]) -> list[list[str]]:
    """Return the groups of names that differ only in ways that people overlook. Names keep their order."""
    group_of = {name: [name] for name in class_names}
    tidy = {name: _applied(_ALWAYS_IGNORED, name) for name in class_names}
    for ignored in _IGNORED:
        first: dict[str, str] = {}
        for name in class_names:
            other = first.setdefault(_applied(ignored, tidy[name]), name)
            if group_of[other] is not group_of[name]:
                group_of[other] += group_of[name]
                for moved in group_of[name]:
                    group_of[moved] = group_of[other]
    groups = {id(group): group for group in group_of.values() if len(group) > 1}
    return list(groups.values())


def _twin_warnings(classes: Mapping[str, int], *, can_rename: bool) -> Iterator[str]:
    groups = [sorted(group, key=lambda name: (-classes[name], name)) for group in find_twins(sorted(classes))]
    groups.sort(key=lambda group: (-sum(classes[name] for name in group), group))
    for group in groups[:SHOWN_GROUPS]:
        yield _twins_in_words(group, classes, can_rename=can_rename)
    if len(groups) > SHOWN_GROUPS:
        yield f"{len(groups) - SHOWN_GROUPS:,} more groups of class names are nearly the same."


def _twins_in_words(group: Sequence[str], classes: Mapping[str, int], *, can_rename: bool) -> str:
    right = min(group, key=lambda name: (_applied(_TIDYING, name) != name, group.index(name)))
    others = [name for name in group if name != right]
    found = {step for name in others[:SHOWN_TWINS] for step in _differences(name, right)}
    differences = [step for step in _STEPS if step in found]
    is_ascii = bool({_FORM, _SCRIPTS} & set(differences))
    names = listing((f"{_quoted(name, is_ascii)} ({_rows(classes[name])})" for name in group), shown=SHOWN_TWINS)
    what = " and ".join(step.difference for step in differences) or "how they are written"
    if not can_rename:
        remedy = "correct the labels and compute the probabilities again."
    elif not right.strip():
        remedy = "give them a visible name with dataset.rename."
    else:
        pairs = [f"{_quoted(name, is_ascii)}: {_quoted(right, is_ascii)}" for name in others]
        more = ", …" if len(pairs) > SHOWN_TWINS else ""
        remedy = f"set dataset.rename: {{{', '.join(pairs[:SHOWN_TWINS])}{more}}}."
    return f"Class names differ only in {what}: {names}. If they mean one class, {remedy}"


def _differences(first: str, second: str) -> tuple[_Step, ...]:
    """Return the fewest steps that make two names equal; none if the names are twins only through a third one."""
    for count in range(1, len(_STEPS) + 1):
        for steps in combinations(_STEPS, count):
            if _applied(steps, first) == _applied(steps, second):
                return steps
    return ()


def _missing_warnings(classes: Mapping[str, int], format: str | None) -> Iterator[str]:
    for name, rows in classes.items():
        if name.strip().lower() not in MISSING_VALUES:
            continue
        quoted = _quoted(name, is_ascii=False)
        remedies = {
            "csv": f"add {quoted} to dataset.csv.missing, so that its rows count as unlabeled.",
            "image_folder": "take the folder out of the dataset.",
        }
        remedy = remedies.get(format or "", "write null instead, so that its rows count as unlabeled.")
        yield f"The class {quoted} ({_rows(rows)}) has the name of a missing value. If it is not a class, {remedy}"


def _applied(steps: Sequence[_Step], name: str) -> str:
    for step in steps:
        name = step.apply(name)
    return name


def _quoted(name: str, is_ascii: bool) -> str:
    """Return a name in double quotes as YAML reads it, without invisible characters; with `is_ascii`, all ASCII."""
    return '"' + "".join(_escaped(character, is_ascii) for character in name) + '"'


def _escaped(character: str, is_ascii: bool) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable() and not _is_invisible(character) and (character.isascii() or not is_ascii):
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _rows(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"
