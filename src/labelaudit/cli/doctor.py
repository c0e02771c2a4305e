"""`labelaudit doctor`: check that everything is available that an audit needs."""

from __future__ import annotations

import os
import platform
import time
import uuid
from dataclasses import asdict, dataclass

import click

from labelaudit.cli.console import show_json
from labelaudit.cli.options import config_from
from labelaudit.config import AuditConfig
from labelaudit.environment import package_versions
from labelaudit.errors import LabelauditError
from labelaudit.local.workers import has_gpu_driver
from labelaudit.orchestration.prefect_api import prefect_api_url
from labelaudit.storage.cache import Cache
from labelaudit.text import plain
from labelaudit.versions.discover import choose_version
from labelaudit.versions.named import open_output, open_source

API_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool
    detail: str


def doctor_command(target: str | None, as_json: bool) -> None:
    """Print the result of each check. The exit code is 1 if a check failed."""
    config = None if target is None else config_from(target)
    findings = examine(config, prefect_api_url())
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark} {plain(f'{finding.name}: {finding.detail}')}")
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(1)


def examine(config: AuditConfig | None, api_url: str | None) -> list[Finding]:
    """Check packages, device, cache and the Prefect API; with a config also its dataset and output."""
    findings = [_packages(), _devices(), _cache(), _prefect_api(api_url)]
    if config is not None:
        findings += [_dataset(config), _output(config)]
    return findings


def _packages() -> Finding:
    return Finding("packages", True, ", ".join(f"{name} {version}" for name, version in package_versions().items()))


def _devices() -> Finding:
    if not has_gpu_driver():
        return Finding("device", True, f"cpu ({platform.machine()}), {len(os.sched_getaffinity(0))} CPU cores")
    # Imported late, because torch takes seconds to import, and without a driver it finds no GPU.
    from labelaudit.model.device import device_facts, resolve_device

    facts = device_facts(resolve_device("auto"))
    memory = f", {int(facts['memory_bytes']) / 2**30:.0f} GiB" if "memory_bytes" in facts else ""
    return Finding("device", True, f"{facts['device']} ({facts['name']}{memory}), {facts['threads']} CPU threads")


def _cache() -> Finding:
    try:
        cache = Cache()
    except LabelauditError as error:
        return Finding("cache", False, str(error))
    return Finding("cache", True, f"{cache.root}, up to {cache.max_bytes / 1e9:,.1f} GB")


def _prefect_api(api_url: str | None) -> Finding:
    if api_url is None:
        return Finding("prefect", True, "no API is configured; audits run in the calling process")
    # Imported late, because only this check needs it.
    import httpx

    try:
        httpx.get(
            f"{api_url.rstrip('/')}/health", timeout=API_TIMEOUT_SECONDS, follow_redirects=True
        ).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0]
        return Finding(
            "prefect", False, f"{api_url} does not answer ({reason}). Start the server, or unset PREFECT_API_URL."
        )
    return Finding("prefect", True, f"{api_url} answers")


def _dataset(config: AuditConfig) -> Finding:
    try:
        source = open_source(choose_version(config))
        files = source.files()
    except LabelauditError as error:
        return Finding("dataset", False, str(error))
    size = sum(file.size for file in files)
    return Finding("dataset", bool(files), f"{source.url}: {len(files):,} files, {size / 1e6:,.1f} MB")


def _output(config: AuditConfig) -> Finding:
    """Write a probe, read it and remove it; check that conditional writes are honoured."""
    key = f"_work/doctor-{uuid.uuid4().hex}"
    try:
        store = open_output(config)
        started = time.monotonic()
        store.write(key, b"probe")
        is_same = store.read(key) == b"probe"
        store.remove(key)
        seconds = time.monotonic() - started
        store.require_conditional_writes()
    except LabelauditError as error:
        return Finding("output", False, str(error))
    detail = f"{store.url}: written, read and removed in {seconds:.2f} s; conditional writes are honoured"
    return Finding("output", is_same, detail)
