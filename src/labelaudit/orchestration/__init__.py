"""Audits as Prefect flows: tasks, artifacts, events and fold runs. The only importer of prefect and ray."""
