"""Tensors over the memory of arrays."""

from __future__ import annotations

import numbers

import numpy as np
import torch

from labelaudit.errors import InputError

# Dtypes that `index_select` supports. Other NumPy dtypes are converted as a whole.
_INDEXABLE = frozenset(
    np.dtype(name) for name in ("float32", "float64", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")
)


def shared_tensor(array: np.ndarray) -> torch.Tensor:
    """Return a read-only tensor over the memory of `array`, or a copy if torch cannot share it.

    The array may be read-only. Never write to the tensor.

    Raises:
        InputError: The array contains something else than real numbers.
    """
    if array.dtype.kind not in "biuf":
        array = _numbers(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype not in _INDEXABLE:
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    if not array.flags.writeable:
        # torch warns about read-only arrays, so the same memory is presented as writeable.
        array = np.asarray(_Writeable(array))
    return torch.from_numpy(array)


def _numbers(array: np.ndarray) -> np.ndarray:
    """Return an array of objects as float64, if all of them are numbers."""
    if array.dtype == object and all(isinstance(value, numbers.Real) for value in array.flat):
        return array.astype(np.float64)
    raise InputError(
        f"An array of inputs has dtype {array.dtype}, but inputs are real numbers. Convert texts, dates, complex "
        "numbers and objects to numbers first."
    )


class _Writeable:
    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
