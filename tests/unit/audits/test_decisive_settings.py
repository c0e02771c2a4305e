"""What changed between two audits apart from the data: config, code, packages, or an `auto` that follows the data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labelaudit.audits.decisive_settings import DecisiveSettings, changed_settings, in_words, is_other_work


def audit(**changes: Any) -> dict[str, Any]:
    """What a manifest says, with changes by dotted paths (`training__epochs`)."""
    values: dict[str, Any] = {
        "columns": {"kind": "image", "guesses": []},
        "config": {
            "dataset": {"url": "a", "name": "pets", "version": "v1", "ignore": []},
            "model": {"network": "auto", "kwargs": {}},
            "training": {"epochs": "auto", "seed": 0},
            "cross_validation": {"folds": 5},
            "detection": {"filter": "both"},
            "report": {"examples": 200},
            "workers": {"kind": "local"},
        },
        "recipe": {"network": "cnn", "epochs": 12, "shape": (3, 8)},
        "versions": {"labelaudit": "1", "torch": "2.6", "prefect": "3.8"},
        "code": None,
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = values
        for parent in parents:
            place = place[parent]
        place[last] = value
    return values


def deciding(manifest: dict[str, Any]) -> DecisiveSettings:
    # As it is stored: JSON knows no tuples.
    return DecisiveSettings.of_audit(json.loads(json.dumps(manifest)))


def words(**changes: Any) -> list[str]:
    return [f"{in_words(one)} ({one.cause})" for one in changed_settings(deciding(audit()), deciding(audit(**changes)))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"config__dataset__url": "b", "config__dataset__version": "v2"},
        {"config__report__examples": 9, "config__workers__kind": "ray"},
        {"versions__prefect": "3.9"},
        {"recipe__shape": [3, 8]},
        {"config__dataset__rename": {}, "config__dataset__unreadable_files": "error"},
        {"config__dataset__slices": ["batch"]},
    ],
    ids=str,
)
def test_settings_that_decide_nothing_are_left_out(changes: dict[str, Any]) -> None:
    assert words(**changes) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config__detection__filter": "x"}, ["detection.filter both → x (config)"]),
        ({"config__dataset__ignore": ["a"]}, ["dataset.ignore [] → ['a'] (config)"]),
        ({"config__dataset__rename": {"Cat": "cat"}}, ["dataset.rename.Cat none → cat (config)"]),
        ({"config__model__kwargs": {"hidden": [3]}}, ["model.kwargs.hidden none → [3] (config)"]),
        ({"versions__torch": "2.7"}, ["versions.torch 2.6 → 2.7 (package)"]),
        ({"code": "a" * 64}, [f"model code none → {'a' * 12} (code)"]),
        ({"columns__kind": "table", "recipe__epochs": 3}, ["kind image → table (config)"]),
    ],
    ids=str,
)
def test_decisive_settings_are_named(changes: dict[str, Any], expected: list[str]) -> None:
    assert words(**changes) == expected
    assert is_other_work(changed_settings(deciding(audit()), deciding(audit(**changes))))


def test_slices_are_not_inputs_of_a_table() -> None:
    before, now = (deciding(audit(columns__kind="table", config__dataset__slices=slices)) for slices in ([], ["batch"]))
    assert [in_words(one) for one in changed_settings(before, now)] == ["dataset.slices [] → ['batch']"]


def test_an_auto_that_follows_the_data_is_not_other_work() -> None:
    changed = changed_settings(deciding(audit()), deciding(audit(recipe__epochs=13)))
    assert [(one.setting, one.cause) for one in changed] == [("recipe.epochs", "data")]
    assert not is_other_work(changed)


def test_a_value_of_the_config_is_not_named_twice() -> None:
    assert words(config__training__epochs=9, recipe__epochs=9) == ["training.epochs auto → 9 (config)"]
    # With another labelaudit other rules may stand behind `auto`.
    assert words(versions__labelaudit="2", recipe__epochs=9) == [
        "versions.labelaudit 1 → 2 (package)",
        "recipe.epochs 12 → 9 (package)",
    ]
    assert words(code="a" * 64, recipe__epochs=9)[1] == "recipe.epochs 12 → 9 (code)"
    assert words(versions__torch="3", config__training__seed=1, recipe__epochs=9)[2] == "recipe.epochs 12 → 9 (config)"


def test_training_settings_are_left_out_for_external_probabilities() -> None:
    one = {"columns": {"guesses": []}, "config": {"dataset": {"id": "a"}, "detection": {}}, "recipe": {}}
    before = deciding({**one, "versions": {"torch": "2.6", "cleanlab": "2.9"}})
    now = deciding({**one, "versions": {"torch": "2.7", "cleanlab": "2.9"}})
    assert before.kind == "probabilities"
    assert changed_settings(before, now) == []
