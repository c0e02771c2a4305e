"""`labelaudit publish-version`: upload a local dataset as a new version, and announce it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.arguments import CONFIGS_VARIABLE, config_from, config_url
from flows.console import say, show, show_json
from flows.run import prefect_api_url
from labelaudit.steps.discover import announcement_of
from labelaudit.steps.upload import upload_version


def publish_version_command(target: str, source: str, options: Mapping[str, Any], as_json: bool) -> None:
    """Upload, then post the event where a Prefect API is configured; the version's URL goes to stdout."""
    config = config_from(config_url(target), options)
    uploaded = upload_version(config, source)
    version = uploaded.version
    did = "Uploaded" if uploaded.is_new else "Found, already complete,"
    say(f"{did} {version.name}: {uploaded.files:,} files, {uploaded.bytes / 1e6:,.1f} MB, at {version.url}")
    is_announced = announcement_of(config, version) is not None
    api = prefect_api_url()
    if is_announced:
        say("It was announced before.")
    elif api is None:
        say("No Prefect API is configured (PREFECT_API_URL): the next sweep of the flow audit-new-versions finds it.")
    else:
        # Prefect takes seconds to import.
        from flows.audit_new_versions import announce

        announce(_as_runs_name_it(target), config, version)
        is_announced = True
        say(f"Announced to {api}: the deployments that are triggered by new versions audit it.")
    if as_json:
        facts = {**asdict(version), "files": uploaded.files, "bytes": uploaded.bytes, "is_new": uploaded.is_new}
        show_json({**facts, "announced": is_announced})
    else:
        show(version.url)


def _as_runs_name_it(target: str) -> str:
    """The config as a run on another machine finds it."""
    if os.environ.get(CONFIGS_VARIABLE) or "://" in target:
        return target
    return str(Path(target).absolute())
