"""Automations and triggers fit together: one acts on the states and events that another creates."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
import yaml

from support.paths import ROOT


def automations() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]
    return {one["name"].removeprefix("labelaudit: "): one for one in found}


@pytest.mark.parametrize("name", ["no heartbeats -> crashed", "pending for long -> crashed"])
def test_a_lost_run_is_put_into_the_state_that_is_tried_again(name: str) -> None:
    (action,) = automations()[name]["actions"]
    again = automations()["crashed audit -> try again"]["trigger"]
    assert f"prefect.flow-run.{action['state'].capitalize()}" in again["expect"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"dataset": "digits", "version": "v1"}, {"config": "digits", "version": "v1"}),
        ({"dataset": "digits", "config": "nightly", "version": "v1"}, {"config": "nightly", "version": "v1"}),
        ({"config": "nightly"}, {"config": "nightly", "version": "None"}),
    ],
)
def test_an_event_names_what_is_audited(payload: dict[str, str], expected: dict[str, str]) -> None:
    deployments = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    (trigger,) = next(one for one in deployments if one["name"] == "on-publish")["triggers"]
    given = {
        name: jinja2.Environment().from_string(text).render(event={"payload": payload}, none=None)
        for name, text in trigger["parameters"].items()
    }
    assert given == expected
