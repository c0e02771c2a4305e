"""Creating and updating the automations of a Prefect server from a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from labelaudit.errors import ConfigError
from labelaudit.orchestration.api_retries import call_with_retries
from labelaudit.yaml_text import read_yaml

# The placeholder in a file for the id of the block that `--alerts` names.
ALERTS = "{{ alerts }}"


@dataclass(frozen=True)
class Applied:
    """The outcome for one automation of the file."""

    name: str
    outcome: str  # created, updated, or left out


def apply_automations(client: SyncPrefectClient, file: str, alerts: str | None) -> list[Applied]:
    """Create the automations of a YAML file, or replace those with the same name. Idempotent.

    Args:
        client: Client of the server.
        file: The YAML file.
        alerts: A notification block as TYPE/NAME, such as slack-webhook/labelaudit. Without it, automations that send
            notifications are left out.

    Raises:
        ConfigError: The file, an automation in it or the block is not valid. Nothing is applied then.
    """
    block = None if alerts is None else _block_id(client, alerts)
    read = [(text, _automation(file, text, block)) for text in _texts(file)]
    return [
        Applied(str(text["name"]), "left out" if automation is None else _apply(client, automation))
        for text, automation in read
    ]


def _texts(file: str) -> list[dict[str, object]]:
    try:
        text = Path(file).read_text()
    except OSError as error:
        raise ConfigError(
            f"The automations {file} cannot be read: {error.strerror}. Name a file that can be read."
        ) from error
    values = read_yaml(text, file)
    found = values.get("automations") if isinstance(values, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) and "name" in one for one in found):
        raise ConfigError(
            f"{file} must contain `automations:`, a list of automations with a name each. See "
            "deployments/automations.yaml."
        )
    return found


def _automation(file: str, values: dict[str, object], block: str | None) -> AutomationCore | None:
    """Return the checked automation, or None if it sends notifications and no block is given."""
    text = json.dumps(values)
    if ALERTS in text:
        if block is None:
            return None
        text = text.replace(ALERTS, block)
    try:
        return AutomationCore.model_validate_json(text)
    except ValueError as error:
        problem = " ".join(str(error).split())[:500]
        raise ConfigError(f"Automation {values['name']!r} in {file} is not valid: {problem}") from error


def _apply(client: SyncPrefectClient, automation: AutomationCore) -> str:
    known = call_with_retries(client.read_automations_by_name, automation.name)
    if not known:
        call_with_retries(client.create_automation, automation)
        return "created"
    call_with_retries(client.update_automation, known[0].id, automation)
    for duplicate in known[1:]:
        call_with_retries(client.delete_automation, duplicate.id)
    return "updated"


def _block_id(client: SyncPrefectClient, alerts: str) -> str:
    kind, slash, name = alerts.partition("/")
    if not slash or not name:
        raise ConfigError(
            f"--alerts {alerts!r} must be the type and the name of a block. Write it like slack-webhook/labelaudit."
        )
    try:
        return str(call_with_retries(client.read_block_document_by_name, name, kind).id)
    except ObjectNotFound as error:
        raise ConfigError(
            f"The Prefect server has no block {alerts}. Create it with the address of your channel under Blocks in the "
            "server's UI, or leave --alerts out."
        ) from error
