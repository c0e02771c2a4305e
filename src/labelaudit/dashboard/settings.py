"""What a dashboard was started with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Settings:
    """url: of an output, a dataset or an audit; reviewer: who decides, where nobody says else."""

    url: str
    read_only: bool = False
    reviewer: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        return cls(**json.loads(text))
