"""Events of a Prefect server, over HTTP and with an answer: a version is published, a gate failed.

Prefect's own `emit_event` goes over a websocket and drops what the server does not take; here an event was accepted,
or it raises.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from labelaudit.audits.references import AuditReference
from labelaudit.errors import AnnouncementError
from labelaudit.findings import Gate
from labelaudit.orchestration.api_retries import patient
from labelaudit.versions.discover import FoundVersion

PUBLISHED = "labelaudit.dataset.published"
GATE_FAILED = "labelaudit.gate.failed"
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
        "resource": _resource(found.dataset),
        "payload": {"config": config, "dataset": found.dataset, "version": found.version, "url": found.url},
    }


def gate_event(audit: AuditReference, gate: Gate) -> dict[str, Any]:
    """The event of an audit whose gate (that of its summary) failed; the same audit always gives the same id."""
    return {
        "id": str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, GATE_FAILED), audit.audit_url)),
        "occurred": datetime.now(UTC).isoformat(),
        "event": GATE_FAILED,
        "resource": _resource(audit.dataset),
        "payload": {
            "dataset": audit.dataset,
            "version": audit.version,
            "audit_url": audit.audit_url,
            "report_url": audit.report_url,
            "verdict": gate.sentence,
            "broken_rules": [{"rule": rule.rule, "sentence": rule.sentence} for rule in gate.broken_rules],
        },
    }


def post_event(event: dict[str, Any]) -> None:
    """Hand the event of a version to the configured Prefect API, which answers when it has it.

    Raises `AnnouncementError` when it does not for a minute, or refuses.
    """
    _post(event, event["payload"]["url"], "The version is stored; the next run of new-versions announces it.")


def post_gate_event(event: dict[str, Any]) -> None:
    """Hand the event of a failed gate to the configured Prefect API. Raises `AnnouncementError` as `post_event`."""
    _post(event, event["payload"]["audit_url"], "The audit is published; its run ends as GateFailed all the same.")


def _resource(dataset: str) -> dict[str, str]:
    return {"prefect.resource.id": f"labelaudit.dataset.{dataset}", "prefect.resource.name": dataset}


def _post(event: dict[str, Any], subject: str, consequence: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            patient(client.request, PATIENCE_SECONDS)("POST", "/events", json=[event])
        except (httpx.TransportError, PrefectHTTPStatusError) as error:
            raise AnnouncementError(
                f"The Prefect API at {client.api_url} did not take the event of {subject} "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'}). {consequence}"
            ) from error
