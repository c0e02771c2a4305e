"""Digests of weights that do not depend on the file they are in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch


def state_sha256(state: Mapping[str, torch.Tensor], *extra: str) -> str:
    """Return a digest of names, dtypes, shapes and bytes of tensors, sorted by name, and of further texts."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        # NumPy has no bfloat16, so all dtypes are read as bytes.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    digest.update(json.dumps(extra).encode())
    return digest.hexdigest()
