"""`labelaudit apply-automations`: create or update the automations of a Prefect server from a file."""

from __future__ import annotations

from dataclasses import asdict

from labelaudit.cli.console import say, show_json
from labelaudit.errors import ConfigError
from labelaudit.orchestration.prefect_api import prefect_api_url


def apply_automations_command(file: str, alerts: str | None, as_json: bool) -> None:
    """Apply a file to the configured Prefect API, and print what happened to each automation."""
    if prefect_api_url() is None:
        raise ConfigError(
            "No Prefect API is configured. Set PREFECT_API_URL, for example to http://127.0.0.1:4200/api."
        )
    # Imported late, because Prefect takes seconds to import.
    from labelaudit.orchestration.api_retries import check_api, open_client
    from labelaudit.orchestration.automations import apply_automations

    check_api()
    with open_client() as client:
        applied = apply_automations(client, file, alerts)
    if as_json:
        show_json([asdict(one) for one in applied])
        return
    for one in applied:
        say(f"{one.outcome:<9} {one.name}")
