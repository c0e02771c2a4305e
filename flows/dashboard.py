"""`labelaudit dashboard`: look at audits in a browser, and decide."""

from __future__ import annotations

import getpass
from collections.abc import Sequence

from flows.console import say
from labelaudit.dashboard.server import serve
from labelaudit.dashboard.settings import Settings


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
    shown = f"[{host}]" if ":" in host else host
    say(f"Dashboard of {url} at http://{shown}:{port}, Ctrl-C ends it")
    settings = Settings(url=url, read_only=read_only, reviewer=name)
    serve(settings, host=host, port=port, open_browser=not no_browser, names=allowed_hosts)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A user without a name, as in many containers: the page asks for one.
        return ""
