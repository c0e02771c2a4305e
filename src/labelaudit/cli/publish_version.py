"""`labelaudit publish-version`: upload a local dataset as a new version and announce it."""

from __future__ import annotations

import os
from dataclasses import asdict

from labelaudit.cli.console import say, show, show_json
from labelaudit.cli.dataset_options import DatasetOptions
from labelaudit.cli.options import config_from
from labelaudit.config_files import CONFIGS_VARIABLE, config_url
from labelaudit.orchestration.prefect_api import prefect_api_url
from labelaudit.versions.discover import FoundVersion, announcement_of
from labelaudit.versions.upload import upload_version


def publish_version_command(target: str, source: str, options: DatasetOptions, as_json: bool) -> None:
    """Upload the dataset, post the event if that starts an audit, and print the version's URL."""
    config = config_from(config_url(target), options)
    uploaded = upload_version(config, source)
    version = uploaded.version
    done = "Uploaded" if uploaded.is_new else "Already stored:"
    say(f"{done} {version.name}: {uploaded.files:,} files, {uploaded.bytes / 1e6:,.1f} MB, at {version.url}")
    is_announced = announcement_of(config, version) is not None
    api = prefect_api_url()
    if is_announced:
        say("It was already announced.")
    elif reason := _reason_not_to_announce(version, api):
        say(f"Not announced: {reason} Run the flow audit-new-versions with this config to announce it.")
    else:
        # Imported late, because Prefect takes seconds to import.
        from labelaudit.orchestration.audit_new_versions import announce

        announce(target, config, version)
        is_announced = True
        say(f"Announced to {api}. The deployments that new versions trigger will audit it.")
    if as_json:
        facts = {**asdict(version), "files": uploaded.files, "bytes": uploaded.bytes, "is_new": uploaded.is_new}
        show_json({**facts, "announced": is_announced})
    else:
        show(version.url)


def _reason_not_to_announce(version: FoundVersion, api: str | None) -> str | None:
    """Return why the event would not start an audit, or None if it would."""
    if api is None:
        return "no Prefect API is configured (PREFECT_API_URL)."
    if version.incomplete is not None:
        return f"it {version.incomplete}, and an incomplete version cannot be audited."
    if not os.environ.get(CONFIGS_VARIABLE):
        # Runs on other machines cannot read a local path, and runs with the variable accept only names below it.
        return f"{CONFIGS_VARIABLE} is not set, so runs would not find this config."
    return None
