"""Building blocks of the pages: HTML with escaped values, formatted numbers, charts, colours.

Streamlit renders labels of widgets and messages as Markdown. Text from a dataset goes through `plain_text` there.
Everything else is HTML, in which `html` escapes all values. Streamlit's own sanitizer is the second guard.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path

import streamlit as st
from markupsafe import Markup
from PIL import Image, ImageDraw

from labelaudit.findings import Summary
from labelaudit.report.html import clip as clip
from labelaudit.report.html import score as score
from labelaudit.report.palette import PALETTE, Scheme, declarations, themed_css
from labelaudit.report.summary import escape_markdown
from labelaudit.report.svg import Chart
from labelaudit.shares import percent, short_range
from labelaudit.text import REPLACEMENT

_STYLE = Path(__file__).parent / "app.css"
# Characters that Streamlit, in addition to Markdown, turns into icons, emoji, colours and arrows.
_DIRECTIVES = re.compile(r"([:\-<>=~])")
# Characters that no font shows, or that change the direction of the text after them.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_WORD_JOINER = "\u2060"
_GATES = {"passed": "good", "warned": "doubtful", "failed": "bad"}
_DECISIONS = {"fine": "good", "wrong": "bad", "ambiguous": "doubtful", "remove": "bad"}


def show_style() -> None:
    """Add the dashboard's style sheet to the page."""
    st.html(f"<style>{themed_css()}{_STYLE.read_text(encoding='utf-8')}</style>")


def icon() -> Image.Image:
    """Return the icon of the browser's tab. Streamlit would download an icon that is given by name."""
    picture = Image.new("RGB", (32, 32), PALETTE["given"][0])
    ImageDraw.Draw(picture).polygon([(0, 0), (32, 0), (0, 32)], fill=PALETTE["suggested"][0])
    return picture


def plain_text(text: object, limit: int = 120) -> str:
    """Return text for a label or a message of Streamlit, without effect as Markdown.

    An invisible character after each special one keeps Streamlit from replacing them.
    """
    return escape_markdown(_DIRECTIVES.sub(rf"\1{_WORD_JOINER}", clip(_printable(text), limit)))


def option(text: object) -> str:
    """Return text for an option of a select box or a cell of a table. These are not Markdown."""
    return clip(_printable(text), 200)


def fill(template: str, **values: object) -> Markup:
    """Return one of the dashboard's templates with escaped values."""
    safe = {
        name: _printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        for name, value in values.items()
    }
    return Markup(template).format(**safe)


def html(template: str, **values: object) -> None:
    """Show one of the dashboard's templates with escaped values."""
    st.html(str(fill(template, **values)))


def _printable(text: object) -> str:
    return _CONTROLS.sub(REPLACEMENT, str(text))


def joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def chart(picture: Chart) -> None:
    """Show a chart in the colours of the theme.

    It is an image because Streamlit removes SVG elements from HTML, and because markup in an image cannot act.
    """
    scheme: Scheme = "dark" if st.context.theme.type == "dark" else "light"
    data = base64.b64encode(picture.document(declarations(scheme)).encode()).decode()
    words = f"{picture.title}. {picture.description}"
    html(
        '<div class="chart">'
        '<img alt="{words}" style="max-width:{width}px" src="data:image/svg+xml;base64,{data}"></div>',
        words=words,
        width=picture.width,
        data=data,
    )


def chip(text: str, kind: str = "") -> Markup:
    """Return a framed word. `kind` is good, doubtful, bad or empty."""
    return fill('<span class="chip {kind}">{text}</span>', text=text, kind=kind)


def gate_chip(gate: str | None) -> Markup:
    return Markup("") if gate is None else chip(f"gate {gate}", _GATES.get(gate, ""))


def verdict_chip(decision: str | None, right_label: str | None, remove_reason: str | None = None) -> Markup:
    if not decision:
        return Markup("")
    return chip(verdict_in_words(decision, right_label, remove_reason), _DECISIONS.get(decision, ""))


def verdict_in_words(decision: str, right_label: str | None, remove_reason: str | None) -> str:
    """Return a verdict in a few words, such as `remove: off-topic`."""
    if right_label:
        return f"{decision} \N{RIGHTWARDS ARROW} {clip(right_label, 40)}"
    return f"{decision}: {clip(remove_reason, 40)}" if remove_reason else decision


def figures(values: Iterable[tuple[str, str, str]]) -> None:
    """Show key figures in a row. Each has a name, a value and an explanation."""
    cells = joined(
        fill(
            "<div><dt>{name}</dt><dd><strong>{value}</strong><span>{meaning}</span></dd></div>",
            name=name,
            value=value,
            meaning=meaning,
        )
        for name, value, meaning in values
    )
    html('<dl class="figures">{cells}</dl>', cells=cells)


def heading(title: str, about: str = "") -> None:
    html('<div class="head"><h2>{title}</h2><p>{about}</p></div>', title=title, about=about)


def number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


def share(value: object) -> str:
    return percent(value) if isinstance(value, int | float) else "-"


def wrong_labels(summary: Summary) -> str:
    """Return the share of wrong labels of an audit, such as `5 to 13 %`."""
    return short_range(summary.error_range, summary.staying) if summary.scored else "-"


def moment(created_at: object) -> str:
    """Return an ISO 8601 time in a form for people."""
    return clip(created_at, 16).replace("T", " ")
