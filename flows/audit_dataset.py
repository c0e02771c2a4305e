"""Audit one dataset version. `prefect deploy` and workers load the flow from here."""

from labelaudit.orchestration.audit_dataset import audit_dataset

__all__ = ["audit_dataset"]
