"""A dashboard in its own process, and a real browser."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from support.paths import ROOT

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Open Debian's Chromium, restricted to this machine."""
    if not CHROMIUM.exists():
        pytest.fail(f"There is no browser at {CHROMIUM}. Run apt-get install chromium, or set CHROMIUM.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield running
        running.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dashboard(url: object, cache: Path, *options: str) -> Iterator[str]:
    """Start a dashboard in its own process, and return its URL."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "labelaudit.cli.main",
        "dashboard",
        str(url),
        "--no-browser",
        "--port",
        str(port),
        *options,
    ]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "LABELAUDIT_CACHE_DIR": str(cache)}
    log = cache.parent / f"dashboard-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=cache.parent)
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    # Streamlit itself logs a traceback if a browser leaves while it connects. Only those with frames of ours count.
    assert not re.search(r'File ".*[/\\]src[/\\]labelaudit[/\\]', log.read_text())


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


# The time of the last change of the row, by the page's clock. The dashboard refuses decisions on a row that has
# been visible for less than 0.4 s (`deciding.UNSEEN_SECONDS`).
_WATCH = """() => {
  const shown = document.querySelector('.values dd')?.textContent ?? '';
  if (window.__shown !== shown) { window.__shown = shown; window.__since = performance.now(); }
  const app = document.querySelector('[data-testid=stApp]');
  return app?.getAttribute('data-test-script-state') === 'notRunning' && performance.now() - window.__since > 500;
}"""


def settled(page: Page) -> None:
    """Wait until the page is drawn and its row has been visible long enough for a decision."""
    page.wait_for_function(_WATCH, polling=50)


def press(page: Page, key: str) -> None:
    """Press a key without a focused element, as after a click into the page."""
    settled(page)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(key)


def shown_id(page: Page, example_id: str) -> None:
    expect(page.locator(".values dd").first).to_have_text(example_id)
