"""Automations from a file: created, updated, never duplicated."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient

from labelaudit.errors import ConfigError
from labelaudit.orchestration.automations import apply_automations
from support.paths import ROOT

pytestmark = pytest.mark.slow

SHIPPED = ROOT / "deployments" / "automations.yaml"


def _outcomes(client: SyncPrefectClient, file: Path, alerts: str | None = None) -> dict[str, str]:
    return {one.name.removeprefix("labelaudit: "): one.outcome for one in apply_automations(client, str(file), alerts)}


def test_the_shipped_automations_twice(client: SyncPrefectClient) -> None:
    assert _outcomes(client, SHIPPED) == {
        "no heartbeats -> crashed": "created",
        "pending for long -> crashed": "created",
        "crashed audit -> try again": "created",
        "run failed -> alert": "left out",
        "gate failed -> alert": "left out",
        "action failed -> alert": "left out",
    }
    assert len(client.read_automations()) == 3
    CustomWebhookNotificationBlock(name="ops", url="http://127.0.0.1:9/hook").save("ops")
    outcomes = _outcomes(client, SHIPPED, "custom-webhook/ops")
    assert sorted(outcomes.values()) == ["created"] * 3 + ["updated"] * 3
    assert set(_outcomes(client, SHIPPED, "custom-webhook/ops").values()) == {"updated"}
    assert len({automation.name for automation in client.read_automations()}) == len(client.read_automations()) == 6


def test_people_are_told_of_audits_and_sweeps_but_not_of_each_try_of_a_fold() -> None:
    # Imported here, because they import the server, which other test processes do not need.
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import RelatedResource, Resource

    (alert,) = (one for one in yaml.safe_load(SHIPPED.read_text())["automations"] if "run failed" in one["name"])
    trigger = EventTrigger.model_validate(alert["trigger"])
    run = Resource.model_validate({"prefect.resource.id": "prefect.flow-run.0"})
    told = {}
    for deployment in yaml.safe_load((SHIPPED.parent / "prefect.yaml").read_text())["deployments"]:
        tags = [
            RelatedResource.model_validate(
                {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}
            )
            for tag in deployment["tags"]
        ]
        told[deployment["name"]] = trigger.covers_resources(run, tags)
    assert told == {"nightly-digits": True, "on-publish": True, "sweep": True, "gpu": False}


def test_a_change_is_applied(client: SyncPrefectClient, tmp_path: Path) -> None:
    automation = yaml.safe_load(SHIPPED.read_text())["automations"][0]
    file = tmp_path / "one.yaml"
    for seconds in (600, 700):
        automation["trigger"]["within"] = seconds
        file.write_text(yaml.safe_dump({"automations": [{**automation, "name": "mine"}]}))
        apply_automations(client, str(file), None)
    (found,) = client.read_automations_by_name("mine")
    assert found.trigger.within.total_seconds() == 700  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must contain `automations:`, a list of automations with a name each"),
        ("automations: [{trigger: {}}]", "must contain `automations:`"),
        ("a: [", "is not valid YAML"),
        (
            "automations: [{name: x, trigger: {type: event, posture: Sideways}, actions: []}]",
            r"'x' in .*automations\.yaml is not valid: .*posture",
        ),
    ],
)
def test_a_file_that_is_not_valid(client: SyncPrefectClient, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "automations.yaml"
    file.write_text(text)
    before = client.read_automations()
    with pytest.raises(ConfigError, match=message):
        apply_automations(client, str(file), None)
    assert client.read_automations() == before


def test_what_is_not_there(client: SyncPrefectClient, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The automations .*none\.yaml cannot be read: No such file"):
        apply_automations(client, str(tmp_path / "none.yaml"), None)
    with pytest.raises(ConfigError, match="no block slack-webhook/nobody"):
        apply_automations(client, str(SHIPPED), "slack-webhook/nobody")
    with pytest.raises(ConfigError, match=r"'nobody' must be the type and the name of a block\."):
        apply_automations(client, str(SHIPPED), "nobody")
