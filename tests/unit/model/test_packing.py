"""Trees of tensors as bytes: every bit and layout is restored, and changed bytes are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.packing import pack, tree_digest, unpack

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Tensors of any dtype and layout: permuted, sliced, empty, without dimensions."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    tensor = (torch.randn(shape, generator=generator) * 100).to(draw(st.sampled_from(DTYPES)))
    if shape:
        tensor = tensor.permute(draw(st.permutations(range(len(shape)))))
        tensor = tensor[:: draw(st.integers(1, 2))]
    return tensor


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text() | st.integers()
trees = st.recursive(
    plain | tensors(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=8,
)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and first == second


@given(trees)
def test_every_tree_is_restored(tree: Any) -> None:
    assert same(unpack(pack(tree)), tree)
    assert tree_digest(unpack(pack(tree))) == tree_digest(tree)


def test_layouts_are_restored() -> None:
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    expanded = torch.ones(1, 3).expand(4, 3)
    found = unpack(pack([images, expanded, expanded]))
    assert found[0].stride() == images.stride()
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found[1], expanded)
    found[1][0] = 5
    assert torch.equal(found[2], expanded)


def test_numbers_that_are_not_finite_are_restored() -> None:
    found = unpack(pack([math.inf, -math.inf, math.nan, np.float32(0.5)]))
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])
    assert found[3] == 0.5


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.ones(2), "b": 2},
        {"a": torch.ones(2), "c": 1},
        {"a": torch.ones(2, 1), "b": 1},
        {"a": torch.ones(2).double(), "b": 1},
        {"a": torch.tensor([1.0, 1.0000001]), "b": 1},
        {"a": torch.ones(2), "b": 1.0},
    ],
)
def test_different_trees_have_different_digests(other: Any) -> None:
    assert tree_digest(other) != tree_digest({"a": torch.ones(2), "b": 1})


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", [torch.optim.SGD], {"rate": lambda: 1}])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot be part of a checkpoint, which contains only tensors and plain values"
    ):
        pack(value)
    with pytest.raises(ConfigError, match=r"Train without a checkpoint"):
        tree_digest(value)


PACKED = pack({"weights": torch.arange(50.0), "epoch": 3})


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_a_changed_byte_is_detected(place: int, change: int) -> None:
    damaged = bytearray(PACKED)
    damaged[place] ^= change
    with pytest.raises(
        StorageError, match=r"The checksum of these \d+ bytes differs\. They are damaged, or another version wrote them"
    ):
        unpack(bytes(damaged))


@given(st.integers(0, len(PACKED) - 1))
def test_a_truncation_is_detected(length: int) -> None:
    with pytest.raises(StorageError, match=rf"The checksum of these {length} bytes differs"):
        unpack(PACKED[:length])
    with pytest.raises(StorageError, match=r"The checksum of these \d+ bytes differs"):
        unpack(PACKED[length + 1 :])
