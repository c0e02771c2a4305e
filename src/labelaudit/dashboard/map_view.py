"""The map of an audit: similar rows are near each other, and a box on it filters the gallery."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from labelaudit.dashboard import session
from labelaudit.dashboard.queries import AuditQueries, Box, MapKind, MapPoint
from labelaudit.dashboard.sidebar import Selection
from labelaudit.report.palette import PALETTE

_HEIGHT = 460
# Names in the session: the box, and how many boxes were removed.
_BOX, _REMOVED = "map box", "map boxes removed"
# The names of colours in the palette.
_COLOURS = {MapKind.OTHER: "muted", MapKind.OUTLIER: "suggested", MapKind.FLAGGED: "given"}


def chosen_box(shown: Selection) -> Box | None:
    """Return the box that was drawn on the map of this audit."""
    folder, box = st.session_state.get(_BOX, ("", None))
    return box if folder == shown.audit.folder else None


def has_map(shown: Selection) -> bool:
    return session.files(shown.audit, shown.audit.folder).has("map.parquet")


def show_map(shown: Selection, tables: AuditQueries) -> None:
    """Show the map. A box on it is remembered until it is drawn again or removed."""
    points = _points(tables, shown.audit.folder)
    # Streamlit cannot remove a box from a chart. A chart with another key is a new one, without a box.
    key = f"map-{shown.audit.folder}-{st.session_state.get(_REMOVED, 0)}"

    def remember() -> None:
        limits = st.session_state[key].selection.get("box") or {}
        box = Box(*limits["x"], *limits["y"]) if limits.keys() >= {"x", "y"} else None
        st.session_state[_BOX] = (shown.audit.folder, box)
        st.session_state["page_number"] = 1

    st.vega_lite_chart(_frame(points), _chart(), key=key, on_select=remember, height=_HEIGHT)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("Similar rows are near each other. Drag a box to see its rows; distances between groups say little.")
        if chosen_box(shown) is not None:
            st.button("Remove box", key="no-box", on_click=_remove_box)


def _remove_box() -> None:
    st.session_state.pop(_BOX, None)
    st.session_state[_REMOVED] = st.session_state.get(_REMOVED, 0) + 1
    st.session_state["page_number"] = 1


@st.cache_data(show_spinner=False, max_entries=4)
def _points(_tables: AuditQueries, folder: str) -> list[MapPoint]:
    return _tables.map_points()


def _frame(points: list[MapPoint]) -> pd.DataFrame:
    frame = pd.DataFrame(points, columns=list(MapPoint._fields))
    return frame.assign(kind=frame["kind"].map(str))


def _chart() -> dict[str, Any]:
    """Return the chart for Vega-Lite."""
    scheme = 1 if st.context.theme.type == "dark" else 0
    colours = [PALETTE[_COLOURS[kind]][scheme] for kind in MapKind]
    axis = {"type": "quantitative", "axis": None, "scale": {"zero": False, "nice": False}}
    return {
        "mark": {"type": "circle", "opacity": 0.75},
        "params": [{"name": "box", "select": "interval"}],
        "encoding": {
            "x": {"field": "x", **axis},
            "y": {"field": "y", **axis},
            "color": {
                "field": "kind",
                "type": "nominal",
                "scale": {"domain": [str(kind) for kind in MapKind], "range": colours},
                "legend": {"title": None, "orient": "top"},
            },
            "size": {
                "field": "rows",
                "type": "quantitative",
                "scale": {"type": "sqrt", "range": [16, 90]},
                "legend": None,
            },
        },
    }
