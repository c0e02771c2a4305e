"""What a row looks like: a card of the gallery, and the row at full size."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import streamlit as st
from markupsafe import Markup
from PIL import Image

from labelaudit.dashboard import session, ui
from labelaudit.dashboard.decisions import judged
from labelaudit.dashboard.queries import AuditTables, Row
from labelaudit.dashboard.sidebar import Chosen
from labelaudit.report.gallery import text_excerpt, thumbnail
from labelaudit.report.previews import Preview

# First bytes of what may be shown as an image, whatever else a file says that it is.
_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
# Of what is decoded: previews are small, and a few bytes can be an image of gigabytes.
PIXELS = 8_000_000
_NONE = Markup('<div class="picture none">no preview</div>')


def show_cards(now: Chosen, tables: AuditTables, rows: list[Row]) -> None:
    """Cards that open their row."""
    previews = tables.previews([row.example_id for row in rows])
    holding = session.holding(now.audit)
    is_wide = any(_kind(preview) in ("text", "table") for preview in previews.values())
    with st.container(horizontal=True, gap="small", key="gallery-of-texts" if is_wide else "gallery-of-images"):
        for number, row in enumerate(rows):
            verdict = row if holding is None else holding.get(judged(row))
            chip = ui.verdict_chip(verdict.verdict, verdict.right_label) if verdict else Markup("")
            with st.container(border=True, width=160, key=f"card-{number}"):
                st.html(str(_card(row, previews.get(row.example_id), chip)))
                st.button(
                    f"Open {ui.plain(row.example_id)}",
                    key=f"open-{number}",
                    on_click=session.open_example,
                    args=(row.address,),
                )


def _card(row: Row, preview: Preview | None, chip: Markup) -> Markup:
    suggested = row.suggested_label if row.suggested_label != row.given_label else None
    return ui.fill(
        '<div class="card">{picture}<div class="names"><b class="given"><bdi>{given}</bdi></b>{suggested}</div>'
        '<div class="facts"><span>{score}</span>{chip}</div><div class="id">{id}</div></div>',
        picture=_small(preview),
        given=ui.clip(row.given_label if row.given_label is not None else "no label", 80),
        suggested=ui.fill('<b class="suggested"><bdi>{name}</bdi></b>', name=ui.clip(suggested, 80))
        if suggested
        else Markup('<b class="suggested none">&nbsp;</b>'),
        score=f"score {ui.score(row.label_score)}" if row.label_score is not None else row.status.replace("_", " "),
        chip=chip,
        id=ui.clip(row.example_id, 100),
    )


def _small(preview: Preview | None) -> Markup:
    kind = _kind(preview)
    if preview is None or kind == "none":
        return _NONE
    if kind == "text":
        return ui.fill('<p class="excerpt"><bdi>{text}</bdi></p>', text=text_excerpt(_text(preview), 600))
    if kind == "table":
        unusual = [value for value in _values(preview) if "typical" in value][:5]
        items = ui.joined(
            ui.fill("<dt>{column}</dt><dd>{value}</dd>", column=ui.clip(v["column"], 60), value=_shown(v["value"]))
            for v in unusual
        )
        return ui.fill('<dl class="unusual">{items}</dl>', items=items)
    picture = _thumbnail(preview.data)
    return (
        _NONE
        if picture is None
        else ui.fill(
            '<div class="picture"><img alt="" class="{pixels}" src="{url}"></div>',
            pixels="pixels" if picture[1] else "",
            url=picture[0],
        )
    )


def whole(preview: Preview | None) -> Markup:
    """A row at full size."""
    kind = _kind(preview)
    if preview is None or kind == "none":
        return Markup(
            '<div class="whole none" style="padding:3rem;color:var(--muted)">No preview was kept of this row: '
            "raise report.previews in the config to keep more.</div>"
        )
    if kind == "text":
        return ui.fill('<div class="whole-text"><bdi>{text}</bdi></div>', text=_text(preview))
    if kind == "table":
        return _whole_table(_values(preview))
    picture = _thumbnail(preview.data)
    if picture is None:
        return _NONE
    return ui.fill(
        '<div class="whole"><img alt="the example" class="{pixels}" src="data:{type};base64,{data}"></div>',
        pixels="pixels" if picture[1] else "",
        type=preview.media_type,
        data=base64.b64encode(preview.data).decode(),
    )


def _whole_table(values: list[dict[str, Any]]) -> Markup:
    """Unusual columns first, then in their order."""
    rows = ui.joined(
        ui.fill(
            '<tr class="{odd}"><th>{column}</th><td class="number">{value}</td><td>{typical}</td></tr>',
            odd="odd" if "typical" in value else "",
            column=ui.clip(value["column"], 100),
            value=_shown(value["value"]),
            typical=ui.clip(value.get("typical", ""), 100),
        )
        for value in sorted(values, key=lambda value: "typical" not in value)
    )
    return ui.fill(
        '<div class="whole-table"><table class="plain"><thead><tr><th>column</th><th class="number">value</th>'
        "<th>typical of the given label</th></tr></thead><tbody>{rows}</tbody></table></div>",
        rows=rows,
    )


def _kind(preview: Preview | None) -> str:
    """image, text, table, or none: what is not what it says that it is."""
    if preview is None:
        return "none"
    if preview.media_type in _SIGNATURES:
        return "image" if preview.data.startswith(_SIGNATURES[preview.media_type]) else "none"
    if preview.media_type == "application/json":
        return "table" if _values(preview) else "none"
    return "text" if preview.media_type == "text/plain" else "none"


@st.cache_data(show_spinner=False, max_entries=5_000)
def _thumbnail(data: bytes) -> tuple[str, bool] | None:
    """Data URL of a small image, and whether it is shown with hard pixels; None where it cannot be decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        if image.width * image.height > PIXELS:
            return None
        pixels = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    # Of damaged files Pillow raises SyntaxError, struct.error, and what else its decoders come upon.
    except Exception:
        return None
    small = thumbnail(pixels if pixels.ndim == 3 else pixels[:, :, None])
    return small.data_url, small.is_pixelated


def _text(preview: Preview) -> str:
    return preview.data.decode("utf-8", "replace")


def _values(preview: Preview) -> list[dict[str, Any]]:
    """Columns of a table row; none where the preview holds something else."""
    try:
        values = json.loads(preview.data)
    except (ValueError, RecursionError):
        return []
    return values if isinstance(values, list) and all(map(_is_value, values)) else []


def _is_value(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("column"), str)
        and "value" in value
        and isinstance(value["value"], str | int | float | None)
        and isinstance(value.get("typical", ""), str)
    )


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    return f"{value:,.6g}" if isinstance(value, float) else ui.clip(value, 300)
