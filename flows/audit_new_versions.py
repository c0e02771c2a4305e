"""Announce new versions of datasets. `prefect deploy` and workers load the flow from here."""

from labelaudit.orchestration.audit_new_versions import audit_new_versions

__all__ = ["audit_new_versions"]
