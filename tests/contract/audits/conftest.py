"""Shared by the tests of audits."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelaudit.audits.published import PublishedAudit
from support.reviewed import open_insects


@pytest.fixture
def audit(tmp_path: Path) -> PublishedAudit:
    """A published audit of the insects, to review. Its output is `out`."""
    return open_insects(tmp_path, tmp_path / "out")
