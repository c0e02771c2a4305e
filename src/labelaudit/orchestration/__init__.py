"""Audits as Prefect flows: tasks, artifacts, events, fold runs. The only importer of prefect and ray."""
