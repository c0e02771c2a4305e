"""The script that Streamlit runs for the page of one audit."""

from __future__ import annotations

from labelaudit.dashboard.one_audit import show_one_audit

show_one_audit()
