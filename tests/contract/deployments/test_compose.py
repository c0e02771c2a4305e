"""The compose stack, as far as it can be checked without an engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from labelaudit.config import parse_config
from support.paths import ROOT

BIN = Path(sys.executable).parent
DOCKER = ROOT / "docker"
TEXT = (DOCKER / "compose.yaml").read_text()
STACK: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = STACK["services"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# Third-party images that do not support a read-only root file system.
FOREIGN = ("postgres", "s3")


def example() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def used() -> set[tuple[str, str]]:
    """Return every variable of the file with its suffix: `:?` refuses an empty value, `:-` has a default."""
    return set(re.findall(r"\$\{(\w+)(:[?-])?", TEXT))


def test_the_schema_is_kept() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_misspelt_key_breaks_the_schema(tmp_path: Path) -> None:
    """The check above is able to fail."""
    (tmp_path / "compose.yaml").write_text(TEXT.replace("healthcheck:", "healthchek:"))
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_every_variable_is_in_the_example() -> None:
    assert {name for name, _ in used()} == set(example())
    assert not re.findall(r"\$[A-Za-z]", TEXT)


def test_secrets_have_no_default_and_may_not_be_empty() -> None:
    for name, value in example().items():
        if re.search("AUTH|PASSWORD|KEY", name):
            assert {rest for found, rest in used() if found == name} == {":?"}, name
            assert value == "", name


def test_no_value_of_a_secret_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("AUTH|PASSWORD|SECRET|_KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), name


def test_only_loopback_is_published() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_database_is_reached_by_the_server_alone() -> None:
    assert STACK["networks"]["database"]["internal"] is True
    assert [name for name, service in SERVICES.items() if "database" in service.get("networks", [])] == [
        "postgres",
        "prefect",
    ]
    assert SERVICES["postgres"]["networks"] == ["database"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] in ("unless-stopped", "on-failure:3")
    assert not service["image"].endswith(":latest")
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "test" in SERVICES[other]["healthcheck"]
    if name not in FOREIGN:
        assert service["image"] == f"labelaudit:{VERSION}"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["tmpfs"] == ["/tmp"]


def test_the_dashboard_can_only_read() -> None:
    environment = SERVICES["dashboard"]["environment"]
    identities = json.loads(STACK["configs"]["s3-identities"]["content"])["identities"]
    actions = {identity["credentials"][0]["accessKey"]: identity["actions"] for identity in identities}
    assert len(actions) == 2
    assert actions[environment["AWS_ACCESS_KEY_ID"]] == ["Read:audits", "List:audits"]
    assert "--read-only" in SERVICES["dashboard"]["command"]
    assert "s3://audits" in SERVICES["dashboard"]["command"]


def test_one_profile_serves_the_pool_of_folds() -> None:
    serving = {name: service for name, service in SERVICES.items() if "labelaudit-gpu" in service.get("command", [])}
    assert {name: service["profiles"] for name, service in serving.items()} == {
        "gpu-worker": ["gpu"],
        "gpu-pool-on-cpu": ["cpu-folds"],
    }
    [device] = serving["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "deploy" not in serving["gpu-pool-on-cpu"]


def test_mounted_files_are_there() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", []) if mount.startswith(".")]
    assert len(mounts) >= 4
    for mount in mounts:
        assert (DOCKER / mount.split(":")[0]).exists(), mount
        assert mount.endswith(":ro"), mount


def test_the_config_of_the_demo_is_valid() -> None:
    config = parse_config((DOCKER.parent / "deployments" / "datasets" / "digits.yaml").read_text())
    assert config.dataset.name == "digits"
    made = (DOCKER / "first-run").read_text().split("create_buckets.py")[1].splitlines()[0].replace('"', "").split()
    assert {url.split("/")[2] for url in (config.dataset.url, config.output.url)} == set(made)


def test_buckets_are_made_once(s3: str) -> None:
    """Uses a real S3 server, with keys and endpoint from the environment as in the stack."""
    name = f"{s3.removeprefix('s3://')}-made"
    for _ in range(2):
        subprocess.run([sys.executable, DOCKER / "create_buckets.py", name], check=True, env=dict(os.environ))
    assert name in {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}
