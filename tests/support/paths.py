"""Where the repository and the real datasets beside it are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
# Beside a development checkout and beside CI's, not beside a user's.
SHARED_DATA = ROOT.parent / "shared" / "data"
