"""Weights of a module from a file of tensors. Files that could run code are never opened."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from labelaudit.errors import ConfigError


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict in a safetensors file, or in a file of torch.save (read with `weights_only`).

    Raises:
        ConfigError: The file is missing or contains something else.
    """
    try:
        if path.suffix == ".safetensors":
            state: object = safetensors.torch.load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise many types for a wrong file
        first_line = str(error).partition("\n")[0]
        raise ConfigError(
            f"The weights file {str(path)!r} cannot be loaded ({first_line[:200]}). Use a state dict, saved with "
            "safetensors.torch.save_file or torch.save(module.state_dict(), path)."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(
            f"The weights file {str(path)!r} cannot be loaded (it contains a {type(state).__name__}, not a dict of "
            "tensors). Use a state dict, saved with safetensors.torch.save_file or "
            "torch.save(module.state_dict(), path)."
        )
    return state


def load_weights(module: nn.Module, path: Path, *, skip_layer: str | None = None) -> None:
    """Load the weights in `path` into `module`, except those of the layer named `skip_layer`.

    Raises:
        ConfigError: The file cannot be read, or it belongs to another module.
    """
    state = read_weights(path)
    skipped = set()
    if skip_layer:
        skipped = {f"{skip_layer}.{name}" for name, _ in module.get_submodule(skip_layer).named_parameters()}
    try:
        missing, unexpected = module.load_state_dict(
            {name: value for name, value in state.items() if name not in skipped}, strict=False
        )
    except RuntimeError as error:  # shapes differ
        raise ConfigError(
            f"The weights file {str(path)!r} belongs to another network "
            f"({str(error).splitlines()[-1].strip()[:200]}). Use weights of this network."
        ) from error
    if unexpected or set(missing) - skipped:
        raise ConfigError(
            f"The weights file {str(path)!r} belongs to another network: {len(set(missing) - skipped)} entries are "
            f"missing and {len(unexpected)} are unknown. Use weights that were saved from this network."
        )
