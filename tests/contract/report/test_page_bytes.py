"""A page depends on its content alone, whatever the process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from labelaudit.report.page import render_page
from support.contents import make_content
from support.paths import ROOT


def test_the_same_content_gives_the_same_bytes_in_another_process() -> None:
    program = (
        "import hashlib; from support.contents import make_content; from labelaudit.report.page import render_page;"
        "print(hashlib.sha256(render_page(make_content()).encode()).hexdigest())"
    )
    here = hashlib.sha256(render_page(make_content()).encode()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "tests",
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == here
