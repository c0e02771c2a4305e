"""Imports go downward only, packages of one layer do not import each other, and each heavy library has one door."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.paths import ROOT

PACKAGE = ROOT / "src" / "labelaudit"
SOURCES = sorted(PACKAGE.rglob("*.py"))
ENTRY_POINTS = sorted((ROOT / "flows").glob("*.py"))
# Below the steps; these do not know each other.
ROOMS = {"data", "duplicates", "model", "detection", "quality", "report", "storage"}
# From the top: a module may import from layers below its own, and from its own where it is a package.
LAYERS = [
    {"labelaudit.cli"},
    {"labelaudit.orchestration"},
    {"labelaudit.audit", "labelaudit.dashboard"},
    {"labelaudit.local"},
    {"labelaudit.pipeline"},
    {"labelaudit.reviews", "labelaudit.versions"},
    {"labelaudit.audits", "labelaudit.feature_store"},
    {"labelaudit.config_files"},
    {"labelaudit.config", *(f"labelaudit.{room}" for room in ROOMS)},
    {"labelaudit.shares"},
    {"labelaudit.findings", "labelaudit.yaml_text"},
    {"labelaudit.audit_changes"},
    {"labelaudit.slice_findings"},
    {"labelaudit.codec", "labelaudit.schemas", "labelaudit.errors", "labelaudit.memory", "labelaudit.nearest"},
    {
        "labelaudit.environment",
        "labelaudit.read_ahead",
        "labelaudit.row_dynamics",
        "labelaudit.strings",
        "labelaudit.text",
    },
]
_IN = "src/labelaudit/"
ONE_DOOR = {
    "prefect": (f"{_IN}orchestration/",),
    "ray": (f"{_IN}orchestration/",),
    "click": (f"{_IN}cli/",),
    "fsspec": (f"{_IN}storage/",),
    "s3fs": (f"{_IN}storage/",),
    "cleanlab": (),  # the reference of tests and benchmarks
    "torch": (f"{_IN}model/",),
    "torchvision": (f"{_IN}model/",),
    "timm": (f"{_IN}model/encoders/",),
    "open_clip": (f"{_IN}model/encoders/",),
    "sentence_transformers": (f"{_IN}model/encoders/",),
    "yaml": (f"{_IN}yaml_text.py",),
    "pydantic": (f"{_IN}config.py", f"{_IN}codec.py", f"{_IN}reviews/"),
    "streamlit": (f"{_IN}dashboard/",),
    "duckdb": (f"{_IN}dashboard/",),
    "jinja2": (f"{_IN}report/",),
}
# Commands import what they need when they run, because `--help` must answer at once. The others need something heavy
# (torch, cleanlab, Prefect) only at times; tests/contract/test_imports.py says which command imports what.
LATE_IMPORTS = {
    *(f"{_IN}cli/{name}.py" for name in ("main", "run", "demo", "publish_version", "check", "doctor")),
    f"{_IN}cli/apply_automations.py",
    *(f"{_IN}audit.py", f"{_IN}audits/site.py", f"{_IN}pipeline/encode.py"),
    f"{_IN}model/encoders/choose.py",
}


def _name(path: Path) -> str:
    relative = path.relative_to(ROOT / "src")
    return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")


@cache
def _imports(path: Path) -> list[tuple[str, bool]]:
    """Every imported module, and whether the import stands inside a function."""
    return list(_imports_of(ast.parse(path.read_text()), path))


def _imports_of(tree: ast.Module, path: Path) -> Iterator[tuple[str, bool]]:
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
    return module.partition(".")[0] == "labelaudit"


# One test for all files, because a test for each of 300 files would cost more than its check.
def test_imports_go_downward() -> None:
    assert [problem for path in SOURCES if _name(path) != "labelaudit" for problem in _upward_imports(path)] == []


def _upward_imports(path: Path) -> Iterator[str]:
    number, member = _layer(_name(path))
    for module, _ in _imports(path):
        if module == "labelaudit":
            yield f"{_name(path)} imports the package's public face"
        elif _is_ours(module):
            other_number, other = _layer(module)
            if other != member and other_number <= number:
                yield f"{_name(path)} imports {module}"


def test_heavy_packages_have_one_door() -> None:
    assert [
        f"{relative} imports {module}"
        for path in SOURCES
        for relative in [path.relative_to(ROOT).as_posix()]
        for module, _ in _imports(path)
        if not relative.startswith(ONE_DOOR.get(module.partition(".")[0], ("",)))
    ] == []


def test_no_first_party_import_hides_in_a_function() -> None:
    assert [
        f"{_name(path)} imports {module}"
        for path in SOURCES
        if path.relative_to(ROOT).as_posix() not in LATE_IMPORTS
        for module, is_inside in _imports(path)
        if is_inside and _is_ours(module)
    ] == []


def test_a_package_offers_no_names_of_its_own() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        tree = ast.parse(path.read_text())
        assert len(tree.body) == 1, path
        assert ast.get_docstring(tree), path


def test_no_two_files_have_the_same_name() -> None:
    names = Counter(path.name for path in SOURCES if path.name[0] != "_" and path.parent.name != "cli")
    assert not [name for name, times in names.items() if times > 1]


def test_entry_points_are_thin() -> None:
    assert [path.name for path in ENTRY_POINTS] == [
        *("audit_dataset.py", "audit_new_versions.py", "encode_shard.py", "train_fold.py")
    ]
    for path in ENTRY_POINTS:
        docstring, imported, exported = ast.parse(path.read_text()).body
        assert isinstance(docstring, ast.Expr)
        assert isinstance(imported, ast.ImportFrom)
        assert imported.module == f"labelaudit.orchestration.{path.stem}"
        assert isinstance(exported, ast.Assign)


def test_every_source_is_checked() -> None:
    assert len(SOURCES) > 30


def test_no_public_name_is_defined_twice() -> None:
    # Readers of the three formats of tables have the same interface, one module each.
    interface = {"survey_file", "read_tables"}
    names = Counter(
        name for path in SOURCES for name in set(_public_names(ast.parse(path.read_text()))) if name not in interface
    )
    assert not [name for name, times in names.items() if times > 1]


def _public_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            targets = [node.name]
        elif isinstance(node, ast.Assign):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            targets = [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []
        yield from (name for name in targets if not name.startswith("_"))
