"""What all estimators around a torch module share: parameters by nested names, X in its many forms, pickles."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data
from torch import nn
from torch.utils.data import Dataset

from labelaudit.errors import ConfigError, InputError, TrainingError
from labelaudit.model.batches import Rows, as_numpy, bind_rows, check_kind, dataset_shape, is_sparse_tensor
from labelaudit.model.device import input_dtype


class TorchEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators around a torch module.

    Arguments with a nested name, such as `module__hidden`, are parameters like any other: `get_params`,
    `set_params`, `clone` and searches know them.
    """

    # Parameters whose arguments have nested names.
    _nesting: ClassVar[tuple[str, ...]] = ("module",)

    module: Any
    device: str
    precision: str
    dataset: Any
    num_workers: int
    random_state: Any

    # By their nested names; replaced and never changed, because copies of an estimator share it.
    _arguments: Mapping[str, Any] = MappingProxyType({})

    def _store_nested(self, arguments: dict[str, Any]) -> None:
        for name in arguments:
            if not self._is_nested(name):
                prefixes = " or ".join(f"{prefix}__" for prefix in self._nesting)
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(self._get_param_names())}, "
                    f"and those that start with {prefixes}."
                )
        self._arguments = {**self._arguments, **arguments}

    def _is_nested(self, name: str) -> bool:
        prefix, separator, rest = name.partition("__")
        return prefix in self._nesting and bool(separator and rest)

    def _nested(self, prefix: str) -> dict[str, Any]:
        """The arguments given as `prefix__<name>`, by name."""
        start = f"{prefix}__"
        return {name.removeprefix(start): value for name, value in self._arguments.items() if name.startswith(start)}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, those with nested names among them."""
        return {**super().get_params(deep=deep), **self._arguments}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; nested names need not have been given before."""
        super().set_params(**{name: value for name, value in params.items() if not self._is_nested(name)})
        self._store_nested({name: value for name, value in params.items() if self._is_nested(name)})
        return self

    def __sklearn_clone__(self) -> Self:
        # The bound dataset is shared: it is only read, and scikit-learn would copy it for every fold.
        bare = self._attempt()
        bare.dataset = None
        twin: Self = BaseEstimator.__sklearn_clone__(bare)
        twin.dataset = self.dataset
        return twin

    def _attempt(self) -> Self:
        """A copy to fit in place of this one, so that a fit that fails leaves everything as it was."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def _adopt(self, attempt: Self) -> Self:
        self.__dict__.clear()
        self.__dict__.update(attempt.__dict__)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self.dataset)] = self.dataset  # shared, as by clone
        twin = object.__new__(type(self))
        twin.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # Pickles hold tensors of the CPU, so that they open on machines without a GPU.
        state: dict[str, Any] = dict(super().__getstate__())
        for name in ("module", "module_"):
            if isinstance(state.get(name), nn.Module) and not _is_on_cpu(state[name]):
                state[name] = copy.deepcopy(state[name]).cpu()
        if state.get("_optimizer") is not None and state["device_"] != "cpu":
            state["_optimizer"] = None  # its momentum lies on the GPU: partial_fit begins a new one
        return state

    def _input(self, X: Any, *, reset: bool) -> tuple[Any, torch.Tensor | None]:
        """What rows are taken from, and which rows of it X names (None: all)."""
        if reset and (self.dataset is not None or isinstance(X, Dataset)):
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
        if self.dataset is not None:
            data = as_numpy(self.dataset) if is_sparse_tensor(self.dataset) else self.dataset
            check_kind(data)
            return data, row_numbers(X, row_count(data))
        if isinstance(X, Dataset):
            check_kind(X)
            return X, None
        data = validate_data(
            self, as_numpy(X), reset=reset, accept_sparse="csr", dtype="numeric", allow_nd=True, ensure_all_finite=True
        )
        return data, None

    def _new_module(self, **sizes: Any) -> nn.Module:
        """A fresh module: a copy where `module` is one, else what it returns when called."""
        arguments = self._nested("module")
        if isinstance(self.module, nn.Module):
            if arguments:
                raise ConfigError(
                    f"module is a {type(self.module).__name__} already, so that {_names('module', arguments)} "
                    "would be lost: give the class, or leave them out."
                )
            return copy.deepcopy(self.module)
        if not callable(self.module):
            raise ConfigError(
                f"module {self.module!r} is a {type(self.module).__name__}; give a class or function that returns "
                "a torch.nn.Module, or a torch.nn.Module."
            )
        module = self.module(**{**_accepted(self.module, sizes), **arguments})
        if not isinstance(module, nn.Module):
            raise TrainingError(f"module returned a {type(module).__name__}; it must return a torch.nn.Module.")
        return module

    def _bind(
        self, data: Any, index: torch.Tensor | None, device: torch.device, module: nn.Module, precision: str
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
        """The seed of the work that begins after `position` epochs."""
        if isinstance(self.random_state, int | np.integer):
            drawn = int(self.random_state)
        else:
            drawn = int(check_random_state(self.random_state).randint(2**31))
        return int(np.random.SeedSequence([drawn, position]).generate_state(1)[0])


def _is_on_cpu(module: nn.Module) -> bool:
    return all(tensor.device.type == "cpu" for tensor in (*module.parameters(), *module.buffers()))


def row_count(data: Any) -> int:
    return int(data.shape[0]) if sparse.issparse(data) else len(data)


def first_row(index: torch.Tensor | None) -> int:
    """The first of the rows `index` (None: all). What X does not name is never read."""
    return 0 if index is None else int(index[0])


def example_shape(data: Any, index: torch.Tensor | None = None) -> tuple[int, ...]:
    """The shape of one example of `data`, of which the rows `index` are used."""
    if isinstance(data, Dataset):
        return dataset_shape(data, first_row(index))
    return tuple(int(size) for size in data.shape[1:])


def check_shape(shape: tuple[int, ...], fitted: tuple[int, ...]) -> None:
    if shape != fitted:
        raise InputError(f"X has examples of shape {shape}; the fit saw {fitted}.")


def row_numbers(X: Any, length: int) -> torch.Tensor:
    """X (n,) or (n, 1) as numbers of rows of a dataset with `length` rows. Raises `InputError`."""
    numbers = np.asarray(as_numpy(X))
    numbers = numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(
            f"with a bound dataset X holds row numbers, integers of shape (n,); got {numbers.dtype} {numbers.shape}."
        )
    if len(numbers) == 0:
        raise InputError(f"X names no row of the bound dataset of {length}.")
    if numbers.min() < 0 or numbers.max() >= length:
        raise InputError(
            f"X asks for rows {numbers.min()} to {numbers.max()} of a dataset of {length}: give 0 to {length - 1}."
        )
    return torch.from_numpy(numbers.astype(np.int64))


def _accepted(factory: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a callable names, or all of them where it takes any."""
    if getattr(factory, "__init__", None) is nn.Module.__init__:
        return {}  # it says that it takes any, and refuses them
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # built-in types have no signature
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}


def _names(prefix: str, arguments: dict[str, Any]) -> str:
    return ", ".join(f"{prefix}__{name}" for name in arguments)
