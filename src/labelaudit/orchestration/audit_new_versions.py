"""The flow `audit-new-versions`, called the sweep: it announces versions that have no published audit."""

from __future__ import annotations

from dataclasses import dataclass

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

# After so many announcements without an audit, a person has to find the cause.
MAX_ANNOUNCEMENTS = 3
# Per dataset and sweep, so that a dataset with many old versions does not fill the queue.
MAX_PER_SWEEP = 10


@dataclass(frozen=True)
class UnauditedVersion:
    """A version without a published audit; `status` says what the sweep did about it."""

    config: str
    dataset: str
    version: str
    status: str
    url: str


@task(name="announce-versions", task_run_name="announce-versions-{name}", **TASK_OPTIONS)
def announce_versions(name: str, again_after_hours: float) -> list[UnauditedVersion]:
    """Announce the versions of one config that have no audit, oldest first."""
    config = referenced_config(name)
    versions = find_versions(config)
    incomplete = [_unaudited(name, found, found.incomplete) for found in versions if found.incomplete is not None]
    complete: list[UnauditedVersion] = []
    tried = 0
    for found in unaudited(config, versions):
        earlier = announcement_of(config, found)
        reason = _reason_to_wait(earlier, again_after_hours)
        if reason is None and tried == MAX_PER_SWEEP:
            reason = f"waits for the next sweep: one sweep announces {MAX_PER_SWEEP} versions of a dataset"
        tried += reason is None
        complete.append(_unaudited(name, found, reason or _announce(name, config, found, earlier)))
    return incomplete + complete


@flow(name="audit-new-versions", flow_run_name="sweep", validate_parameters=True)
def audit_new_versions(configs: list[str] | None = None, again_after_hours: float = 24.0) -> list[dict[str, str]]:
    """Announce every complete dataset version without a published audit, once.

    The event `labelaudit.dataset.published` starts the deployment `audit-dataset/on-publish`. A sweep announces at most
    10 versions of a dataset, oldest first; the next sweep announces the next ones. If one dataset cannot be read, the
    others are still announced.

    Args:
        configs: Names of YAML files, as for `audit-dataset`; by default, all files below LABELAUDIT_CONFIGS.
        again_after_hours: If a version still has no audit after this time, it is announced again, up to three times in
            total.

    Returns:
        One dict per version without an audit: config, dataset, version, status and url.

    Raises:
        DatasetError: A dataset could not be read.
    """
    unaudited_versions: list[UnauditedVersion] = []
    problems: list[str] = []
    names = known_configs() if configs is None else configs
    for name in names:
        state = announce_versions(name, again_after_hours, return_state=True)
        found = state.result(raise_on_failure=False)
        if isinstance(found, Exception):
            problems.append(f"{name}: {found}")
        else:
            unaudited_versions += found
    rows: list[dict[str, str]] = [vars(version) for version in unaudited_versions]
    if rows:
        create_table_artifact(rows, key="labelaudit-new-versions", description="versions without a published audit")
    for problem in problems:
        get_run_logger().error("%s", problem)
    if problems:
        raise DatasetError(f"The sweep failed for {len(problems)} of {len(names)} configs. {' '.join(problems)}")
    return rows


def announce(name: str, config: AuditConfig, found: FoundVersion, number: int = 1) -> None:
    """Post the event of a version, and record the announcement.

    Raises:
        AnnouncementError: The Prefect API did not accept the event.
    """
    post_event(published_event(found, name, number))
    note_announcement(config, found, event_id(found, number), number)


def _announce(name: str, config: AuditConfig, found: FoundVersion, earlier: Announcement | None) -> str:
    """Announce a version and return the outcome in words."""
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
    if earlier.number >= MAX_ANNOUNCEMENTS:
        return f"announced {earlier.number} times without an audit: look at its runs"
    if earlier.age_seconds() < 3600 * again_after_hours:
        return f"announced at {earlier.at}"
    return None


def _unaudited(name: str, found: FoundVersion, status: str) -> UnauditedVersion:
    return UnauditedVersion(name, found.dataset, found.version or found.state[:12], status, found.url)
