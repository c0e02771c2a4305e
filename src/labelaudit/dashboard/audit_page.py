"""The page of one audit, which Streamlit runs as a script of its own."""

from __future__ import annotations

from labelaudit.dashboard.one_audit import show

show()
