"""Weights of a module from a file of tensors; what could run code is never opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from labelaudit.errors import ConfigError


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a safetensors file, or in one that torch.save wrote (read with `weights_only`).

    Raises `ConfigError` where the file is missing or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise what they like about a wrong file
        first_line = str(error).partition("\n")[0]
        raise ConfigError(
            f"weights {str(path)!r} cannot be loaded ({first_line[:200]}). Give a state dict, saved with "
            "safetensors.torch.save_file or torch.save(module.state_dict(), path)."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(
            f"weights {str(path)!r} cannot be loaded (it holds a {type(state).__name__}, not a dict of tensors). "
            "Give a state dict, saved with safetensors.torch.save_file or torch.save(module.state_dict(), path)."
        )
    return state


def load_weights(module: nn.Module, path: Path, *, but: str | None = None) -> None:
    """Give `module` the weights in `path`; those of the layer named `but` are left as they are.

    Raises `ConfigError` where the file cannot be read or is of another module.
    """
    state = read_weights(path)
    skipped = {f"{but}.{name}" for name, _ in module.get_submodule(but).named_parameters()} if but else set()
    try:
        missing, unexpected = module.load_state_dict(
            {name: value for name, value in state.items() if name not in skipped}, strict=False
        )
    except RuntimeError as error:  # sizes differ
        raise ConfigError(
            f"weights {str(path)!r} are of another network ({str(error).splitlines()[-1].strip()[:200]})."
        ) from error
    if unexpected or set(missing) - skipped:
        raise ConfigError(
            f"weights {str(path)!r} are of another network: {len(set(missing) - skipped)} entries are missing and "
            f"{len(unexpected)} unknown. Save them from the very module that they are for."
        )
