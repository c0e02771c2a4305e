"""Announcements of dataset versions as events of a Prefect server, over HTTP and with an answer.

Prefect's own `emit_event` goes over a websocket and drops what the server does not take; here an announcement was
accepted, or it raises.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from flows.patience import patient
from labelaudit.errors import AnnouncementError
from labelaudit.steps.discover import FoundVersion

PUBLISHED = "labelaudit.dataset.published"
# Long enough for a restart; the next sweep announces what this one could not.
PATIENCE_SECONDS = 60.0
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "labelaudit.dataset.published")


def event_id(found: FoundVersion, number: int) -> str:
    """Id of the announcement `number` (from 1) of a version: the same from whomever it comes."""
    return str(uuid.uuid5(_NAMESPACE, f"{found.dataset}/{found.url}/{found.state}/{number}"))


def published_event(found: FoundVersion, config: str, number: int) -> dict[str, Any]:
    """The event of a version: names and URLs only. `config` names the YAML file of the dataset."""
    return {
        "id": event_id(found, number),
        "occurred": datetime.now(UTC).isoformat(),
        "event": PUBLISHED,
        "resource": {
            "prefect.resource.id": f"labelaudit.dataset.{found.dataset}",
            "prefect.resource.name": found.dataset,
        },
        "payload": {"config": config, "dataset": found.dataset, "version": found.version, "url": found.url},
    }


def post_event(event: dict[str, Any]) -> None:
    """Hand an event to the configured Prefect API, which answers when it has it.

    Raises `AnnouncementError` when it does not for a minute, or refuses.
    """
    with get_client(sync_client=True) as client:
        try:
            patient(client.request, PATIENCE_SECONDS)("POST", "/events", json=[event])
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            raise AnnouncementError(
                f"The Prefect API at {client.api_url} did not take the event of {event['payload']['url']} "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'}). "
                "The version is stored; the next run of new-versions announces it."
            ) from error
