"""The pages of the dashboard, and navigation between them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from labelaudit.dashboard import overview, review_session, reviewing, ui
from labelaudit.dashboard.sidebar import show_sidebar
from labelaudit.errors import LabelauditError
from labelaudit.storage.failures import without_secrets

# These pages are scripts of their own, because their imports take a second. Other pages need not wait for that.
AUDIT_PAGE, COMPARE_PAGE = (Path(__file__).parent / f"{name}_page.py" for name in ("audit", "compare"))


def show_dashboard() -> None:
    st.set_page_config(page_title="labelaudit", page_icon=ui.icon(), layout="wide")
    ui.show_style()
    pages = {
        "overview": st.Page(overview.show_overview, title="Overview", url_path="overview", default=True),
        "audit": st.Page(AUDIT_PAGE, title="Audit", url_path="audit"),
        "review": st.Page(reviewing.show_review, title="Review", url_path="review"),
        "compare": st.Page(COMPARE_PAGE, title="Compare", url_path="compare"),
    }
    page = st.navigation(list(pages.values()), position="top")
    wanted = st.session_state.pop("page wanted", None)
    # First, because what follows may fail.
    review_session.show_unsaved()
    if wanted:
        st.switch_page(pages[wanted])
    try:
        show_sidebar(page.url_path)
        page.run()
    except LabelauditError as error:
        st.error(ui.plain_text(without_secrets(str(error)), 2000))
