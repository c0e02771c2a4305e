"""The URL of the configured Prefect API. Imports Prefect only to read a profile."""

from __future__ import annotations

import os
from pathlib import Path


def prefect_api_url() -> str | None:
    """Return the Prefect API of the environment or of the active profile, or None if none is configured."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH", str(home / "profiles.toml"))
    if not Path(profiles).is_file():
        return None
    # Imported late, because it takes seconds.
    from prefect.settings import get_current_settings

    return get_current_settings().api.url
