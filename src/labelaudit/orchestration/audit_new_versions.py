"""The sweep: which versions have no published audit yet? Each is announced, and the announcement starts its audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from labelaudit.config import AuditConfig
from labelaudit.config_files import known_configs, referenced_config
from labelaudit.errors import AnnouncementError, DatasetError
from labelaudit.orchestration.events import event_id, post_event, published_event
from labelaudit.orchestration.tasks import TASK_OPTIONS
from labelaudit.versions.discover import (
    Announcement,
    FoundVersion,
    announcement_of,
    find_versions,
    note_announcement,
    unaudited,
)

# A version whose audit does not appear is announced again, but not for ever: then a person has to look.
MOST_ANNOUNCEMENTS = 3
# Of one dataset and sweep: a dataset with many old versions does not fill the queue at once.
MOST_AT_A_TIME = 10


@dataclass(frozen=True)
class Sighting:
    """What a sweep did about one version that has no published audit."""

    config: str
    dataset: str
    version: str
    status: str
    url: str


@task(name="look-at-dataset", task_run_name="look-at-{name}", **TASK_OPTIONS)
def look_at_dataset(name: str, again_after_hours: float) -> list[Sighting]:
    """Announce the versions of one config that have no audit, the oldest ones first."""
    config = referenced_config(name)
    versions = find_versions(config)
    waiting = [_sighting(name, found, found.incomplete) for found in versions if found.incomplete is not None]
    seen: list[Sighting] = []
    tried = 0
    for found in unaudited(config, versions):
        earlier = announcement_of(config, found)
        reason = _reason_to_wait(earlier, again_after_hours)
        if reason is None and tried == MOST_AT_A_TIME:
            reason = f"waits for the next sweep: one announces {MOST_AT_A_TIME} of a dataset"
        tried += reason is None
        seen.append(_sighting(name, found, reason or _announce(name, config, found, earlier)))
    return waiting + seen


@flow(name="audit-new-versions", flow_run_name="sweep", validate_parameters=True)
def audit_new_versions(configs: list[str] | None = None, again_after_hours: float = 24.0) -> list[dict[str, Any]]:
    """Announce every complete dataset version without a published audit, once.

    `configs` names YAML files as the parameter of `audit-dataset` does; all below LABELAUDIT_CONFIGS where it
    is not given. The event `labelaudit.dataset.published` starts the deployment `audit-dataset/on-publish`.
    A version whose audit has not appeared after `again_after_hours` is announced again, three times in all. One
    dataset that cannot be read does not keep the others from being looked at. Returns what was seen of the
    versions without an audit. Of one dataset 10 are announced at a time, oldest first; the next sweep goes on.
    """
    sightings: list[Sighting] = []
    problems: list[str] = []
    names = known_configs() if configs is None else configs
    for name in names:
        state = look_at_dataset(name, again_after_hours, return_state=True)
        found = state.result(raise_on_failure=False)
        if isinstance(found, Exception):
            problems.append(f"{name}: {found}")
        else:
            sightings += found
    rows = [vars(sighting) for sighting in sightings]
    if rows:
        create_table_artifact(rows, key="labelaudit-new-versions", description="versions without a published audit")
    for problem in problems:
        get_run_logger().error("%s", problem)
    if problems:
        raise DatasetError(f"{len(problems)} of {len(names)} configs could not be looked at. {' '.join(problems)}")
    return rows


def announce(name: str, config: AuditConfig, found: FoundVersion, number: int = 1) -> None:
    """Post the event of a version and remember that it was taken. Raises `AnnouncementError`."""
    post_event(published_event(found, name, number))
    note_announcement(config, found, event_id(found, number), number)


def _announce(name: str, config: AuditConfig, found: FoundVersion, earlier: Announcement | None) -> str:
    """Announce a version; what came of it, in words."""
    number = earlier.number + 1 if earlier else 1
    try:
        announce(name, config, found, number)
    except AnnouncementError as error:
        get_run_logger().warning("%s", error)
        return "could not be announced"
    get_run_logger().info("announced %s (%s)", found.name, found.url)
    return "announced" if number == 1 else f"announced again ({number})"


def _reason_to_wait(earlier: Announcement | None, again_after_hours: float) -> str | None:
    if earlier is None:
        return None
    if earlier.number >= MOST_ANNOUNCEMENTS:
        return f"announced {earlier.number} times without an audit: look at its runs"
    if earlier.age_seconds() < 3600 * again_after_hours:
        return f"announced at {earlier.at}"
    return None


def _sighting(name: str, found: FoundVersion, status: str) -> Sighting:
    return Sighting(name, found.dataset, found.version or found.state[:12], status, found.url)
