"""Events for a Prefect server: a version was published, or a gate failed.

They are posted over HTTP, and an error is raised if the server does not accept them. Prefect's own `emit_event` sends
events over a websocket, and drops them if the server does not accept them.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from labelaudit.audits.references import AuditReference
from labelaudit.codec import JsonObject
from labelaudit.errors import AnnouncementError
from labelaudit.findings import Gate
from labelaudit.orchestration.api_retries import with_retries
from labelaudit.versions.discover import FoundVersion

PUBLISHED = "labelaudit.dataset.published"
GATE_FAILED = "labelaudit.gate.failed"
# Long enough for a restart of the server. Later, the next sweep announces the version.
RETRY_SECONDS = 60.0
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "labelaudit.dataset.published")


@dataclass(frozen=True)
class Event:
    """An event with the fields of Prefect's API."""

    id: str
    occurred: str  # ISO 8601, UTC
    event: str  # its name
    resource: dict[str, str]
    payload: JsonObject


def event_id(found: FoundVersion, number: int) -> str:
    """Return the id of announcement `number` (from 1) of a version. It does not depend on who announces."""
    return str(uuid.uuid5(_NAMESPACE, f"{found.dataset}/{found.url}/{found.state}/{number}"))


def published_event(found: FoundVersion, config: str, number: int) -> Event:
    """Return the event of a version, which contains only names and URLs. `config` names the dataset's YAML file."""
    return Event(
        id=event_id(found, number),
        occurred=_now(),
        event=PUBLISHED,
        resource=_resource(found.dataset),
        payload={"config": config, "dataset": found.dataset, "version": found.version, "url": found.url},
    )


def gate_event(audit: AuditReference, gate: Gate) -> Event:
    """Return the event of a failed gate. `gate` is that of the audit's summary; an audit always gives the same id."""
    return Event(
        id=str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, GATE_FAILED), audit.audit_url)),
        occurred=_now(),
        event=GATE_FAILED,
        resource=_resource(audit.dataset),
        payload={
            "dataset": audit.dataset,
            "version": audit.version,
            "audit_url": audit.audit_url,
            "report_url": audit.report_url,
            "verdict": gate.sentence,
            "broken_rules": [{"rule": rule.rule, "sentence": rule.sentence} for rule in gate.broken_rules],
        },
    )


def post_event(event: Event) -> None:
    """Post the event of a version to the configured Prefect API, with retries for a minute.

    Raises:
        AnnouncementError: The API did not answer, or refused the event.
    """
    _post(event, str(event.payload["url"]), "The version is stored. The next run of audit-new-versions announces it.")


def post_gate_event(event: Event) -> None:
    """Post the event of a failed gate in the same way.

    Raises:
        AnnouncementError: The API did not answer, or refused the event.
    """
    _post(event, str(event.payload["audit_url"]), "The audit is published, and its run still ends as GateFailed.")


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _resource(dataset: str) -> dict[str, str]:
    return {"prefect.resource.id": f"labelaudit.dataset.{dataset}", "prefect.resource.name": dataset}


def _post(event: Event, subject: str, consequence: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            with_retries(client.request, RETRY_SECONDS)("POST", "/events", json=[asdict(event)])
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            raise AnnouncementError(
                f"The Prefect API at {client.api_url} did not accept the event of {subject} "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'}). {consequence}"
            ) from error
