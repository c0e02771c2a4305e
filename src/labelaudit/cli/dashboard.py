"""`labelaudit dashboard`: audits in a browser, and verdicts on their rows."""

from __future__ import annotations

import getpass
from collections.abc import Sequence

from labelaudit.cli.console import say
from labelaudit.dashboard.server import serve
from labelaudit.dashboard.settings import Settings
from labelaudit.storage.failures import without_secrets


def dashboard_command(
    url: str,
    host: str,
    port: int,
    read_only: bool,
    reviewer: str | None,
    no_browser: bool,
    allowed_hosts: Sequence[str],
) -> None:
    """Serve the dashboard of a URL until it is interrupted."""
    name = "" if read_only else _user() if reviewer is None else reviewer
    say(f"Dashboard of {without_secrets(url)} at {_address(host, port)}. Stop it with Ctrl-C.")
    settings = Settings(url=url, read_only=read_only, reviewer=name)
    serve(settings, host=host, port=port, open_browser=not no_browser, names=allowed_hosts)


def _address(host: str, port: int) -> str:
    """Return the URL for a browser on this machine."""
    # A server can listen on 0.0.0.0, but a browser cannot open it.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Users in containers often have no name. The page asks for one.
        return ""
