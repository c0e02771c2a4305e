"""Starting the dashboard: errors, and settings that a user's Streamlit config cannot change."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from labelaudit.cli.main import cli
from labelaudit.dashboard.server import _options, serve
from labelaudit.dashboard.settings import Settings
from labelaudit.errors import ConfigError, LabelauditError
from labelaudit.storage.store import Store
from support.dashboards import publish_small


def start(url: object, port: int = 0, host: str = "127.0.0.1") -> None:
    serve(Settings(url=str(url)), host=host, port=port, open_browser=False)


@pytest.mark.parametrize("package", ["streamlit", "duckdb"])
def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str) -> None:
    find = importlib.util.find_spec

    def find_others(name: str, *more: Any) -> Any:
        return None if name == package else find(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    with pytest.raises(ConfigError, match=rf"needs {package}, which is not installed.*labelaudit\[dashboard\]"):
        start(tmp_path)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port} .* with --port or --host"):
            start(tmp_path, port)


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1"):
        start(tmp_path, host="192.0.2.1")


def test_a_url_without_audits(tmp_path: Path) -> None:
    with pytest.raises(LabelauditError, match="There is no audit below"):
        start(tmp_path)


def test_only_named_hosts_and_nothing_from_the_network() -> None:
    options = _options("127.0.0.1", 8501, False, ["audits.example.com"])
    assert options["server.address"] == "127.0.0.1"
    assert "audits.example.com" in options["server.allowedHosts"]
    assert "0.0.0.0" not in _options("0.0.0.0", 8501, False, [])["server.allowedHosts"]
    assert options["server.corsAllowedOrigins"] == ["https://audits.example.com", "http://audits.example.com"]
    assert options["server.enableCORS"] is options["server.enableXsrfProtection"] is True
    assert options["browser.gatherUsageStats"] is False
    assert options["client.disableDataExport"] is True
    # What the installed Streamlit does not know it would ignore.
    from streamlit import config

    assert options.keys() <= config.get_config_options().keys() | {"theme.light.primaryColor"}


def test_errors_on_the_command_line(tmp_path: Path) -> None:
    publish_small(Store(str(tmp_path)), rows=8)
    result = CliRunner().invoke(
        cli, ["dashboard", str(tmp_path / "missing"), "--no-browser", "--port", str(free_port())]
    )
    assert isinstance(result.exception, LabelauditError)
    assert "There is no audit below" in str(result.exception)
    assert "127.0.0.1" in CliRunner().invoke(cli, ["dashboard", "--help"]).output


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("localhost", "localhost")]
)
def test_the_address_that_is_printed_works(tmp_path: Path, host: str, shown: str) -> None:
    port = str(free_port())
    command = ["dashboard", "memory://name:secret@nothing", "--no-browser", "--host", host, "--port", port]
    assert f"Dashboard of memory://name:…@nothing at http://{shown}:{port}." in CliRunner().invoke(cli, command).stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
