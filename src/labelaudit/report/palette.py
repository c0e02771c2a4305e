"""The colours of the report and of the dashboard, for light and dark."""

from __future__ import annotations

from typing import Literal

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, Scheme] = ("light", "dark")

_GREEN = ("#0b6e66", "#5cc8b8")
# Name -> the colour in light and in dark. In CSS each is a variable: `--ink`.
PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#f7f7f4", "#101417"),
    "panel": ("#ffffff", "#171c20"),
    "sunk": ("#eeeeea", "#0b0e10"),
    "sidebar": ("#eeeeea", "#171c20"),
    "ink": ("#17202a", "#e6eaec"),
    "muted": ("#56616d", "#9aa6af"),
    "line": ("#dcdcd5", "#2c343a"),
    # The given label and the suggested one, everywhere.
    "given": ("#b3431a", "#f2956b"),
    "suggested": _GREEN,
    "accent": _GREEN,
    # Buttons of the dashboard, with white text in both schemes.
    "primary": ("#0b6e66", "#2a9d90"),
    "focus": ("#1a56db", "#8ab4ff"),
    "good": _GREEN,
    "doubtful": ("#855c00", "#e9b949"),
    "bad": ("#b42318", "#ff8a7a"),
    "on-bad": ("#ffffff", "#2a0703"),
    "heat-1": ("#fbe9df", "#2c211c"),
    "heat-2": ("#f6d0bb", "#452b20"),
    "heat-3": ("#efb091", "#633824"),
    "heat-4": ("#e58d66", "#854929"),
    "heat-5": ("#bd5123", "#c4693a"),
    "heat-6": ("#ab4016", "#e58a58"),
    "heat-7": ("#862d0b", "#f8b48e"),
    # Text on heat-5 to heat-7.
    "on-heat": ("#ffffff", "#1a0d06"),
}


def colours(scheme: Scheme) -> dict[str, str]:
    """Return the colours of a scheme by name."""
    return {name: dark if scheme == "dark" else light for name, (light, dark) in PALETTE.items()}


def declarations(scheme: Scheme) -> str:
    """Return the CSS variables of a scheme, without a selector."""
    return "".join(f"--{name}:{colour};" for name, colour in colours(scheme).items())


def page_css() -> str:
    """Return CSS that follows the reader's system. Also browsers without `light-dark()` know it."""
    light, dark = (f":root{{{declarations(scheme)}}}" for scheme in SCHEMES)
    return f":root{{color-scheme:light dark}}\n{light}\n@media (prefers-color-scheme:dark){{{dark}}}\n"


def themed_css() -> str:
    """Return CSS that follows the `color-scheme` of the document, which Streamlit sets with its theme."""
    values = "".join(f"--{name}:light-dark({light},{dark});" for name, (light, dark) in PALETTE.items())
    return f":root{{{values}}}\n"
