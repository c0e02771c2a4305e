"""A dashboard in its own process, and a real browser."""

from __future__ import annotations

import contextlib
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
from playwright.sync_api import TimeoutError as PlaywrightTimeout

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


# The buttons of the keys that show another row or view. A page has at most one of those of a key.
_MOVES = {
    "ArrowRight": ("next", "more"),
    "ArrowLeft": ("previous", "back"),
    "Enter": ("start",),
    "Escape": ("gallery",),
}
MOVE_TRIES = 4
MOVE_MILLISECONDS = 5_000

# Whether the page has been connected and completely drawn with the same row for half a second, and the buttons can be
# used. The dashboard refuses decisions less than 0.4 s after it has drawn a row (`deciding.UNSEEN_SECONDS`). On a busy
# machine it finishes drawing long after the row is visible.
_IS_SETTLED = """(buttons) => {
  const shown = document.querySelector('.values dd')?.textContent ?? '';
  const app = document.querySelector('[data-testid=stApp]');
  const isDrawn = app?.getAttribute('data-test-script-state') === 'notRunning'
    && app.getAttribute('data-test-connection-state') === 'CONNECTED'
    && !document.querySelector('[data-stale=true]');
  if (!isDrawn || window.__shown !== shown) { window.__shown = shown; window.__since = performance.now(); }
  return isDrawn && performance.now() - window.__since > 500
    && (!buttons.length || buttons.some(name => document.querySelector(`.st-key-${name} button:enabled`)));
}"""
# What tells one row or view from another.
_VIEW = "() => [...document.querySelectorAll('.values dd, .card .id')].map(element => element.textContent).join('|')"
_IS_OTHER_VIEW = f"(before) => ({_VIEW})() !== before"


def settled(page: Page, *buttons: str) -> None:
    """Wait until the page is drawn, its row has been visible long enough for a decision, and a button can be used.

    Args:
        page: a page of the dashboard.
        buttons: keys of buttons, one of which must be enabled; none if no button is needed.
    """
    page.wait_for_function(_IS_SETTLED, arg=list(buttons), polling=50)


def press(page: Page, key: str, *buttons: str) -> None:
    """Press a key without a focused element, as after a click into the page."""
    settled(page, *buttons)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(key)


def move(page: Page, key: str) -> None:
    """Press a key that shows another row or view, and wait for that.

    A page that draws its buttons again loses a key. The key is pressed again only if the page is settled and still
    shows the same. Never use this for decisions, which count each press.
    """
    settled(page, *_MOVES[key])
    before = page.evaluate(_VIEW)
    for _ in range(MOVE_TRIES):
        press(page, key, *_MOVES[key])
        with contextlib.suppress(PlaywrightTimeout):
            page.wait_for_function(_IS_OTHER_VIEW, arg=before, timeout=MOVE_MILLISECONDS)
            return
        settled(page)
        if page.evaluate(_VIEW) != before:
            return
    raise AssertionError(f"{key} was pressed {MOVE_TRIES} times, but the page still shows {before!r}")


def shown_id(page: Page, example_id: str) -> None:
    expect(page.locator(".values dd").first).to_have_text(example_id)
