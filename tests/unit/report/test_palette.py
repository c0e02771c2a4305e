"""One palette: no other file has colours, and every variable is defined."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labelaudit.report.palette import PALETTE, SCHEMES, declarations, page_css, themed_css
from support.paths import ROOT

PACKAGE = ROOT / "src" / "labelaudit"
FILES = [
    path
    for folder in ("report", "dashboard")
    for path in sorted((PACKAGE / folder).rglob("*.*"))
    if path.suffix in (".py", ".css", ".js", ".jinja") and path.name != "palette.py"
]
STYLES = [path for path in FILES if path.suffix == ".css"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_colours_are_in_the_palette_only(path: Path) -> None:
    assert not re.search(r"#[0-9a-fA-F]{6}\b", path.read_text())


def test_every_variable_is_defined_and_every_colour_used() -> None:
    styles = "".join(path.read_text() for path in FILES)
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", styles))
    defined = set(re.findall(r"--([a-z0-9-]+):", "".join(path.read_text() for path in STYLES)))
    assert used <= PALETTE.keys() | defined
    assert not PALETTE.keys() & defined - {"paper", "panel"}  # print has white paper
    words = {word.removeprefix("--") for word in re.findall(r"[a-z0-9-]+", styles)}
    assert {name for name in PALETTE if not name.startswith("heat-")} <= words


def test_style_sheets_define_both_schemes() -> None:
    for scheme in SCHEMES:
        assert f":root{{{declarations(scheme)}}}" in page_css()
    for name, (light, dark) in PALETTE.items():
        assert f"--{name}:light-dark({light},{dark});" in themed_css()
