"""Imports go downward only, rooms do not know each other, and each heavy package has one door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import ROOT

SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
ROOMS = {"data", "model", "detection", "report", "review", "storage"}
# From the top: a module may import from layers below its own, and from its own where it is a package.
LAYERS = [
    {"flows"},
    {"labelaudit.audit", "labelaudit.dashboard"},
    {"labelaudit.budget"},
    {"labelaudit.workers", "labelaudit.worker_process", "labelaudit.rehearsal"},
    {"labelaudit.steps"},
    {"labelaudit.config", *(f"labelaudit.{room}" for room in ROOMS)},
    {"labelaudit.schemas", "labelaudit.errors", "labelaudit.memory", "labelaudit.wilson"},
]
ONE_DOOR = {
    "prefect": ("flows/",),
    "click": ("flows/",),
    "fsspec": ("src/labelaudit/storage/",),
    "s3fs": ("src/labelaudit/storage/",),
    "cleanlab": ("src/labelaudit/detection/issues.py",),
    "torch": ("src/labelaudit/model/",),
    "torchvision": ("src/labelaudit/model/",),
    "yaml": ("src/labelaudit/config.py",),
    "pydantic": ("src/labelaudit/config.py",),
    "streamlit": ("src/labelaudit/dashboard/",),
    "duckdb": ("src/labelaudit/dashboard/",),
    "jinja2": ("src/labelaudit/report/",),
    "matplotlib": ("src/labelaudit/report/",),
}
# Commands import what they need when they run, because `--help` must answer at once. The others need something heavy
# (torch, cleanlab, matplotlib, Prefect) only at times; tests/contract/test_imports.py says which command imports what.
LATE_IMPORTS = {
    *("flows/cli.py", "flows/run.py", "flows/demo.py", "flows/publish_version.py", "flows/check.py", "flows/doctor.py"),
    *("src/labelaudit/audit.py", "src/labelaudit/steps/site.py"),
}


def _name(path: Path) -> str:
    relative = path.relative_to(ROOT / "src" if "src" in path.parts else ROOT)
    return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module, and whether the import stands inside a function."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module, id(node) in inside


def _layer(module: str) -> tuple[int, str]:
    for number, layer in enumerate(LAYERS):
        for member in layer:
            if module == member or module.startswith(f"{member}."):
                return number, member
    raise AssertionError(f"{module} is in no layer: add it to LAYERS where it belongs")


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("labelaudit", "flows")


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_go_downward(path: Path) -> None:
    name = _name(path)
    if name == "labelaudit":
        return
    number, member = _layer(name)
    for module, _ in _imports(path):
        if _is_ours(module):
            assert module != "labelaudit", f"{name} imports the package's public face"
            other_number, other = _layer(module)
            assert other == member or other_number > number, f"{name} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_heavy_packages_have_one_door(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    for module, _ in _imports(path):
        doors = ONE_DOOR.get(module.partition(".")[0])
        assert doors is None or relative.startswith(doors), f"{relative} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_first_party_import_hides_in_a_function(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() in LATE_IMPORTS:
        return
    late = [module for module, is_inside in _imports(path) if is_inside and _is_ours(module)]
    assert not late


@pytest.mark.parametrize("room", sorted(ROOMS | {"steps"}))
def test_a_room_offers_no_names_of_its_own(room: str) -> None:
    tree = ast.parse((ROOT / "src" / "labelaudit" / room / "__init__.py").read_text())
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


def test_every_source_is_checked() -> None:
    assert len(SOURCES) > 30
