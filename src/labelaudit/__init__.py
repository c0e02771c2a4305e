"""Automatic audits of label quality.

`TorchClassifier`, `TorchFeatures` and `Checkpoints` are offered here; they are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelaudit.model.checkpoints import Checkpoints
    from labelaudit.model.classifier import TorchClassifier
    from labelaudit.model.features import TorchFeatures

__all__ = ["Checkpoints", "TorchClassifier", "TorchFeatures"]

_PLACES = {
    "Checkpoints": "labelaudit.model.checkpoints",
    "TorchClassifier": "labelaudit.model.classifier",
    "TorchFeatures": "labelaudit.model.features",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'labelaudit' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
