"""The script that Streamlit runs for every session and every click."""

from __future__ import annotations

from labelaudit.dashboard.pages import show_dashboard

show_dashboard()
