"""Automations of a Prefect server from a file, created or brought up to date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from labelaudit.config import parse_yaml
from labelaudit.errors import ConfigError
from labelaudit.orchestration.api_retries import patiently

# Stands in a file for the id of the block that `--alerts` names.
ALERTS = "{{ alerts }}"


@dataclass(frozen=True)
class Applied:
    """What became of one automation of the file."""

    name: str
    outcome: str  # created, updated, or left out


def apply_automations(client: SyncPrefectClient, file: str, alerts: str | None) -> list[Applied]:
    """Create the automations of a YAML file, or replace those of the same name: twice is as once.

    `alerts` names a notification block as TYPE/NAME, such as slack-webhook/labelaudit; without it the
    automations that notify somebody are left out. Nothing is applied where one of them is not valid.
    Raises `ConfigError`.
    """
    block = None if alerts is None else _block_id(client, alerts)
    read = [(text, _automation(file, text, block)) for text in _texts(file)]
    return [
        Applied(text["name"], "left out" if automation is None else _apply(client, automation))
        for text, automation in read
    ]


def _texts(file: str) -> list[dict[str, Any]]:
    try:
        text = Path(file).read_text()
    except OSError as error:
        raise ConfigError(f"The automations {file} cannot be read: {error.strerror}.") from error
    values = parse_yaml(text, file)
    found = values.get("automations") if isinstance(values, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) and "name" in one for one in found):
        raise ConfigError(f"{file} must hold `automations:`, a list of automations with a name each.")
    return found


def _automation(file: str, values: dict[str, Any], block: str | None) -> AutomationCore | None:
    """The checked automation; None where it notifies and no block is given."""
    text = json.dumps(values)
    if ALERTS in text:
        if block is None:
            return None
        text = text.replace(ALERTS, block)
    try:
        return AutomationCore.model_validate_json(text)
    except ValueError as error:
        problem = " ".join(str(error).split())[:500]
        raise ConfigError(f"{file}: automation {values['name']!r} is not valid: {problem}") from error


def _apply(client: SyncPrefectClient, automation: AutomationCore) -> str:
    known = patiently(client.read_automations_by_name, automation.name)
    if not known:
        patiently(client.create_automation, automation)
        return "created"
    patiently(client.update_automation, known[0].id, automation)
    for double in known[1:]:
        patiently(client.delete_automation, double.id)
    return "updated"


def _block_id(client: SyncPrefectClient, alerts: str) -> str:
    kind, slash, name = alerts.partition("/")
    if not slash or not name:
        raise ConfigError(f"--alerts {alerts!r} must look like slack-webhook/labelaudit: the block's type and name.")
    try:
        return str(patiently(client.read_block_document_by_name, name, kind).id)
    except ObjectNotFound as error:
        raise ConfigError(
            f"The Prefect server has no block {alerts}. Create it under Blocks in its UI, which keeps the "
            "address of your channel, or leave --alerts out."
        ) from error
