"""HTML from the templates, in which every value is escaped text, and the filters that format values."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from labelaudit.report.palette import PALETTE
from labelaudit.report.svg import element
from labelaudit.shares import percent, whole_percent
from labelaudit.text import for_html

# The values of a template, by their name in it.
Context: TypeAlias = dict[str, object]

TEMPLATES = Path(__file__).parent / "template"


def render(template: str, **values: object) -> str:
    """Return a template filled with values, as text that UTF-8 can encode."""
    return for_html(_environment().get_template(template).render(icon=_icon(), **values))


def template_file(name: str) -> Markup:
    """Return one of the package's style sheets or scripts, to be put into a page without escaping."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def clip(value: object, limit: int) -> str:
    """Return text of at most `limit` characters. A text that is cut ends with an ellipsis."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"


def score(value: float | None) -> str:
    """Return a score with three decimals. A score above 0 never reads as 0.000."""
    if value is None:
        return "-"
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def _icon() -> str:
    """Return the icon of the browser's tab as a data URL."""
    tile = element("rect", width=16, height=16, rx=4, fill=PALETTE["suggested"][0])
    tick = element("path", d="M4 8.4l2.7 2.7L12 5.4", fill="none", stroke="#fff", stroke_width=2)
    svg = element("svg", tile, tick, xmlns="http://www.w3.org/2000/svg", viewBox="0 0 16 16")
    return f"data:image/svg+xml,{quote(svg)}"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=lambda value: "-" if value is None else f"{value:,}",
        two_decimals=lambda value: f"{value:,.2f}",
        decimal=lambda value: "-" if value is None else f"{value:,.{0 if value >= 10 else 1}f}",
        percent=lambda value: "-" if value is None else percent(value),
        whole_percent=lambda value: "-" if value is None else whole_percent(value),
        score=score,
        size=_size,
        clip=clip,
        blank=lambda value, blank="-": blank if value is None else value,
    )
    return environment


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:,.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:,.1f} MB"
