"""`labelaudit publish-version`: upload a local dataset as a new version, and announce it."""

from __future__ import annotations

import os
from dataclasses import asdict

from labelaudit.cli.console import say, show, show_json
from labelaudit.cli.options import DatasetOptions, config_from
from labelaudit.config_files import CONFIGS_VARIABLE, config_url
from labelaudit.orchestration.prefect_api import prefect_api_url
from labelaudit.versions.discover import FoundVersion, announcement_of
from labelaudit.versions.upload import upload_version


def publish_version_command(target: str, source: str, options: DatasetOptions, as_json: bool) -> None:
    """Upload, then post the event where that starts an audit; the version's URL goes to stdout."""
    config = config_from(config_url(target), options)
    uploaded = upload_version(config, source)
    version = uploaded.version
    did = "Uploaded" if uploaded.is_new else "Found, stored before:"
    say(f"{did} {version.name}: {uploaded.files:,} files, {uploaded.bytes / 1e6:,.1f} MB, at {version.url}")
    is_announced = announcement_of(config, version) is not None
    api = prefect_api_url()
    if is_announced:
        say("It was announced before.")
    elif reason := _reason_to_leave_it_to_the_sweep(version, api):
        say(f"Not announced: {reason} The flow audit-new-versions, run with this config, announces it.")
    else:
        # Prefect takes seconds to import.
        from labelaudit.orchestration.audit_new_versions import announce

        announce(target, config, version)
        is_announced = True
        say(f"Announced to {api}: the deployments that are triggered by new versions audit it.")
    if as_json:
        facts = {**asdict(version), "files": uploaded.files, "bytes": uploaded.bytes, "is_new": uploaded.is_new}
        show_json({**facts, "announced": is_announced})
    else:
        show(version.url)


def _reason_to_leave_it_to_the_sweep(version: FoundVersion, api: str | None) -> str | None:
    """Why the event of this version would start nothing, None where it starts an audit."""
    if api is None:
        return "no Prefect API is configured (PREFECT_API_URL)."
    if version.incomplete is not None:
        return f"it {version.incomplete}, and its audit would be refused until it is complete."
    if not os.environ.get(CONFIGS_VARIABLE):
        # Runs on other machines find no path of this one, and those that have the variable take nothing else.
        return f"{CONFIGS_VARIABLE} is not set, so it is not known how runs name this config."
    return None
