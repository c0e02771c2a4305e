"""Builds modules from classes and functions, and completes those whose shapes depend on the data."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from labelaudit.errors import ConfigError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.outputs import run_module
from labelaudit.text import listing

# What Python says about an argument that a callable does not take, or that it got in another way.
_REFUSALS = (
    "got an unexpected keyword argument {!r}",
    "{!r} is an invalid keyword argument",
    "got multiple values for argument {!r}",
    "got multiple values for keyword argument {!r}",
)


def call_with_sizes(factory: Callable[..., object], sizes: Kwargs, arguments: Kwargs) -> object:
    """Call `factory` with `arguments`, and with those of `sizes` that it accepts.

    A `**kwargs` parameter says nothing about which names are accepted, so these are tried: if the call refuses one of
    them, it is repeated without it, from the same state of torch's generator of the CPU.

    Raises:
        TypeError: The call does not accept `arguments`.
    """
    named, tried = _accepted(factory, sizes)
    named = {name: value for name, value in named.items() if name not in arguments}
    tried = {name: value for name, value in tried.items() if name not in arguments}
    state = torch.get_rng_state() if tried else None
    while True:
        try:
            return factory(**named, **tried, **arguments)
        except TypeError as error:
            refused = next((name for name in tried if _is_refused(name, error)), None)
            if refused is None or state is None:
                raise
        del tried[refused]
        torch.set_rng_state(state)


def _accepted(factory: Callable[..., object], sizes: Kwargs) -> tuple[dict[str, object], dict[str, object]]:
    """Return the sizes that a callable names as parameters, and those that its `**kwargs` may accept."""
    if getattr(factory, "__init__", None) is nn.Module.__init__:
        return {}, {}  # its signature accepts any arguments, but it rejects them
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # Built-in types have no signature.
        return {}, {}
    # Arguments that a user fixed stay.
    fixed = factory.keywords if isinstance(factory, functools.partial) else {}
    free = {name: value for name, value in sizes.items() if name not in fixed}
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {name for name, parameter in parameters.items() if parameter.kind in keywords}
    forwards = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return (
        {name: value for name, value in free.items() if name in named},
        {name: value for name, value in free.items() if forwards and name not in named},
    )


def _is_refused(name: str, error: TypeError) -> bool:
    return any(refusal.format(name) in str(error) for refusal in _REFUSALS)


@contextlib.contextmanager
def float32_by_default() -> Iterator[None]:
    """Let new tensors be float32 by default, so that the same seed draws the same weights in every process."""
    before = torch.get_default_dtype()
    if before == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def check_has_values(module: nn.Module) -> None:
    """Check that no parameter or buffer of `module` is on the meta device.

    Raises:
        ConfigError: Some are.
    """
    without = [name for name, tensor in _tensors(module).items() if tensor.device.type == "meta"]
    if without:
        raise ConfigError(
            f"The module {type(module).__name__} is on the meta device, so {listing(without, shown=3)} "
            f"{'has' if len(without) == 1 else 'have'} no values. Build it outside of torch.device('meta'), or pass "
            "the function or class that builds it. If it has weights in a file, call to_empty(device='cpu') and load "
            "them first."
        )


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy of `module`."""
    return copy.deepcopy(module, lazy_buffers(module))


def lazy_buffers(module: nn.Module) -> dict[int, object]:
    """Return copies of the buffers without a shape, as a memo for `copy.deepcopy`, because torch cannot copy them."""
    return {
        id(buffer): UninitializedBuffer(device=buffer.device, dtype=buffer.dtype)  # type: ignore[call-arg]
        for buffer in module.buffers()
        if is_lazy(buffer)
    }


def is_incomplete(module: nn.Module) -> bool:
    """Return whether lazy layers of `module` have not yet got their shapes."""
    return any(is_lazy(tensor) for tensor in _tensors(module).values())


@torch.no_grad()
def complete(module: nn.Module, batch: torch.Tensor) -> None:
    """Give the lazy layers of `module` their shapes and initial weights, by running it on a batch (B, ...).

    Raises:
        ConfigError: The module does not run all of its lazy layers.
        TrainingError: The module cannot process the batch.
    """
    run_module(module.eval(), batch)
    left = [name for name, tensor in _tensors(module).items() if is_lazy(tensor)]
    if left:
        raise ConfigError(
            f"The lazy layers of {type(module).__name__} have no shapes after a batch in evaluation mode: "
            f"{listing(left, shown=3)}. Remove these layers, or give them their sizes."
        )


def _tensors(module: nn.Module) -> Mapping[str, torch.Tensor]:
    return dict([*module.named_parameters(), *module.named_buffers()])
