"""How things look, and how text from outside stays text.

Streamlit renders the labels of widgets and all messages as Markdown: what comes from a dataset goes through `plain`
there. Everything else is HTML whose values are escaped by `html`; Streamlit's own sanitizer is the second guard.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path

import streamlit as st
from markupsafe import Markup
from PIL import Image, ImageDraw

from labelaudit.report.summary import escape_markdown, percent
from labelaudit.text import for_html, in_one_direction

STYLE = Path(__file__).parent / "app.css"
# What Streamlit makes icons, emoji, colours and arrows of, besides Markdown.
_MARKS = re.compile(r"([:\-<>=~])")
_WORD_JOINER = "\u2060"
_SVG_FONT = "ui-sans-serif, system-ui, sans-serif"
_LIGHT = {
    **{"--ink": "#17202a", "--muted": "#56616d", "--line": "#dcdcd5", "--panel": "#ffffff", "--on-heat": "#ffffff"},
    **{"--given": "#b3431a", "--suggested": "#0b6e66"},
    **{"--heat-1": "#fbe9df", "--heat-2": "#f6d0bb", "--heat-3": "#efb091", "--heat-4": "#e58d66"},
    **{"--heat-5": "#bd5123", "--heat-6": "#ab4016", "--heat-7": "#862d0b"},
}
_DARK = {
    **{"--ink": "#e6eaec", "--muted": "#9aa6af", "--line": "#2c343a", "--panel": "#171c20", "--on-heat": "#1a0d06"},
    **{"--given": "#f2956b", "--suggested": "#5cc8b8"},
    **{"--heat-1": "#2c211c", "--heat-2": "#452b20", "--heat-3": "#633824", "--heat-4": "#854929"},
    **{"--heat-5": "#c4693a", "--heat-6": "#e58a58", "--heat-7": "#f8b48e"},
}
_GATES = {"passed": "good", "warned": "doubtful", "failed": "bad"}
_DECISIONS = {"fine": "good", "wrong": "bad", "ambiguous": "doubtful"}


def icon() -> Image.Image:
    """Of the browser's tab. Streamlit would fetch an icon that is only named."""
    picture = Image.new("RGB", (32, 32), "#b3431a")
    ImageDraw.Draw(picture).polygon([(0, 0), (32, 0), (0, 32)], fill="#0b6e66")
    return picture


def plain(text: object, limit: int = 120) -> str:
    """Text for a label or a message of Streamlit, in which nothing means anything.

    An invisible character after each mark parts what Streamlit would replace.
    """
    return escape_markdown(_MARKS.sub(rf"\1{_WORD_JOINER}", clip(text, limit)))


def option(text: object) -> str:
    """Text for the options of a select box and the cells of a table, which are no Markdown."""
    return clip(text, 200)


def clip(text: object, limit: int) -> str:
    """Without control characters, and within a length."""
    shown = in_one_direction(for_html(str(text)))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"


def fill(template: str, **values: object) -> Markup:
    """Markup from a template of ours, with escaped values."""
    safe = {
        name: in_one_direction(for_html(value)) if isinstance(value, str) and not isinstance(value, Markup) else value
        for name, value in values.items()
    }
    return Markup(template).format(**safe)


def html(template: str, **values: object) -> None:
    """Show markup from a template of ours, with escaped values."""
    st.html(str(fill(template, **values)))


def joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def chart(svg: Markup, words: str) -> None:
    """A chart of the report as a picture in the colours of the theme. In a picture no markup of a label could act."""
    colours = _DARK if st.context.theme.type == "dark" else _LIGHT
    drawn = re.sub(r"var\((--[a-z0-9-]+)\)", lambda match: colours[match[1]], str(svg))
    named = drawn.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" font-family="{_SVG_FONT}"', 1)
    data = base64.b64encode(named.encode()).decode()
    html('<div class="chart"><img alt="{words}" src="data:image/svg+xml;base64,{data}"></div>', words=words, data=data)


def chip(text: str, kind: str = "") -> Markup:
    """A small word in a frame; kind: good, doubtful, bad, or empty."""
    return fill('<span class="chip {kind}">{text}</span>', text=text, kind=kind)


def gate_chip(gate: str | None) -> Markup:
    return Markup("") if gate is None else chip(f"gate {gate}", _GATES.get(gate, ""))


def verdict_chip(decision: str | None, right_label: str | None) -> Markup:
    if not decision:
        return Markup("")
    arrow = f" \N{RIGHTWARDS ARROW} {clip(right_label, 40)}" if right_label else ""
    return chip(f"{decision}{arrow}", _DECISIONS.get(decision, ""))


def figures(values: Iterable[tuple[str, str, str]]) -> None:
    """Key figures in a row: name, value, and what it means."""
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


def score(value: float | None) -> str:
    """Three decimals; what is above 0 never reads as 0.000."""
    if value is None:
        return "-"
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def moment(created_at: object) -> str:
    """A time of ISO 8601 for people."""
    return clip(created_at, 16).replace("T", " ")
