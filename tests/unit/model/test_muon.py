"""Muon: orthogonal steps for hidden weights, and momentum for the rest, computed by hand."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labelaudit.errors import ConfigError
from labelaudit.model.muon import Muon, orthogonalise
from labelaudit.model.optimizers import make_optimizer


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), seed=st.integers(0, 1000))
def test_singular_values_are_close_to_one(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    rank = min(rows, columns)
    values = torch.linspace(0.3, 1, rank)
    matrix = left[:, :rank] @ values.diag() @ right[:, :rank].T
    (result,) = orthogonalise(matrix[None] * 1e3, 5)
    found = torch.linalg.svdvals(result)
    assert float(found.min()) > 0.6
    assert float(found.max()) < 1.3
    # Directions do not change: result is close to left @ right^T.
    exact = left[:, :rank] @ right[:, :rank].T
    assert float((result * exact).sum() / (result.norm() * exact.norm())) > 0.95


def test_a_zero_gradient_gives_no_step() -> None:
    assert torch.equal(orthogonalise(torch.zeros(2, 3, 4), 4), torch.zeros(2, 3, 4))


def step(hidden: bool, weight_decay: float = 0.0) -> tuple[nn.Parameter, Muon]:
    parameter = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    group = {"params": [parameter], "hidden": hidden, "weight_decay": weight_decay}
    optimizer = Muon([group], 0.5, momentum=0.6, nesterov_momentum=0.9)
    parameter.grad = torch.tensor([[0.2, 0.0], [0.0, 0.1]])
    optimizer.step()
    return parameter, optimizer


def test_other_parameters_get_nesterov_momentum() -> None:
    parameter, optimizer = step(hidden=False)
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]]) - 0.5 * 1.9 * torch.tensor([[0.2, 0.0], [0.0, 0.1]])
    torch.testing.assert_close(parameter.data, first)
    parameter.grad = torch.tensor([[0.1, 0.0], [0.0, 0.0]])
    optimizer.step()
    velocity = 0.9 * torch.tensor([[0.2, 0.0], [0.0, 0.1]]) + parameter.grad
    torch.testing.assert_close(parameter.data, first - 0.5 * (parameter.grad + 0.9 * velocity))


def test_steps_of_hidden_weights_have_the_same_size_in_every_direction() -> None:
    parameter, _ = step(hidden=True)
    moved = torch.tensor([[1.0, 0.0], [0.0, 2.0]]) - parameter.data
    assert 0.3 < float(moved[0, 0]) < 0.65
    assert 0.3 < float(moved[1, 1]) < 0.65


def test_weight_decay_is_decoupled() -> None:
    plain, _ = step(hidden=True)
    decayed, _ = step(hidden=True, weight_decay=0.1)
    torch.testing.assert_close(plain.data - decayed.data, 0.05 * torch.tensor([[1.0, 0.0], [0.0, 2.0]]))


def test_a_negative_weight_decay_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Optimizer 'muon' does not accept .*weight_decay -0\.1 must not be negative"
    ):
        make_optimizer(nn.Linear(2, 2), "muon", learning_rate=0.1, options={"weight_decay": -0.1}, factors={})


def test_parameters_without_a_gradient_do_not_change() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    Muon([{"params": [parameter], "hidden": True, "weight_decay": 0.1}], 0.5).step()
    assert torch.equal(parameter.data, torch.ones(2, 2))


def test_the_last_layer_embeddings_and_vectors_are_not_hidden() -> None:
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    optimizer = make_optimizer(module, "muon", learning_rate=0.1, options={}, factors={})
    hidden = {id(p) for group in optimizer.param_groups if group["hidden"] for p in group["params"]}
    assert hidden == {id(module[1].weight)}
    factors = {group["hidden"]: group["factor"] for group in optimizer.param_groups}
    assert factors == {True: 1.0, False: pytest.approx(0.2)}


def test_filters_of_a_convolution_are_rows_of_a_matrix() -> None:
    conv = nn.Conv2d(2, 3, 3, bias=False)
    before = conv.weight.detach().clone()
    optimizer = Muon([{"params": [conv.weight], "hidden": True, "weight_decay": 0.0}], 1.0, iterations=5)
    conv.weight.grad = torch.randn(conv.weight.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    values = torch.linalg.svdvals((before - conv.weight.detach()).flatten(1))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3


def test_a_copy_continues_with_equal_steps() -> None:
    _, optimizer = step(hidden=True)
    copied: Muon = pickle.loads(pickle.dumps(optimizer))
    for each in (optimizer, copied):
        each.param_groups[0]["params"][0].grad = torch.ones(2, 2)
        each.step()
    assert torch.equal(optimizer.param_groups[0]["params"][0], copied.param_groups[0]["params"][0])
