"""The page of two audits, which Streamlit runs as a script of its own."""

from __future__ import annotations

from labelaudit.dashboard.two_audits import show

show()
