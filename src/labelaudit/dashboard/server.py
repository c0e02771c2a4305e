"""Starting Streamlit's server so that it serves this dashboard alone, and asks nothing of the network."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labelaudit.dashboard.library import open_library
from labelaudit.dashboard.settings import Settings
from labelaudit.errors import ConfigError

APP = Path(__file__).parent / "app.py"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SANS = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif"


def serve(settings: Settings, *, host: str, port: int, open_browser: bool, names: Sequence[str] = ()) -> None:
    """Serve until interrupted.

    names: under which browsers may ask for the dashboard, besides those of loopback and the host.
    Raises `ConfigError` where Streamlit or DuckDB is missing or the port is taken, `LabelauditError` where nothing
    below the URL is an audit.
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

    # Before it refuses a foreign origin, Streamlit asks a server of Amazon for this machine's address.
    net_util._external_ip = ""
    net_util._internal_ip = ""
    options = _options(host, port, open_browser, names)
    config.get_config_options(force_reparse=True, options_from_flags=options)
    # The browser fetches its part meanwhile; the first session then finds the modules imported.
    threading.Thread(target=_import_pages, daemon=True).start()
    bootstrap.run(str(APP), False, [settings.to_json()], options)


def _import_pages() -> None:
    for module in ("pages", "one_audit"):
        importlib.import_module(f"labelaudit.dashboard.{module}")


def _options(host: str, port: int, open_browser: bool, names: Sequence[str]) -> dict[str, Any]:
    """All that matters for safety is set here: a config file of the user cannot change it."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": not open_browser,
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        # A page of another site must not reach the dashboard through a name that it points at this machine.
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
        # Spreadsheets run what a label begins with "="; `labelaudit review export` writes safe files.
        "client.disableDataExport": True,
        "logger.level": "error",
        "logger.hideWelcomeMessage": True,
        **_theme(),
    }


def _theme() -> dict[str, Any]:
    """The colours of the report."""
    light = {
        "primaryColor": "#0b6e66",
        "backgroundColor": "#f7f7f4",
        "secondaryBackgroundColor": "#eeeeea",
        "textColor": "#17202a",
        "borderColor": "#dcdcd5",
    }
    dark = {
        "primaryColor": "#2a9d90",
        "backgroundColor": "#101417",
        "secondaryBackgroundColor": "#171c20",
        "textColor": "#e6eaec",
        "borderColor": "#2c343a",
    }
    shapes = {"theme.font": _SANS, "theme.headingFont": _SANS, "theme.baseRadius": "8px", "theme.baseFontSize": 15}
    colours = {"light": light, "dark": dark}
    return shapes | {f"theme.{base}.{name}": value for base, of in colours.items() for name, value in of.items()}


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"The dashboard cannot listen on {host}:{port} ({error.strerror}). "
                "Choose another with --port or --host."
            ) from error
