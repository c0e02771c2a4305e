"""Settings of a dashboard."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Settings:
    """How a dashboard was started."""

    url: str  # of an output, a dataset, a version or an audit
    read_only: bool = False
    reviewer: str = ""  # the name that the sidebar begins with

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        return cls(**json.loads(text))
