"""What all estimators around a torch module share: nested parameters, the types of X, pickling."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data
from torch import nn
from torch.utils.data import Dataset

from labelaudit.errors import ConfigError, InputError, TrainingError
from labelaudit.model.aliases import Container
from labelaudit.model.batches import Rows, as_numpy, bind_rows, check_is_array_like, check_kind, is_sparse_tensor
from labelaudit.model.construction import call_with_sizes, check_has_values, copied, float32_by_default, lazy_buffers
from labelaudit.model.device import input_dtype
from labelaudit.model.items import dataset_shape
from labelaudit.text import listing


class TorchEstimator(BaseEstimator):  # type: ignore[misc]
    """Base class of the estimators around a torch module.

    Arguments with a nested name, such as `module__hidden`, are ordinary parameters: `get_params`, `set_params`, `clone`
    and searches support them.
    """

    # Parameters that accept arguments with nested names.
    _nesting: ClassVar[tuple[str, ...]] = ("module",)

    module: Callable[..., nn.Module] | nn.Module
    device: str
    precision: str
    dataset: Container
    num_workers: int
    random_state: int | np.random.RandomState | None

    # Names of the columns of the DataFrame that was bound in `fit`; None for other data.
    _dataset_columns: list[object] | None = None

    # Arguments by nested name. The mapping is replaced and never changed, because copies of an estimator share it.
    _arguments: Mapping[str, object] = MappingProxyType({})

    def _store_nested(self, arguments: Mapping[str, object]) -> None:
        for name in arguments:
            if not self._is_nested(name):
                prefixes = " or ".join(f"{prefix}__" for prefix in self._nesting)
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}. "
                    f"Use one of {', '.join(self._get_param_names())}, "
                    f"or a name that starts with {prefixes}."
                )
        self._arguments = {**self._arguments, **arguments}

    def _is_nested(self, name: str) -> bool:
        prefix, separator, rest = name.partition("__")
        return prefix in self._nesting and bool(separator and rest)

    def _nested(self, prefix: str) -> dict[str, object]:
        """Return the arguments given as `prefix__<name>`, by name."""
        start = f"{prefix}__"
        return {name.removeprefix(start): value for name, value in self._arguments.items() if name.startswith(start)}

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return parameters by name, including nested names."""
        return {**super().get_params(deep=deep), **self._arguments}

    def set_params(self, **params: object) -> Self:
        """Set parameters by name. Nested names may be new."""
        super().set_params(**{name: value for name, value in params.items() if not self._is_nested(name)})
        self._store_nested({name: value for name, value in params.items() if self._is_nested(name)})
        return self

    def __sklearn_clone__(self) -> Self:
        # The bound dataset is shared, because scikit-learn would copy it for every fold. It is only read.
        bare = self._attempt()
        bare.dataset = None
        if isinstance(self.module, nn.Module):
            bare.module = nn.Identity  # copied below, because deepcopy fails for lazy layers
        cloned: Self = BaseEstimator.__sklearn_clone__(bare)
        cloned.dataset = self.dataset
        if isinstance(self.module, nn.Module):
            cloned.module = copied(self.module)
        return cloned

    def _attempt(self) -> Self:
        """Return a shallow copy to fit, so that a failed fit changes nothing."""
        attempt = object.__new__(type(self))
        attempt.__dict__.update(self.__dict__)
        return attempt

    def _adopt(self, attempt: Self) -> Self:
        self.__dict__.clear()
        self.__dict__.update(attempt.__dict__)
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        memo[id(self.dataset)] = self.dataset  # shared, as in clone
        if isinstance(self.module, nn.Module):
            memo.update(lazy_buffers(self.module))
        duplicate = object.__new__(type(self))
        duplicate.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return duplicate

    def __getstate__(self) -> dict[str, object]:
        # Pickles contain CPU tensors, so they can be opened on machines without a GPU.
        state: dict[str, object] = dict(super().__getstate__())
        for name in ("module", "module_"):
            module = state.get(name)
            if isinstance(module, nn.Module) and not _is_on_cpu(module):
                state[name] = copy.deepcopy(module).cpu()
        if state.get("_optimizer") is not None and state["device_"] != "cpu":
            state["_optimizer"] = None  # its momentum is on the GPU, so partial_fit starts with a new one
        return state

    def _input(self, X: Container, *, reset: bool) -> tuple[Container, torch.Tensor | None]:
        """Return the data, and the row numbers in it that X contains (None: all)."""
        if reset and (self.dataset is not None or isinstance(X, Dataset)):
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
        if self.dataset is not None:
            data = as_numpy(self.dataset) if is_sparse_tensor(self.dataset) else self.dataset
            check_kind(data)
            self._check_names(data, reset=reset)
            return data, row_numbers(X, row_count(data))
        if isinstance(X, Dataset):
            check_kind(X)
            return X, None
        check_is_array_like(X)
        values = as_numpy(X)
        try:
            data = validate_data(
                self, values, reset=reset, accept_sparse="csr", dtype="numeric", allow_nd=True, ensure_all_finite=True
            )
        except ValueError as error:
            shapes = different_shapes(values)
            if shapes is None:
                raise
            raise InputError(
                f"X has examples of different shapes, such as {shapes[0]} and {shapes[1]}, but all must have the same. "
                "Pad, crop or resize them."
            ) from error
        return data, None

    def _check_names(self, data: Container, *, reset: bool) -> None:
        """Remember the columns of a bound DataFrame, or check that they are those of `fit`."""
        names: list[object] | None = list(data.columns) if isinstance(data, pd.DataFrame) else None
        if reset:
            self._dataset_columns = names
        elif names is not None and self._dataset_columns is not None and names != self._dataset_columns:
            raise InputError(
                f"The bound DataFrame has the columns {listing(names)}, but fit was called with "
                f"{listing(self._dataset_columns)}. Bind the same columns in the same order."
            )

    def _new_module(self, **sizes: object) -> nn.Module:
        """Return a fresh module: a copy of `module`, or what it returns."""
        arguments = self._nested("module")
        if isinstance(self.module, nn.Module):
            if arguments:
                raise ConfigError(
                    f"The module is already a {type(self.module).__name__}, so {_names('module', arguments)} would "
                    "have no effect. Pass its class, or remove these arguments."
                )
            check_has_values(self.module)
            return copied(self.module)
        if not callable(self.module):
            raise ConfigError(
                f"The module {self.module!r} is a {type(self.module).__name__}. Pass a torch.nn.Module, or a class "
                "or function that returns one."
            )
        try:
            with float32_by_default():
                module = call_with_sizes(self.module, sizes, arguments)
        except TypeError as error:
            raise ConfigError(
                f"The module cannot be built with {_names('module', arguments) or 'no arguments of its own'}: {error}. "
                "Change the module__ arguments, or the parameters of the class or function."
            ) from error
        if not isinstance(module, nn.Module):
            raise TrainingError(
                f"The callable passed as module returned a {type(module).__name__}, not a torch.nn.Module. "
                "Change what it returns."
            )
        check_has_values(module)
        return module

    def _bind(
        self, data: Container, index: torch.Tensor | None, device: torch.device, module: nn.Module, precision: str
    ) -> Rows:
        return bind_rows(
            data,
            device,
            module,
            floats=input_dtype(precision),
            num_workers=self.num_workers,
            first=first_row(index),
        )

    def _seed(self, position: int = 0) -> int:
        """Return the seed for the training that starts after `position` epochs."""
        if isinstance(self.random_state, int | np.integer):
            drawn = int(self.random_state)
        else:
            drawn = int(check_random_state(self.random_state).randint(2**31))
        return int(np.random.SeedSequence([drawn, position]).generate_state(1)[0])


def _is_on_cpu(module: nn.Module) -> bool:
    return all(tensor.device.type == "cpu" for tensor in (*module.parameters(), *module.buffers()))


def different_shapes(values: Container) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return two different shapes of elements of a list or an array of objects; None if there are none."""
    if not isinstance(values, list | tuple) and getattr(values, "dtype", None) != np.dtype(object):
        return None
    shapes = set()
    for value in values:
        with contextlib.suppress(ValueError):  # an element may be ragged itself
            shapes.add(np.shape(value))
        if len(shapes) == 2:
            smaller, larger = sorted(shapes)
            return smaller, larger
    return None


def row_count(data: Container) -> int:
    """Return the number of rows of X or of a dataset."""
    return int(data.shape[0]) if sparse.issparse(data) else len(data)


def first_row(index: torch.Tensor | None) -> int:
    """Return the first of the rows `index` (None: all). Rows that are not in X are never read."""
    return 0 if index is None else int(index[0])


def example_shape(data: Container, index: torch.Tensor | None = None) -> tuple[int, ...]:
    """Return the shape of one example of `data`, whose rows `index` are used."""
    if isinstance(data, Dataset):
        return dataset_shape(data, first_row(index))
    return tuple(int(size) for size in data.shape[1:])


def check_shape(shape: tuple[int, ...], fitted: tuple[int, ...]) -> None:
    """Check that examples have the shape that they had in `fit`.

    Raises:
        InputError: They have another shape.
    """
    if shape != fitted:
        raise InputError(
            f"X has examples of shape {shape}, but fit was called with {fitted}. Pass examples of that shape."
        )


def row_numbers(X: Container, length: int) -> torch.Tensor:
    """Return X (n,) or (n, 1) as row numbers (n,) int64 of a dataset with `length` rows.

    Raises:
        InputError: X is empty, not integers, or out of range.
    """
    numbers = np.asarray(as_numpy(X))
    numbers = numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(
            f"X has dtype {numbers.dtype} and shape {numbers.shape}, but with a bound dataset it contains row numbers. "
            "Pass integers of shape (n,)."
        )
    if len(numbers) == 0:
        raise InputError(f"X is empty. Pass row numbers of the bound dataset, 0 to {length - 1}.")
    if numbers.min() < 0 or numbers.max() >= length:
        raise InputError(
            f"X contains the row numbers {numbers.min()} to {numbers.max()}, but the bound dataset has {length} rows. "
            f"Pass numbers from 0 to {length - 1}."
        )
    return torch.from_numpy(numbers.astype(np.int64))


def _names(prefix: str, arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{prefix}__{name}" for name in arguments)
