"""Names for values of libraries that have no exact type. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

# X, y, groups or a dataset: what scikit-learn and torch accept has no common type. The code checks it when it is used.
Container: TypeAlias = Any
# Arguments by name, for a callable that the user chooses.
Kwargs: TypeAlias = Mapping[str, Any]
# A parameter group of an optimizer: `params`, and its options.
ParamGroup: TypeAlias = dict[str, Any]
# A state dict: tensors and plain values by name, nested.
State: TypeAlias = dict[str, Any]
