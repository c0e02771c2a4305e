"""`labelaudit run`: audit a dataset version as a flow run, or in this process."""

from __future__ import annotations

from labelaudit.audit import DirectCaller, run_audit
from labelaudit.audits.references import AuditReference
from labelaudit.cli.console import say
from labelaudit.cli.dataset_options import DatasetOptions
from labelaudit.cli.options import config_from
from labelaudit.cli.outcome import ConsoleProgress, show_audit
from labelaudit.codec import from_record
from labelaudit.errors import GateFailedError
from labelaudit.orchestration.prefect_api import prefect_api_url


def run_command(target: str, options: DatasetOptions, as_json: bool) -> None:
    """Audit as a flow run if a Prefect API is configured, otherwise in this process.

    Raises:
        GateFailedError: The audit is published, but its gate failed.
    """
    config = config_from(target, options)
    if prefect_api_url() is None:
        say("No Prefect API is configured (PREFECT_API_URL). The audit runs in this process.")
        audit = run_audit(config, DirectCaller(ConsoleProgress()))
    else:
        say(f"The audit is a run of the flow audit-dataset at {prefect_api_url()}.")
        # Imported late, because Prefect takes seconds to import.
        from labelaudit.orchestration.api_retries import check_api
        from labelaudit.orchestration.audit_dataset import audit_dataset

        check_api()
        try:
            audit = from_record(AuditReference, audit_dataset(config))
        except GateFailedError as failure:
            # The audit is published. It is shown first, and `show_audit` then raises the failure.
            audit = from_record(AuditReference, failure.audit)
    show_audit(audit, config.storage.options, as_json)
