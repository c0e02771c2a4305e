"""Streamlit's server, which serves this dashboard only and sends no request to the internet."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from labelaudit.dashboard.library import open_library
from labelaudit.dashboard.settings import Settings
from labelaudit.errors import ConfigError
from labelaudit.report.palette import SCHEMES, colours
from labelaudit.report.svg import FONT

APP = Path(__file__).parent / "app.py"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Streamlit's name of a colour -> its name in the palette.
_THEME_COLOURS = {
    "primary": "primary",
    "background": "paper",
    "secondaryBackground": "sidebar",
    "text": "ink",
    "border": "line",
}


def serve(settings: Settings, *, host: str, port: int, open_browser: bool, names: Sequence[str] = ()) -> None:
    """Serve until interrupted.

    Args:
        names: host names that browsers may use in addition to the host and the loopback names.

    Raises:
        ConfigError: Streamlit or DuckDB is missing, or the port is taken.
        LabelauditError: there is no audit below the URL.
    """
    for package in ("streamlit", "duckdb"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"The dashboard needs {package}, which is not installed. Install it with "
                "`pip install 'labelaudit[dashboard]'`."
            )
    _check_port(host, port)
    open_library(settings.url)

    from streamlit import config, net_util
    from streamlit.web import bootstrap

    # Otherwise Streamlit asks a server of Amazon for the address of this machine before it refuses a foreign origin.
    net_util._external_ip = ""
    net_util._internal_ip = ""
    options = _options(host, port, open_browser, names)
    config.get_config_options(force_reparse=True, options_from_flags=options)
    # Import the pages while the browser loads its files, so that the first session starts at once.
    threading.Thread(target=_import_pages, daemon=True).start()
    bootstrap.run(str(APP), False, [settings.to_json()], options)


def _import_pages() -> None:
    for module in ("pages", "one_audit"):
        importlib.import_module(f"labelaudit.dashboard.{module}")


def _options(host: str, port: int, open_browser: bool, names: Sequence[str]) -> dict[str, object]:
    """Return Streamlit's options. Those for security are set here, so that a config file cannot change them."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": not open_browser,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        # Prevents DNS rebinding: another site could point a name at this machine.
        "server.allowedHosts": [*_LOOPBACK, *([] if host in ("0.0.0.0", "::") else [host]), *names],
        "server.corsAllowedOrigins": [f"{scheme}://{name}" for name in names for scheme in ("https", "http")],
        "server.enableStaticServing": False,
        "server.maxUploadSize": 1,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.showEmailPrompt": False,
        "browser.gatherUsageStats": False,
        "runner.magicEnabled": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        # Spreadsheets run labels that start with "=". `labelaudit review export` writes safe files.
        "client.disableDataExport": True,
        "logger.level": "error",
        "logger.hideWelcomeMessage": True,
        **_theme(),
    }


def _theme() -> dict[str, object]:
    """Return the colours of the report as options."""
    shapes = {"theme.font": FONT, "theme.headingFont": FONT, "theme.baseRadius": "8px", "theme.baseFontSize": 15}
    return shapes | {
        f"theme.{scheme}.{name}Color": colours(scheme)[colour]
        for scheme in SCHEMES
        for name, colour in _THEME_COLOURS.items()
    }


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"The dashboard cannot listen on {host}:{port} ({error.strerror}). "
                "Choose another one with --port or --host."
            ) from error
