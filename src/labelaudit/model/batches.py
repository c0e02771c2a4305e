"""Batches of the data that an estimator trains on, taken by row number. Only the batch is copied.

Each kind of data has a class with the shape of one example, `take(rows)`, which returns one batch on the device, and
`batches(chunks)`, which returns many. Data that fits is moved to a GPU as a whole. On a CPU it is not copied, so folds
that train side by side share it. A torch Dataset is read by a DataLoader.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from labelaudit.errors import InputError
from labelaudit.model.aliases import Container
from labelaudit.model.array_tensors import shared_tensor
from labelaudit.model.device import free_bytes
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.items import ItemInputs, as_batch, check_length
from labelaudit.text import listing

# Data is copied to a GPU as a whole if it needs less than this share of the free memory. The rest is for activations
# and for other folds on the same GPU.
_DEVICE_SHARE = 0.25
_HUGGING_FACE = "For a dataset of Hugging Face, call set_format('torch') first."
_BY_NAME = (
    "Pass the array or tensor of one name, or a map-style torch Dataset that returns one value of each item. "
    + _HUGGING_FACE
)


class Rows(Protocol):
    """The examples that a network trains on or predicts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, as the network gets it."""

    @property
    def numbered_on(self) -> torch.device:
        """The device on which `take` expects row numbers. Others are copied, which waits for a GPU."""

    def __len__(self) -> int: ...

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the examples `rows` (B,) int64 as one batch (B, *shape) on the device, copied."""

    def batches(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the batch of each chunk, in order."""


class InMemory(ABC):
    """Base of rows in memory, which are taken only when needed."""

    @abstractmethod
    def take(self, rows: torch.Tensor) -> torch.Tensor: ...

    def batches(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        return map(self.take, chunks)


class ArrayRows(InMemory):
    """Rows of a tensor or an array (N, ...). Batches have the dtype `floats`, or `integers` for integers."""

    def __init__(
        self, data: torch.Tensor | np.ndarray, device: torch.device, *, floats: torch.dtype, integers: torch.dtype
    ) -> None:
        values = data.detach() if isinstance(data, torch.Tensor) else shared_tensor(data)
        self._data = _on_device_if_it_fits(values, device)
        self._device = device
        self.numbered_on = self._data.device
        self._dtype = floats if _is_fractional(values.dtype) else integers
        if self._dtype == torch.uint8 and values.dtype != torch.uint8:
            _check_bytes(values)
        self.shape = tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self._data)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return self._data.index_select(0, rows.to(self.numbered_on)).to(self._device, self._dtype)


class ImageRows(InMemory):
    """Images (C, H, W) uint8 from an array of pixels, by position. Batches are channels-last."""

    def __init__(self, images: ImageInputs, device: torch.device, *, integers: torch.dtype) -> None:
        self._device = device
        self._dtype = integers
        self.shape = images.shape[1:]
        self._pixels = _on_device_if_it_fits(shared_tensor(images.pixels), device)
        self.numbered_on = self._pixels.device
        self._positions = torch.from_numpy(np.array(images.positions, np.int64)).to(self.numbered_on)

    def __len__(self) -> int:
        return len(self._positions)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        positions = self._positions.index_select(0, rows.to(self.numbered_on))
        pixels = self._pixels.index_select(0, positions).to(self._device)
        return pixels.permute(0, 3, 1, 2).to(self._dtype)


class SparseRows(InMemory):
    """Rows of a CSR matrix (N, D) as `floats`: sparse COO batches if `keep_sparse`, else dense ones."""

    def __init__(
        self, matrix: sparse.csr_matrix, device: torch.device, *, floats: torch.dtype, keep_sparse: bool
    ) -> None:
        self._indptr = _on_device_if_it_fits(torch.from_numpy(matrix.indptr.astype(np.int64)), device)
        self.numbered_on = self._indptr.device
        self._indices = _on_device_if_it_fits(torch.from_numpy(matrix.indices.astype(np.int64)), device)
        self._values = _on_device_if_it_fits(shared_tensor(matrix.data), device)
        self._device, self._floats = device, floats
        self._keep_sparse = keep_sparse
        self.shape = (matrix.shape[1],)

    def __len__(self) -> int:
        return len(self._indptr) - 1

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.to(self.numbered_on)
        starts, lengths = self._indptr[rows], self._indptr[rows + 1] - self._indptr[rows]
        ends = lengths.cumsum(0)
        row_of = torch.repeat_interleave(torch.arange(len(rows), device=self.numbered_on), lengths)
        picked = torch.arange(len(row_of), device=self.numbered_on) - (ends - lengths)[row_of] + starts[row_of]
        columns = self._indices[picked.to(self._indices.device)].to(self._device)
        values = self._values[picked.to(self._values.device)].to(self._device, self._floats)
        batch = torch.sparse_coo_tensor(
            torch.stack([row_of.to(self._device), columns]),
            values,
            (len(rows), *self.shape),
            is_coalesced=True,
            check_invariants=False,
        )
        return batch if self._keep_sparse else batch.to_dense()


class DatasetRows:
    """Items of a map-style torch Dataset: x, or (x, ...). Only x is used.

    With `num_workers` > 0, so many spawned processes read ahead. They keep running between epochs.
    """

    numbered_on = torch.device("cpu")

    def __init__(
        self,
        dataset: Dataset[object],
        device: torch.device,
        *,
        floats: torch.dtype,
        integers: torch.dtype,
        num_workers: int = 0,
        first: int = 0,
    ) -> None:
        self._inputs = ItemInputs(dataset)
        self._device = device
        self._floats, self._integers = floats, integers
        self._chunks = _Chunks()
        example = torch.as_tensor(self._inputs[first])
        self._loader = DataLoader(
            self._inputs,
            batch_sampler=self._chunks,
            collate_fn=as_batch,
            num_workers=num_workers,
            multiprocessing_context="spawn" if num_workers else None,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda" and example.device.type == "cpu",
            generator=torch.Generator().manual_seed(0),  # the default is the global one
        )
        self.shape = tuple(example.shape)

    def __len__(self) -> int:
        return len(self._inputs)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return next(self.batches([rows]))

    def batches(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        self._chunks.chunks = [chunk.tolist() for chunk in chunks]
        for batch in _without_traceback(self._loader):
            dtype = self._floats if _is_fractional(batch.dtype) else self._integers
            yield batch.to(self._device, dtype, non_blocking=True)


def _without_traceback(batches: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield batches of a DataLoader, whose processes put their traceback into the message of an error."""
    try:
        yield from batches
    except InputError as error:
        message = str(error).strip().splitlines()[-1]
        raise InputError(message.removeprefix(f"{InputError.__module__}.{InputError.__name__}: ")) from error


class _Chunks:
    """The batches of the next pass of a DataLoader."""

    def __init__(self) -> None:
        self.chunks: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.chunks)

    def __len__(self) -> int:
        return len(self.chunks)


def bind_rows(
    data: Container,
    device: torch.device,
    module: nn.Module,
    *,
    floats: torch.dtype = torch.float32,
    num_workers: int = 0,
    first: int = 0,
) -> Rows:
    """Return `data` as rows on `device`: fractions as `floats`, integers in the dtype that `module` takes.

    Args:
        data: Tensor, array, DataFrame of numbers, scipy sparse matrix, map-style torch Dataset or `ImageInputs`.
        num_workers: Processes that read a Dataset ahead.
        first: The row of a Dataset that is read to get the shape of an example.

    Raises:
        InputError: The data has another type.
    """
    check_kind(data)
    integers = integer_dtype(module, floats)
    if isinstance(data, ImageInputs):
        return ImageRows(data, device, integers=integers)
    if sparse.issparse(data):
        matrix = data.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        keep_sparse = bool(getattr(module, "accepts_sparse", False))
        return SparseRows(matrix, device, floats=floats, keep_sparse=keep_sparse)
    if isinstance(data, pd.DataFrame):
        return ArrayRows(frame_values(data), device, floats=floats, integers=integers)
    if isinstance(data, Dataset):
        return DatasetRows(data, device, floats=floats, integers=integers, num_workers=num_workers, first=first)
    return ArrayRows(data, device, floats=floats, integers=integers)


def frame_values(frame: pd.DataFrame) -> np.ndarray:
    """Return the numbers of a DataFrame as an array (N, columns). Missing values of nullable columns become NaN.

    Raises:
        InputError: A column does not contain numbers.
    """
    check_columns(frame)
    values: np.ndarray = frame.to_numpy()
    nullable = values.dtype == object and not any(dtype == np.dtype(object) for dtype in frame.dtypes)
    return frame.to_numpy(np.float64, na_value=np.nan) if nullable else values


def check_columns(frame: pd.DataFrame) -> None:
    """Check that the columns of a DataFrame may contain numbers. Columns of objects may.

    Raises:
        InputError: A column contains texts, dates or other categories.
    """
    others = [name for name, dtype in frame.dtypes.items() if not _may_be_numbers(dtype)]
    if others:
        raise InputError(
            f"The DataFrame has columns that do not contain numbers: {listing(others)}. Encode them as numbers, or "
            "leave them out."
        )


def _may_be_numbers(dtype: np.dtype | pd.api.extensions.ExtensionDtype) -> bool:
    kind = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype
    return kind == np.dtype(object) or pd.api.types.is_numeric_dtype(kind)


def check_kind(data: object) -> None:
    """Check that `bind_rows` accepts data of this type.

    Raises:
        InputError: It does not, or a Dataset has no items.
    """
    known = isinstance(data, ImageInputs | pd.DataFrame | torch.Tensor | np.ndarray | Dataset) or sparse.issparse(data)
    if not known or isinstance(data, IterableDataset):
        kind = type(data)
        raise InputError(
            f"X or dataset is a {kind.__name__}, which is not supported. Use a tensor, an array, a DataFrame of "
            "numbers, a scipy sparse matrix, a map-style torch Dataset or ImageInputs."
            + (f" {_HUGGING_FACE}" if hasattr(data, "set_format") else "")
        )
    if isinstance(data, Dataset):
        check_length(data)
    if isinstance(data, torch.Tensor):
        _check_tensor(data)


def check_is_array_like(data: Container) -> None:
    """Check that X is not a collection of texts or a mapping, which cannot become an array of numbers.

    Raises:
        InputError: It is a mapping, a dataset of Hugging Face, or starts with a text or a mapping.
    """
    if isinstance(data, pd.DataFrame):
        check_columns(data)
        return
    if (isinstance(data, Mapping) and not sparse.issparse(data)) or hasattr(data, "set_format"):
        kind = type(data)
        raise InputError(f"X is a {kind.__module__}.{kind.__qualname__}, which has its values by name. {_BY_NAME}")
    is_flat = isinstance(data, list | tuple) or (isinstance(data, np.ndarray | pd.Series) and data.ndim == 1)
    first = next(iter(data), None) if is_flat else None
    if isinstance(first, Mapping):
        raise InputError(f"X contains a {type(first).__name__}, which has its values by name. {_BY_NAME}")
    if isinstance(first, str | bytes):
        raise InputError(
            f"X contains the text {first[:80]!r}, but must contain numbers. Convert texts to numbers first, for "
            "example with TfidfVectorizer of scikit-learn."
        )


def _check_tensor(tensor: torch.Tensor) -> None:
    if tensor.is_meta or tensor.is_nested or tensor.is_complex():
        kind = "on the meta device" if tensor.is_meta else "nested" if tensor.is_nested else "complex"
        raise InputError(f"The tensor is {kind}. Pass a tensor of real numbers in which all rows have one shape.")


def integer_dtype(module: nn.Module, floats: torch.dtype) -> torch.dtype:
    """Return the dtype in which `module` gets integers.

    It is the `integer_dtype` of one of its layers (uint8 for `Pixels`), int64 for a module with embeddings, and
    `floats` for other modules.
    """
    for layer in module.modules():
        declared = getattr(layer, "integer_dtype", None)
        if isinstance(declared, torch.dtype):
            return declared
    embeds = any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in module.modules())
    return torch.int64 if embeds else floats


def as_numpy(values: Container) -> Container:
    """Return tensors as arrays, sparse tensors as scipy matrices, and everything else unchanged."""
    if not isinstance(values, torch.Tensor):
        return values
    _check_tensor(values)
    is_sparse = is_sparse_tensor(values)
    values = values.detach().cpu()
    values = values.float() if values.dtype == torch.bfloat16 else values
    if is_sparse:
        coordinates = values.to_sparse_coo().coalesce()
        return sparse.csr_array(
            (coordinates.values().numpy(), coordinates.indices().numpy()), shape=tuple(values.shape)
        )
    return values.numpy()


def is_sparse_tensor(values: object) -> bool:
    return isinstance(values, torch.Tensor) and values.layout != torch.strided


def _is_fractional(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype == torch.bool


def _on_device_if_it_fits(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type == "cuda" and values.nbytes > _DEVICE_SHARE * free_bytes(device):
        return values
    return values.to(device)


def _check_bytes(values: torch.Tensor) -> None:
    if values.numel() and (int(values.amin()) < 0 or int(values.amax()) > 255):
        raise InputError(
            f"X contains integers from {int(values.amin())} to {int(values.amax())}, but the module takes uint8 "
            "(0 to 255). Scale them to that range, or to fractions in 0..1."
        )
