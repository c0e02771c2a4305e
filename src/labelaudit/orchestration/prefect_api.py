"""Which Prefect API is configured. Imports Prefect only if a profile has to be read."""

from __future__ import annotations

import os
from pathlib import Path


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
