"""HTML from templates: every value is text and escaped, and what HTML cannot hold is replaced."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from labelaudit.report.summary import percent
from labelaudit.text import for_html

TEMPLATES = Path(__file__).parent / "template"


def render(template: str, **values: Any) -> str:
    """A template with values, as text that UTF-8 can hold."""
    return for_html(_environment().get_template(template).render(**values))


def template_file(name: str) -> Markup:
    """A style sheet or script of ours, to be put into a page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def clip(value: object, limit: int) -> str:
    """At most `limit` characters, the last of which says that there are more."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"


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
        decimal=lambda value: "-" if value is None else f"{value:,.{0 if value >= 10 else 1}f}",
        percent=lambda value: "-" if value is None else percent(value),
        score=_score,
        size=_size,
        clip=clip,
        blank=lambda value, blank="-": blank if value is None else value,
    )
    return environment


def _score(value: float | None) -> str:
    """Three decimals; what is above 0 never reads as 0.000."""
    if value is None:
        return "-"
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:,.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:,.1f} MB"
