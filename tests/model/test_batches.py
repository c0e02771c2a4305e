"""Batches by row numbers: the same rows from every kind of data, and no copy of what is only read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from labelaudit.errors import TrainingError
from labelaudit.model.batches import ArrayRows, bind_rows
from labelaudit.model.inputs import ImageInputs

CPU = torch.device("cpu")
ROWS = torch.tensor([3, 0, 3, 1])


def test_arrays_tensors_and_tables_give_the_same_rows() -> None:
    values = np.arange(20, dtype=np.float64).reshape(5, 4)
    for data in (values, torch.from_numpy(values), pd.DataFrame(values)):
        rows = bind_rows(data, CPU)
        assert len(rows) == 5
        assert rows.shape == (4,)
        taken = rows.take(ROWS)
        assert taken.dtype == torch.float32
        np.testing.assert_array_equal(taken.numpy(), values[ROWS.numpy()])


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [(np.uint8, torch.uint8), (np.int64, torch.int64), (np.int32, torch.float32), (bool, torch.float32)],
)
def test_types_of_arrays(given_type: type, kept: torch.dtype) -> None:
    assert bind_rows(np.zeros((2, 3), given_type), CPU).take(torch.tensor([0])).dtype == kept


def test_read_only_arrays_are_taken_without_a_warning() -> None:
    values = np.zeros((3, 2), np.float32)
    values.flags.writeable = False
    assert len(ArrayRows(values, CPU)) == 3


def test_images_come_through_their_positions(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    pixels.tofile(tmp_path / "pixels.bin")
    mapped = np.memmap(tmp_path / "pixels.bin", np.uint8, "r", shape=pixels.shape)
    positions = np.array([5, 0, 2, 4])
    rows = bind_rows(ImageInputs(mapped, positions), CPU)
    assert len(rows) == 4
    assert rows.shape == (3, 4, 5)
    taken = rows.take(ROWS)
    assert taken.dtype == torch.uint8
    assert taken.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(taken.numpy(), pixels[positions[ROWS.numpy()]].transpose(0, 3, 1, 2))


def test_image_inputs_have_the_shape_that_a_network_sees() -> None:
    images = ImageInputs(np.zeros((6, 4, 5, 3), np.uint8), np.arange(2))
    assert len(images) == 2
    assert images.shape == (2, 3, 4, 5)


@given(seed=st.integers(0, 10_000), keep_sparse=st.booleans())
def test_sparse_rows_are_those_of_the_dense_matrix(seed: int, keep_sparse: bool) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 3, (7, 5)) * rng.integers(0, 2, (7, 5))
    rows = bind_rows(sparse.csr_matrix(dense.astype(np.float32)), CPU, keep_sparse=keep_sparse)
    picked = torch.from_numpy(rng.integers(0, 7, 6))
    taken = rows.take(picked)
    assert taken.is_sparse == keep_sparse
    np.testing.assert_array_equal(taken.to_dense().numpy(), dense[picked.numpy()])


def test_doubled_entries_of_a_sparse_matrix_are_summed_without_changing_it() -> None:
    matrix = sparse.csr_matrix((np.array([1.0, 2.0]), np.array([1, 1]), np.array([0, 2])), shape=(1, 3))
    taken = bind_rows(matrix, CPU).take(torch.tensor([0]))
    np.testing.assert_array_equal(taken.numpy(), [[0, 3, 0]])
    assert matrix.nnz == 2


def test_other_data_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"cannot train on a dict: give a tensor, an array"):
        bind_rows({"a": 1}, CPU)
