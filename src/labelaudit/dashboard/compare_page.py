"""The script that Streamlit runs for the page that compares two audits."""

from __future__ import annotations

from labelaudit.dashboard.two_audits import show_comparison

show_comparison()
