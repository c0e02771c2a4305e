"""Batch norms become part of the convolutions before them, only if the result stays the same."""

from __future__ import annotations

import torch
from torch import nn

from labelaudit.model.encoders.batch_norm_folding import fold_batch_norms


def trained_norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.copy_(torch.rand(channels) + 0.5)
    return norm


class Reused(nn.Module):
    """The output of the convolution is used with and without the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 1), trained_norm(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.convolution(images)
        return (maps + self.norm(maps)).mean((2, 3))


class Twice(nn.Module):
    """The convolution runs twice, once without the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), trained_norm(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(self.convolution(images))).mean((2, 3))


def norms(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


def test_pairs_are_folded_and_the_result_stays_the_same() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        trained_norm(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 6, 3), trained_norm(6)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    images = torch.rand(2, 3, 9, 9)
    with torch.no_grad():
        folded = fold_batch_norms(module, images)
        torch.testing.assert_close(folded(images), module(images), rtol=1e-4, atol=1e-5)
    assert (norms(module), norms(folded)) == (2, 0)


def test_a_batch_norm_elsewhere_stays() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 9, 9)
    for module in (Reused().eval(), Twice().eval(), nn.Sequential(trained_norm(3), nn.Flatten()).eval()):
        with torch.no_grad():
            folded = fold_batch_norms(module, images)
            assert torch.equal(folded(images), module(images))
        assert norms(folded) == 1
