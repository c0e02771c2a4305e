"""The HTML of a row: its card in the gallery, and the row at full size."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import streamlit as st
from markupsafe import Markup
from PIL import Image

from labelaudit.dashboard import session, ui
from labelaudit.dashboard.queries import AuditQueries, Row
from labelaudit.dashboard.row_verdicts import labeled_example
from labelaudit.dashboard.sidebar import Selection
from labelaudit.report.gallery import text_excerpt, thumbnail
from labelaudit.report.previews import Preview
from labelaudit.report.quality_section import split_issues
from labelaudit.reviews.verdicts import LabeledExample, Verdict
from labelaudit.schemas import Decision
from labelaudit.shares import whole_percent

# Only files that begin with these bytes are shown as images.
_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
# The largest image that is decoded. Previews are small, but a few bytes can decode to gigabytes.
MAX_PIXELS = 8_000_000
_NO_PREVIEW = Markup('<div class="picture none">no preview</div>')


class _Cell(NamedTuple):
    """One column of a table row."""

    column: str
    value: str | int | float | None
    typical: str | None  # what is typical of the given label; None unless the value is unusual

    @property
    def is_unusual(self) -> bool:
        return self.typical is not None


def show_cards(shown: Selection, tables: AuditQueries, rows: list[Row]) -> None:
    """Show cards with buttons that open their row."""
    previews = tables.previews([row.example_id for row in rows])
    verdicts = session.current_verdicts(shown.audit)
    is_wide = any(_kind(preview) in ("text", "table") for preview in previews.values())
    with st.container(horizontal=True, gap="small", key="gallery-of-texts" if is_wide else "gallery-of-images"):
        for number, row in enumerate(rows):
            with st.container(border=True, width=160, key=f"card-{number}"):
                st.html(str(card(row, previews.get(row.example_id), verdicts)))
                st.button(
                    f"Open {ui.plain_text(row.example_id)}",
                    key=f"open-{number}",
                    on_click=session.open_example,
                    args=(row.address,),
                )


def _chip(row: Row, verdicts: Mapping[LabeledExample, Verdict] | None) -> Markup:
    verdict = row if verdicts is None else verdicts.get(labeled_example(row))
    return ui.verdict_chip(verdict.verdict, verdict.right_label, verdict.remove_reason) if verdict else Markup("")


def card(row: Row, preview: Preview | None, verdicts: Mapping[LabeledExample, Verdict] | None) -> Markup:
    """Return a row as a card.

    Args:
        verdicts: current ones; None if they are out of reach, and only those of the audit are known.
    """
    suggested = row.suggested_label
    return ui.fill(
        '<div class="card">{picture}<div class="names"><b class="given"><bdi>{given}</bdi></b>{suggested}</div>'
        '<div class="facts">{doubt}{chip}</div><div class="id">{id}</div></div>',
        picture=_small(preview),
        given=ui.clip(row.given_label if row.given_label is not None else "no label", 80),
        suggested=ui.fill('<b class="suggested"><bdi>{name}</bdi></b>', name=ui.clip(suggested, 80))
        if suggested
        else Markup('<b class="suggested none">&nbsp;</b>'),
        doubt=_doubt(row),
        chip=_chip(row, verdicts),
        id=ui.clip(row.example_id, 100),
    )


def _doubt(row: Row) -> Markup:
    if row.label_score is None:
        facts = [row.status.replace("_", " ")]
    else:
        facts = [f"score {ui.score(row.label_score)}"]
        # A verdict is shown next to it, so its 0 % or 100 % says nothing.
        if row.p_wrong is not None and row.verdict not in (Decision.WRONG, Decision.FINE):
            facts.insert(0, f"{whole_percent(row.p_wrong)} likely wrong")
        if row.views_agree is not None and row.views_agree > 1:
            facts.append(f"{row.views_agree:g} views agree")
    facts += split_issues(row.input_issues)
    return ui.joined(ui.fill("<span>{fact}</span>", fact=fact) for fact in facts)


def _small(preview: Preview | None) -> Markup:
    kind = _kind(preview)
    if preview is None or kind == "none":
        return _NO_PREVIEW
    if kind == "text":
        return ui.fill('<p class="excerpt"><bdi>{text}</bdi></p>', text=text_excerpt(_text(preview), 600))
    if kind == "table":
        unusual = [cell for cell in _cells(preview) if cell.is_unusual][:5]
        items = ui.joined(
            ui.fill("<dt>{column}</dt><dd>{value}</dd>", column=ui.clip(cell.column, 60), value=_text_of(cell))
            for cell in unusual
        )
        return ui.fill('<dl class="unusual">{items}</dl>', items=items)
    picture = _thumbnail(preview.data)
    return (
        _NO_PREVIEW
        if picture is None
        else ui.fill(
            '<div class="picture"><img alt="" class="{pixels}" src="{url}"></div>',
            pixels="pixels" if picture[1] else "",
            url=picture[0],
        )
    )


def full_size(preview: Preview | None) -> Markup:
    """Return a row at full size."""
    kind = _kind(preview)
    if preview is None or kind == "none":
        return Markup(
            '<div class="whole none" style="padding:3rem;color:var(--muted)">The audit has no preview of this row. '
            "Increase report.previews in the config to keep more.</div>"
        )
    if kind == "text":
        return ui.fill('<div class="whole-text"><bdi>{text}</bdi></div>', text=_text(preview))
    if kind == "table":
        return _full_table(_cells(preview))
    picture = _thumbnail(preview.data)
    if picture is None:
        return _NO_PREVIEW
    return ui.fill(
        '<div class="whole"><img alt="the example" class="{pixels}" src="data:{type};base64,{data}"></div>',
        pixels="pixels" if picture[1] else "",
        type=preview.media_type,
        data=base64.b64encode(preview.data).decode(),
    )


def _full_table(cells: list[_Cell]) -> Markup:
    """Return a table with the unusual columns first."""
    rows = ui.joined(
        ui.fill(
            '<tr class="{odd}"><th>{column}</th><td class="number">{value}</td><td>{typical}</td></tr>',
            odd="odd" if cell.is_unusual else "",
            column=ui.clip(cell.column, 100),
            value=_text_of(cell),
            typical=ui.clip(cell.typical or "", 100),
        )
        for cell in sorted(cells, key=lambda cell: not cell.is_unusual)
    )
    return ui.fill(
        '<div class="whole-table"><table class="plain"><thead><tr><th>column</th><th class="number">value</th>'
        "<th>typical of the given label</th></tr></thead><tbody>{rows}</tbody></table></div>",
        rows=rows,
    )


def _kind(preview: Preview | None) -> str:
    """Return image, text, table, or none if the content is not what the media type says."""
    if preview is None:
        return "none"
    if preview.media_type in _SIGNATURES:
        return "image" if preview.data.startswith(_SIGNATURES[preview.media_type]) else "none"
    if preview.media_type == "application/json":
        return "table" if _cells(preview) else "none"
    return "text" if preview.media_type == "text/plain" else "none"


@st.cache_data(show_spinner=False, max_entries=5_000)
def _thumbnail(data: bytes) -> tuple[str, bool] | None:
    """Return the data URL of a small image and whether to show hard pixels, or None if it cannot be decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        if image.width * image.height > MAX_PIXELS:
            return None
        pixels = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    # For damaged files Pillow raises SyntaxError, struct.error, and other errors of its decoders.
    except Exception:
        return None
    small = thumbnail(pixels if pixels.ndim == 3 else pixels[:, :, None])
    return small.data_url, small.is_pixelated


def _text(preview: Preview) -> str:
    return preview.data.decode("utf-8", "replace")


def _cells(preview: Preview) -> list[_Cell]:
    """Return the cells of a table row; none if the preview is something else."""
    try:
        values = json.loads(preview.data)
    except (ValueError, RecursionError):
        return []
    cells = [_cell(value) for value in values] if isinstance(values, list) else []
    found = [cell for cell in cells if cell is not None]
    return found if len(found) == len(cells) else []


def _cell(value: object) -> _Cell | None:
    if not isinstance(value, dict) or "value" not in value:
        return None
    column, content, typical = value.get("column"), value["value"], value.get("typical")
    if isinstance(column, str) and isinstance(content, str | int | float | None) and isinstance(typical, str | None):
        return _Cell(column, content, typical)
    return None


def _text_of(cell: _Cell) -> str:
    if cell.value is None:
        return "missing"
    return f"{cell.value:,.6g}" if isinstance(cell.value, float) else ui.clip(cell.value, 300)
