"""`labelaudit run`: audit a dataset version as a flow run, or in this process."""

from __future__ import annotations

from labelaudit.audit import DirectCaller, run_audit
from labelaudit.audits.references import AuditReference
from labelaudit.cli.console import say
from labelaudit.cli.options import DatasetOptions, config_from
from labelaudit.cli.outcome import ConsoleProgress, show_audit
from labelaudit.errors import GateFailedError
from labelaudit.orchestration.prefect_api import prefect_api_url


def run_command(target: str, options: DatasetOptions, as_json: bool) -> None:
    """A flow run where a Prefect API is configured, else a call in this process. Raises `GateFailedError`."""
    config = config_from(target, options)
    if prefect_api_url() is None:
        say("No Prefect API is configured (PREFECT_API_URL): the audit runs in this process.")
        audit = run_audit(config, DirectCaller(ConsoleProgress()))
    else:
        say(f"This is a run of the flow audit-dataset at {prefect_api_url()}.")
        # Prefect takes seconds to import, which a run without it need not pay.
        from labelaudit.orchestration.api_retries import check_that_api_answers
        from labelaudit.orchestration.audit_dataset import audit_dataset

        check_that_api_answers()
        try:
            audit = AuditReference(**audit_dataset(config))
        except GateFailedError as failure:
            # Published all the same, and shown before it is raised again.
            audit = AuditReference(**failure.audit)
    show_audit(audit, config.storage.options, as_json)
