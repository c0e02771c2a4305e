"""SVG for pages: elements with escaped text, and a chart as a picture in the colours of the palette."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup, escape

from labelaudit.text import for_xml

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', sans-serif"
FONT_SIZE = 13.5
# Moves text down so that its middle is at y. Not every program that shows SVG knows `dominant-baseline`.
MIDDLE = "0.35em"


@dataclass(frozen=True)
class Chart:
    """A picture in the colours of `labelaudit.report.palette`, which are CSS variables.

    In a Jinja template it becomes an SVG element with the colours and the font of the page.
    """

    title: str  # screen readers say it, and browsers show it as a tooltip
    description: str
    width: float  # CSS pixels. A narrow page shows the chart smaller
    height: float
    body: Markup

    def __html__(self) -> str:
        """Return the SVG element for use inside a page."""
        return str(self._svg(self.body, style=f"max-width:{coordinate(self.width)}px"))

    def document(self, colours: str) -> str:
        """Return an SVG file that needs no page.

        Args:
            colours: CSS declarations of the variables.
        """
        style = Markup("<style>svg{{{}font-family:{}}}</style>").format(Markup(colours), Markup(FONT))
        size = {"width": self.width, "height": self.height}
        svg = self._svg(style + self.body, xmlns="http://www.w3.org/2000/svg", **size)
        return for_xml(svg)

    def _svg(self, body: Markup, **attributes: str | float) -> Markup:
        about = element("title", self.title)
        if self.description:
            about += element("desc", self.description)
        box = f"0 0 {coordinate(self.width)} {coordinate(self.height)}"
        return element("svg", about, body, viewBox=box, role="img", font_size=FONT_SIZE, **attributes)


def element(name: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """Return an element with escaped text and values. An underscore in the name of an attribute becomes a hyphen."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.replace("_", "-"), value if isinstance(value, str) else coordinate(value))
        for key, value in attributes.items()
    )
    content = Markup("").join(escape(child) for child in children)
    tag = Markup(name)
    return Markup("<{}{}>{}</{}>").format(tag, written, content, tag) if content else Markup(f"<{tag}{written}/>")


def text(x: float, y: float, words: str, *, colour: str = "ink", **attributes: str | float) -> Markup:
    """Return a line of text whose baseline begins at (x, y)."""
    return element("text", words, x=x, y=y, fill=variable(colour), **attributes)


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str = "line", **attributes: str | float) -> Markup:
    """Return a straight line, 1 pixel wide unless `stroke_width` says otherwise."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=variable(colour), **attributes)


def variable(colour: str) -> str:
    """Return the CSS value of a colour of the palette."""
    return f"var(--{colour})"


def coordinate(value: float) -> str:
    """Return a coordinate with two decimals at most, the same in every process."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown
