"""The order of versions: by name if the URL contains `{version}`, otherwise by their first audits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from labelaudit.audits.history import AuditRecord, audits_before, newest_of_versions


def record(version: str, day: int, audit_id: str = "a", *, has_version_in_url: bool = False) -> AuditRecord:
    return AuditRecord(
        dataset="fruit",
        version=version,
        audit_id=audit_id,
        created_at=f"2026-01-{day:02d}T00:00:00+00:00",
        folder=f"dataset=fruit/version={version}/audit={audit_id}",
        fingerprint="",
        deciding={},
        summary={},
        gate=None,
        has_version_in_url=has_version_in_url,
    )


# v10 was audited first, v2 twice.
HISTORY = [record("v10", 1), record("v2", 2), record("v1", 3), record("v2", 4, "b")]


def _names(history: list[AuditRecord]) -> list[str]:
    return [one.version for one in newest_of_versions(history)]


def _before(version: str, *, has_version_in_url: bool) -> list[list[str]]:
    found = audits_before(HISTORY, version, has_version_in_url=has_version_in_url)
    return [[one.name for one in audits] for audits in found]


def test_by_time() -> None:
    assert _names(HISTORY) == ["v10", "v2", "v1"]
    assert newest_of_versions(HISTORY)[1].audit_id == "b"
    assert _before("v1", has_version_in_url=False) == [["v10/a"], ["v2/a", "v2/b"]]
    assert _before("v10", has_version_in_url=False) == []
    assert _before("v3", has_version_in_url=False) == [["v10/a"], ["v2/a", "v2/b"], ["v1/a"]]


def test_by_name() -> None:
    assert _before("v1", has_version_in_url=True) == []
    assert _before("v3", has_version_in_url=True) == [["v1/a"], ["v2/a", "v2/b"]]
    assert _before("v11", has_version_in_url=True) == [["v1/a"], ["v2/a", "v2/b"], ["v10/a"]]


def test_the_newest_audit_decides_the_order() -> None:
    assert _names([*HISTORY, record("v3", 5, has_version_in_url=True)]) == ["v1", "v2", "v3", "v10"]
    assert _names([record("v11", 1, has_version_in_url=True), *HISTORY]) == ["v10", "v11", "v2", "v1"]
    assert newest_of_versions([]) == []


@given(st.permutations(["v1", "v2", "v9", "v10", "v10.1", "v11"]))
def test_the_order_of_audits_does_not_matter_if_the_url_has_versions(versions: list[str]) -> None:
    history = [record(version, day + 1, has_version_in_url=True) for day, version in enumerate(versions)]
    assert _names(history) == ["v1", "v2", "v9", "v10", "v10.1", "v11"]
    for version in versions:
        before = audits_before(history, version, has_version_in_url=True)
        assert [audits[0].version for audits in before] == _names(history)[: _names(history).index(version)]
