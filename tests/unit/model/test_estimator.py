"""What the estimators share: forms of X, row numbers, and parameters by nested names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from torch.utils.data import TensorDataset

from labelaudit.errors import InputError
from labelaudit.model.estimator import as_numpy, check_shape, example_shape, row_count, row_numbers
from support.toys import RowDataset

VALUES = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]], np.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int16])
def test_tensors_become_arrays(dtype: torch.dtype) -> None:
    found = as_numpy(torch.tensor(VALUES).to(dtype))
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bfloat16, torch.bool])
def test_sparse_tensors_become_sparse_matrices(dtype: torch.dtype) -> None:
    found = as_numpy(torch.tensor(VALUES).to(dtype).to_sparse())
    assert sparse.issparse(found)
    np.testing.assert_array_equal(found.toarray(), torch.tensor(VALUES).to(dtype).float().numpy())


def test_doubled_entries_of_a_sparse_tensor_are_summed() -> None:
    doubled = torch.sparse_coo_tensor([[0, 0], [1, 1]], [1.0, 2.0], (2, 3), check_invariants=True)
    assert as_numpy(doubled).toarray().tolist() == [[0, 3, 0], [0, 0, 0]]


@pytest.mark.parametrize("value", [VALUES, [1, 2], None, "x"])
def test_all_else_is_handed_on(value: Any) -> None:
    assert as_numpy(value) is value


@pytest.mark.parametrize(
    "data",
    [VALUES, torch.tensor(VALUES), sparse.csr_matrix(VALUES), RowDataset(VALUES), TensorDataset(torch.ones(2, 3))],
)
def test_rows_and_shapes_of_all_containers(data: Any) -> None:
    assert row_count(data) == 2
    assert example_shape(data) == (3,)
    check_shape(example_shape(data), (3,))
    with pytest.raises(InputError, match=r"X has examples of shape \(3,\), but fit was called with \(4, 5\)"):
        check_shape(example_shape(data), (4, 5))


@given(numbers=st.lists(st.integers(0, 9), min_size=1, max_size=9), kind=st.sampled_from(["i1", "u2", ">i4", "i8"]))
def test_row_numbers_become_int64(numbers: list[int], kind: str) -> None:
    for given_numbers in (np.array(numbers, kind), np.array(numbers, kind)[:, None]):
        found = row_numbers(given_numbers, 10)
        assert found.dtype == torch.int64
        assert found.tolist() == numbers


def test_row_numbers_are_copied() -> None:
    numbers = np.array([1, 2])
    found = row_numbers(numbers, 3)
    numbers[:] = 0
    assert found.tolist() == [1, 2]
