"""How a batch is taken from what an estimator is trained on: by row numbers, without a DataLoader.

Each kind of data has a class with the shape of one example and `take(rows)`, which returns a batch on the
device. Data that fits is moved to the device once; pixels on a CPU stay in their memory map, so that folds
trained side by side share them.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from labelaudit.errors import TrainingError
from labelaudit.model.inputs import ImageInputs

# Pixels are copied to a GPU while they take less than this share of its free memory: the rest is for
# activations, and for the other folds that may train on the same card.
_DEVICE_SHARE = 0.25


class Rows(Protocol):
    """Examples that a network is trained on."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example, as the network sees it."""

    def __len__(self) -> int: ...

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """The examples `rows` (B,) int64 as one batch (B, *shape) on the device."""


class ArrayRows:
    """Rows of a tensor or an array (N, ...): uint8 stays uint8, int64 stays int64, the rest is float32."""

    def __init__(self, data: torch.Tensor | np.ndarray, device: torch.device) -> None:
        values = torch.as_tensor(_readable(data))
        kept = values if values.dtype in (torch.uint8, torch.int64) else values.to(torch.float32)
        self._data = kept.to(device)
        self.shape = tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self._data)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        return self._data.index_select(0, rows.to(self._data.device))


class ImageRows:
    """Images (C, H, W) uint8 out of an array of pixels, through positions; batches are channels-last."""

    def __init__(self, images: ImageInputs, device: torch.device) -> None:
        self._images = images
        self._device = device
        self.shape = images.shape[1:]
        self._resident = _copy_that_fits(images.pixels, device)
        self._positions = torch.from_numpy(np.array(images.positions, np.int64))

    def __len__(self) -> int:
        return len(self._positions)

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        positions = self._positions[rows]
        if self._resident is None:
            pixels = torch.from_numpy(self._images.pixels[positions.numpy()]).to(self._device)
        else:
            pixels = self._resident.index_select(0, positions.to(self._device))
        return pixels.permute(0, 3, 1, 2)


class SparseRows:
    """Rows of a CSR matrix (N, D) as float32: sparse COO batches for a module that takes them, else dense."""

    def __init__(self, matrix: sparse.csr_matrix, device: torch.device, *, keep_sparse: bool) -> None:
        self._indptr = torch.from_numpy(matrix.indptr.astype(np.int64))
        self._indices = torch.from_numpy(matrix.indices.astype(np.int64)).to(device)
        self._values = torch.from_numpy(matrix.data.astype(np.float32)).to(device)
        self._device = device
        self._keep_sparse = keep_sparse
        self.shape = (matrix.shape[1],)

    def __len__(self) -> int:
        return len(self._indptr) - 1

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        starts, lengths = self._indptr[rows], self._indptr[rows + 1] - self._indptr[rows]
        ends = lengths.cumsum(0)
        row_of = torch.repeat_interleave(torch.arange(len(rows)), lengths)
        picked = (torch.arange(len(row_of)) - (ends - lengths)[row_of] + starts[row_of]).to(self._device)
        batch = torch.sparse_coo_tensor(
            torch.stack([row_of.to(self._device), self._indices[picked]]),
            self._values[picked],
            (len(rows), *self.shape),
            is_coalesced=True,
            check_invariants=False,
        )
        return batch if self._keep_sparse else batch.to_dense()


def bind_rows(data: Any, device: torch.device, *, keep_sparse: bool = False) -> Rows:
    """`data` (tensor, array, DataFrame of numbers, scipy sparse matrix or `ImageInputs`) as rows on `device`.

    Raises `TrainingError` for anything else.
    """
    if isinstance(data, ImageInputs):
        return ImageRows(data, device)
    if sparse.issparse(data):
        matrix = data.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        return SparseRows(matrix, device, keep_sparse=keep_sparse)
    if isinstance(data, pd.DataFrame):
        return ArrayRows(data.to_numpy(np.float32), device)
    if isinstance(data, torch.Tensor | np.ndarray):
        return ArrayRows(data, device)
    raise TrainingError(
        f"cannot train on a {type(data).__name__}: give a tensor, an array, a DataFrame of numbers, "
        "a scipy sparse matrix or ImageInputs."
    )


def _readable(data: torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
    # torch cannot mark a tensor as read only, so it warns about arrays that are.
    return data.copy() if isinstance(data, np.ndarray) and not data.flags.writeable else data


def _copy_that_fits(pixels: np.ndarray, device: torch.device) -> torch.Tensor | None:
    if device.type != "cuda" or pixels.nbytes > _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return None
    return torch.from_numpy(np.array(pixels)).to(device)
