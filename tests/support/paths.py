"""Paths of the repository and of the shared real datasets."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
# Exists next to a development checkout, but not next to a user's clone.
SHARED_DATA = ROOT.parent / "shared" / "data"
