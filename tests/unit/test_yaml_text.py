"""YAML text: duplicate keys, text as written, and everything else as PyYAML reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ConfigError
from labelaudit.yaml_text import as_written, read_as_written, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"^c\.yaml contains the key 'a' twice, in lines 1 and 3\. Remove one of the two\.$"),
        ("x:\n- y: {a: 1, a: 2}", r"^c\.yaml contains the key 'a' twice, in line 2\. "),
        ("{a: 1, a: 1}", r"^c\.yaml contains the key 'a' twice\. "),
        ("a: 1\n'a': 2", "the key 'a' twice, in lines 1 and 2"),
        ("x: &m {1: a,\n 1: b}\ny: *m", "the key '1' twice, in lines 1 and 2"),
        ("b: &b {a: 1}\nc: &c {a: 2}\nx:\n  <<: *b\n  <<: *c", r"the key '<<' twice, in lines 4 and 5\. Write `<<: \["),
        ("? [a]\n: b", r"^c\.yaml, line 1: a key must be text\. Put quotes around it\.$"),
        ("a: &a\n- *a", r"^c\.yaml, line 1: a value contains itself\. Remove the alias\.$"),
        ("[" * 5000, r"^c\.yaml is nested too deeply\. Write fewer levels\.$"),
        ("a: 0x_", r"^c\.yaml is not valid YAML: '0x_' is not a number in .* line 1, column 4.*Correct it\.$"),
        ("a: !!bool perhaps", r"'perhaps' is not a boolean"),
        ("a: !!float x", r"'x' is not a number"),
        ("a: !!python/object:os.x {}", r"is not valid YAML: could not determine a constructor"),
        ("a: 1\n---\nb: 2", r"is not valid YAML: expected a single document"),
        ("a: [", r"is not valid YAML"),
    ],
)
def test_errors_name_key_place_and_file(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_yaml(text, "c.yaml")


def test_keys_and_dates_are_text_as_written() -> None:
    text = "{007: 1, no: 2, 1.0: 3, ~: 4, 2026-11-20: 5, !!str x: 6, '01': 7, 1: 8, =: 9}"
    assert read_yaml(text, "c") == {
        **{"007": 1, "no": 2, "1.0": 3, "~": 4, "2026-11-20": 5},
        **{"x": 6, "01": 7, "1": 8, "=": 9},
    }
    assert read_yaml("a: 2026-11-20", "c") == {"a": "2026-11-20"}
    assert read_yaml("&k 1: *k", "c") == {"1": 1}, "the same node as a value stays a number"


def test_merges_and_aliases_work() -> None:
    text = "base: &base {a: 1, b: 2}\nx: {<<: *base, b: 3}\ny: {<<: [{c: 4}, *base]}\nz: [*base, *base]"
    base = {"a": 1, "b": 2}
    assert read_yaml(text, "c") == {
        **{"base": base, "x": {"a": 1, "b": 3}, "y": {"a": 1, "b": 2, "c": 4}},
        "z": [base, base],
    }
    assert read_yaml("'<<': 1", "c") == {"<<": 1}, "in quotes it is a name"


def test_an_empty_text_has_no_value() -> None:
    assert read_yaml("", "c") is None
    assert read_yaml("# nothing", "c") is None


SCALARS = st.sampled_from(
    [
        *(
            "1",
            "007",
            "0o7",
            "0b101",
            "0x1F",
            "1_000",
            "12:30",
            "-3",
            "1.10",
            ".5",
            "1.",
            "1.5e+3",
            "1e3",
            ".inf",
            "-.INF",
        ),
        *("yes", "No", "TRUE", "off", "on", "y", "null", "~", "text", "'1'", '"no"'),
    ]
)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda v: f"[{', '.join(v)}]")))
def test_values_are_those_of_pyyaml(text: str) -> None:
    found = read_yaml(text, "c")
    expected = yaml.safe_load(text)
    assert (found, _types(found)) == (expected, _types(expected))


@given(SCALARS)
def test_a_scalar_remembers_how_it_was_written(text: str) -> None:
    found = as_written(read_as_written(text, "c"))
    assert found == (None if text in ("null", "~") else text.strip("'\""))


TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=5)


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.none()))
def test_json_is_yaml(values: dict[str, Any]) -> None:
    assert read_yaml(json.dumps(values, ensure_ascii=False), "c") == values


def _types(value: object) -> object:
    return [_types(one) for one in value] if isinstance(value, list) else type(value)
