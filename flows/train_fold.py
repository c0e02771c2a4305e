"""Train one fold of an audit. `prefect deploy` and workers load the flow from here."""

from labelaudit.orchestration.train_fold import train_fold

__all__ = ["train_fold"]
