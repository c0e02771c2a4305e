"""Encode one shard of an audit. `prefect deploy` and workers load the flow from here."""

from labelaudit.orchestration.encode_shard import encode_one_shard

__all__ = ["encode_one_shard"]
