"""Two reviewers at the same time, as processes of their own, on S3: nothing of either is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labelaudit.reviews.audit_review import audit_to_review, status
from labelaudit.reviews.verdict_store import read_verdicts
from support.reviewed import IDS, WRONG, audit_insects, truly
from support.waiting import PATIENCE_SECONDS

# Imports only what a reviewer needs: no training, no detection.
REVIEWER = """
import json, sys
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.audit_review import audit_to_review
from labelaudit.reviews.audit_review import add_drafts

name, url, said = sys.argv[1:]
drafts = [Draft(*one) for one in json.loads(said)]
audit = audit_to_review(url)
print("ready", flush=True)
sys.stdin.readline()
for start in range(0, 40, 8):
    add_drafts(audit, drafts[start : start + 8], reviewer=name)
"""


@pytest.mark.slow
def test_two_processes_store_all_they_decide(s3: str, tmp_path: Path) -> None:
    audit = audit_to_review(audit_insects(tmp_path, s3).audit_url)
    said = json.dumps([truly(name)[:3] for name in IDS[:40]])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REVIEWER, name, f"{s3}/{audit.folder}", said],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("ann", "bob")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    verdicts = read_verdicts(audit.store, "insects")
    assert sorted((one.reviewer, one.example_id) for one in verdicts) == sorted(
        (name, example_id) for name in ("ann", "bob") for example_id in IDS[:40]
    )
    assert len(audit.store.find("dataset=insects/_verdicts")) == 10
    found = status(audit).to_record()
    assert found["verdicts"] == {"wrong": 3, "fine": 37, "ambiguous": 0, "remove": 0}
    assert sum(name in IDS[:40] for name in WRONG) == 3
    assert found["disagreements"] == 0
