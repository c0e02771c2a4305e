"""`labelaudit run`: audit a dataset version as a flow run, or in this process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.arguments import config_from
from flows.console import say
from flows.outcome import ConsoleProgress, show_audit
from labelaudit.audit import DirectCaller, run_audit
from labelaudit.errors import GateFailedError
from labelaudit.steps.references import AuditReference


def run_command(target: str, options: Mapping[str, Any], as_json: bool) -> None:
    """A flow run where a Prefect API is configured, else a call in this process. Raises `GateFailedError`."""
    config = config_from(target, options)
    if prefect_api_url() is None:
        say("No Prefect API is configured (PREFECT_API_URL): the audit runs in this process.")
        audit = run_audit(config, DirectCaller(ConsoleProgress()))
    else:
        say(f"This is a run of the flow audit-dataset at {prefect_api_url()}.")
        # Prefect takes seconds to import, which a run without it need not pay.
        from flows.audit_dataset import audit_dataset
        from flows.patience import check_that_api_answers

        check_that_api_answers()
        try:
            audit = AuditReference(**audit_dataset(config))
        except GateFailedError as failure:
            # Published all the same, and shown before it is raised again.
            audit = AuditReference(**failure.audit)
    show_audit(audit, config.storage.options, as_json)


def prefect_api_url() -> str | None:
    """The Prefect API that is configured in the environment or the active profile, None where none is."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH", str(home / "profiles.toml"))
    if not Path(profiles).is_file():
        return None
    # Only now: this import takes seconds.
    from prefect.settings import get_current_settings

    return get_current_settings().api.url
