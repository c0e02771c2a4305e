"""Installs what a bare machine needs for the points: carried wheels, and the version of labelaudit."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

from gpu_kit.jobs import REPOSITORY
from gpu_kit.machine import installed_version


def install(wheels: Path | None, site: Path) -> None:
    """Fill the folder `site`, which precedes the machine's packages on PYTHONPATH.

    Nothing is resolved or downloaded. The wheels are installed in addition to the packages of the machine.

    Raises:
        SystemExit: the folder has no wheels, or pip refuses them.
    """
    site.mkdir(parents=True)
    if wheels is not None:
        files = sorted(wheels.glob("*.whl"))
        if not files:
            raise SystemExit(f"The folder {wheels} contains no wheels. Fill it with benchmarks/gpu/collect-wheels.")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir"]
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--target", str(site), *map(str, files)], check=False
        )
        if done.returncode:
            raise SystemExit(f"pip could not install the wheels of {wheels}; its messages are above.")
    _announce_labelaudit(site)


def missing_packages(site: Path) -> list[str]:
    """Return the packages of wheels.txt that are neither in `site` nor on the machine."""
    lines = (REPOSITORY / "benchmarks" / "gpu" / "wheels.txt").read_text().splitlines()
    return [name for name in lines if name and not name.startswith("#") and installed_version(name, site) is None]


def _announce_labelaudit(site: Path) -> None:
    """Write package metadata for the tree, which runs without installation but needs a version."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        folder = site / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
