"""Batches by row numbers: the same rows from every kind of data, and no copy of what is only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from labelaudit.errors import TrainingError
from labelaudit.model.array_tensors import shared_tensor
from labelaudit.model.batches import ArrayRows, bind_rows, integer_dtype
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.items import dataset_shape
from labelaudit.model.networks import Ngrams, Pixels
from support.toys import CPU, RowDataset, Uncopied

ROWS = torch.tensor([3, 0, 3, 1])
DENSE = nn.Linear(4, 2)


@pytest.mark.parametrize("contain", [np.asarray, torch.tensor, pd.DataFrame, sparse.csr_array, RowDataset, Uncopied])
def test_all_containers_give_the_same_rows(contain: Any) -> None:
    values = np.arange(20, dtype=np.float64).reshape(5, 4)
    rows = bind_rows(contain(values), CPU, DENSE)
    assert len(rows) == 5
    assert rows.shape == (4,)
    taken = rows.take(ROWS)
    assert taken.dtype == torch.float32
    np.testing.assert_array_equal(taken.numpy(), values[ROWS.numpy()])
    chunks = [ROWS[:1], ROWS[1:]]
    for _ in range(2):
        for chunk, batch in zip(chunks, rows.batches(chunks), strict=True):
            np.testing.assert_array_equal(batch.numpy(), values[chunk.numpy()])


@pytest.mark.parametrize("contain", [np.asarray, torch.tensor, pd.DataFrame, sparse.csr_array, RowDataset])
def test_batches_are_copies(contain: Any) -> None:
    values = np.ones((5, 4), np.float32)
    rows = bind_rows(contain(values), CPU, DENSE)
    rows.take(ROWS).zero_()
    assert float(rows.take(ROWS).sum()) == 16
    assert values.sum() == 20


@pytest.mark.parametrize("floats", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["float16", "float64", "bool", "uint8", "int8", "uint16", "int64"])
@pytest.mark.parametrize("contain", [np.asarray, RowDataset])
def test_types_of_numbers(kind: str, floats: torch.dtype, contain: Any) -> None:
    values = np.ones((2, 3), kind)
    is_integer = np.dtype(kind).kind in "iu"
    for module, kept in ((DENSE, floats), (nn.Embedding(3, 2), torch.int64), (Pixels([0.5], [0.5]), torch.uint8)):
        taken = bind_rows(contain(values), CPU, module, floats=floats).take(torch.tensor([0]))
        assert taken.dtype == (kept if is_integer else floats)
        assert taken.tolist() == [[1, 1, 1]]


def test_the_type_of_integers_is_that_of_the_first_layer_that_declares_one() -> None:
    class Codes(nn.Module):
        integer_dtype = torch.int16

    assert integer_dtype(nn.Sequential(nn.Linear(2, 2), Codes()), torch.float64) == torch.int16
    assert integer_dtype(nn.Sequential(nn.EmbeddingBag(2, 2)), torch.float32) == torch.int64
    assert integer_dtype(nn.Linear(2, 2), torch.float64) == torch.float64


@pytest.mark.parametrize("writeable", [True, False])
def test_arrays_are_shared_and_not_copied(writeable: bool) -> None:
    values = np.zeros((3, 2), np.float32)
    view = values.view()
    view.flags.writeable = writeable
    rows = ArrayRows(view, CPU, floats=torch.float32, integers=torch.float32)
    values[1] = 5
    assert rows.take(torch.tensor([1])).tolist() == [[5, 5]]
    assert view.flags.writeable == writeable


@given(data=st.data())
def test_shared_tensors_contain_the_values_of_any_array(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["<f4", ">f4", "f8", ">f8", "f2", "i1", "u2", ">u4", "i8", "?"]))
    steps = data.draw(st.tuples(st.sampled_from([1, 2, -1, -3]), st.sampled_from([1, 2, -1])))
    order = data.draw(st.sampled_from("CF"))
    values = np.asarray(np.arange(60).reshape(10, 6) % 7, kind, order=order)[:: steps[0], :: steps[1]]
    values.flags.writeable = data.draw(st.booleans())
    np.testing.assert_array_equal(shared_tensor(values).numpy(), values)


def test_memory_that_torch_can_use_is_shared() -> None:
    values = np.zeros(3)
    values.flags.writeable = False
    assert shared_tensor(values).data_ptr() == values.ctypes.data


def test_tensors_with_gradients_are_read_without_them() -> None:
    values = torch.ones(3, 2, requires_grad=True)
    assert not bind_rows(values, CPU, DENSE).take(torch.tensor([0])).requires_grad


def test_images_come_through_their_positions(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
    pixels.tofile(tmp_path / "pixels.bin")
    mapped = np.memmap(tmp_path / "pixels.bin", np.uint8, "r", shape=pixels.shape)
    positions = np.array([5, 0, 2, 4])
    expected = pixels[positions[ROWS.numpy()]].transpose(0, 3, 1, 2)
    for module, kept in ((Pixels([0.5] * 3, [0.5] * 3), torch.uint8), (nn.Conv2d(3, 1, 1), torch.float32)):
        rows = bind_rows(ImageInputs(mapped, positions), CPU, module)
        assert len(rows) == 4
        assert rows.shape == (3, 4, 5)
        taken = rows.take(ROWS)
        assert taken.dtype == kept
        assert taken.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_array_equal(taken.numpy(), expected)


def test_image_inputs_have_the_shape_that_a_network_sees() -> None:
    images = ImageInputs(np.zeros((6, 4, 5, 3), np.uint8), np.arange(2))
    assert len(images) == 2
    assert images.shape == (2, 3, 4, 5)


@pytest.mark.parametrize("module", [DENSE, Ngrams(2, (5,))])
@given(seed=st.integers(0, 10_000), kind=st.sampled_from([sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix]))
def test_sparse_rows_are_those_of_the_dense_matrix(module: nn.Module, seed: int, kind: Any) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 3, (7, 5)) * rng.integers(0, 2, (7, 5))
    rows = bind_rows(kind(dense), CPU, module)
    assert len(rows) == 7
    assert rows.shape == (5,)
    picked = torch.from_numpy(rng.integers(0, 7, 6))
    taken = rows.take(picked)
    assert taken.is_sparse == isinstance(module, Ngrams)
    assert taken.dtype == torch.float32
    np.testing.assert_array_equal(taken.to_dense().numpy(), dense[picked.numpy()])


def test_doubled_and_unsorted_entries_of_a_sparse_matrix_are_put_right_without_changing_it() -> None:
    parts = (np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 3]))
    matrix = sparse.csr_matrix(parts, shape=(1, 3))
    taken = bind_rows(matrix, CPU, Ngrams(2, (3,))).take(torch.tensor([0]))
    assert taken.indices().tolist() == [[0, 0], [0, 1]]
    np.testing.assert_array_equal(taken.to_dense().numpy(), [[4, 3, 0]])
    assert matrix.indices.tolist() == [1, 1, 0]


def test_labels_of_a_dataset_are_left_out() -> None:
    data = TensorDataset(torch.ones(3, 2), torch.zeros(3))
    rows = bind_rows(data, CPU, DENSE)
    assert rows.take(torch.tensor([0, 2])).tolist() == [[1, 1], [1, 1]]
    assert dataset_shape(data) == rows.shape == (2,)


def test_a_dataset_of_read_only_rows_is_read_without_a_warning() -> None:
    values = np.ones((3, 2), np.float32)
    values.flags.writeable = False
    assert bind_rows(Uncopied(values), CPU, DENSE).take(torch.tensor([0])).tolist() == [[1, 1]]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


@pytest.mark.parametrize("data", [{"a": 1}, [1, 2], "rows", Stream()])
def test_other_data_is_refused(data: Any) -> None:
    with pytest.raises(
        TrainingError,
        match=rf"X or dataset is a {type(data).__name__}, which is not supported\. Use a tensor, an array, a Da",
    ):
        bind_rows(data, CPU, DENSE)
