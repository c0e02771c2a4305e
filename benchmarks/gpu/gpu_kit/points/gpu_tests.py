"""Point 1: the tests that need a GPU."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from gpu_kit.jobs import REPOSITORY, Job

TITLE = "Tests marked gpu"
_MARK = re.compile(r"mark\.gpu\b")


def measure(job: Job) -> None:
    # Only these files, because collecting others takes longer and may need missing packages.
    files = sorted(path for path in (REPOSITORY / "tests").rglob("test_*.py") if _MARK.search(path.read_text()))
    if not files:
        raise RuntimeError("No file below tests/ has a test marked gpu.")
    report = job.work / "gpu-tests.xml"
    command = [
        *(sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"),
        "--continue-on-collection-errors",  # a package missing for one file must not skip the others
        # Warnings of versions that are not in the lock are not failures here.
        *("-o", "filterwarnings=default", f"--junit-xml={report}"),
        *(str(path.relative_to(REPOSITORY)) for path in files),
    ]
    code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    if not report.exists():
        raise RuntimeError(f"pytest ended with exit code {code} before it ran a test.")
    counts, bad = read_report(report)
    job.record.figure("files with such tests", len(files))
    for outcome in ("passed", "failed", "skipped"):
        job.record.figure(outcome, counts[outcome], "tests")
    job.record.figure("seconds of the tests, without imports", counts["seconds"], "s")
    if not sum(counts[outcome] for outcome in ("passed", "failed", "skipped")):
        raise RuntimeError("pytest collected no test marked gpu.")
    if bad:
        raise RuntimeError("These tests failed: " + ", ".join(bad) + ".")
    if counts["skipped"] and not job.is_rehearsal:
        raise RuntimeError(f"{int(counts['skipped'])} tests were skipped although this machine has a GPU.")
    if code:
        raise RuntimeError(f"pytest ended with exit code {code}.")


def read_report(path: Path) -> tuple[dict[str, int | float], list[str]]:
    """Return counts of tests by outcome, their seconds, and the names of failed tests."""
    counts: dict[str, int | float] = {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0}
    bad = []
    for case in ET.parse(path).getroot().iter("testcase"):
        counts["seconds"] += float(case.get("time", 0))
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
            bad.append(f"{case.get('classname')}::{case.get('name')}")
        elif case.find("skipped") is not None:
            counts["skipped"] += 1
        else:
            counts["passed"] += 1
    return counts, bad
