"""The networks of labelaudit. Each maps a batch of one kind of input to logits (B, num_classes)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

# Statistics that torchvision's pretrained weights expect (ImageNet, RGB, 0..1).
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

STEM_FILTERS = 64
# Largest side of the grid that enters the first stage, and largest side that no stage halves.
_LARGEST_GRID, _SMALLEST_GRID = 16, 4


class Pixels(nn.Module):
    """A layer from pixels (B, C, H, W), uint8 or float in 0..1, to float32, standardised per channel.

    Args:
        mean: Mean per channel, in 0..1.
        std: Standard deviation per channel, in 0..1.
        channels: Repeat a grey channel so many times.
    """

    integer_dtype = torch.uint8

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, channels: int | None = None) -> None:
        super().__init__()
        self._channels = channels
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.mean: torch.Tensor
        self.std: torch.Tensor

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scaled = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels
        if self._channels is not None and scaled.shape[1] == 1:
            scaled = scaled.expand(-1, self._channels, -1, -1)
        return (scaled - self.mean).div_(self.std)


class UnitPixels(nn.Module):
    """A layer from pixels (B, C, H, W), uint8 or float in 0..1, to float32 in 0..1."""

    integer_dtype = torch.uint8

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels


def conv_block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """x + f(x), with one convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = conv_block(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual: torch.Tensor = self.body(x)
        return x + residual


class SmallResNet(nn.Module):
    """A small residual network for small images, trained from scratch.

    The first convolution has the fixed filters `stem_filters` if they are given (see `whitening_filters`). It and
    further convolutions halve the image until its sides are at most 16 pixels, so the cost hardly depends on the size
    of the images. Each stage halves the grid, convolves once and adds a residual. There is a stage for each of
    `widths`, but not on a grid of 4 or less. docs/image-training.md says how much each part contributes.

    Args:
        mean: Mean of the pixels per channel, in 0..1.
        std: Standard deviation of the pixels per channel, in 0..1.
        stem_filters: (filters, C, size, size) for standardised images, with the size from `stem_size`. None learns 64
            filters.
        widths: Number of filters of each stage.
        dropout: Dropout before the last layer.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        *,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        stem_filters: torch.Tensor | None = None,
        widths: Sequence[int] = (64, 128),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        self.pixels = Pixels(mean or [0.5] * channels, std or [0.25] * channels)
        size, stride = stem_size(input_shape)
        filters = STEM_FILTERS if stem_filters is None else len(stem_filters)
        self.stem = nn.Conv2d(channels, filters, size, stride=stride, padding=1)
        if stem_filters is not None:
            self.stem.weight = nn.Parameter(stem_filters.clone(), requires_grad=False)
            nn.init.zeros_(self.stem.bias)  # type: ignore[arg-type]
        side = -(-max(height, breadth) // stride)
        reductions = []
        while side > _LARGEST_GRID:
            reductions.append(conv_block(filters, filters, stride=2))
            side = (side + 1) // 2
        self.reductions = nn.Sequential(*reductions)
        stages = []
        for width in widths:
            if side > _SMALLEST_GRID:
                # Pooling first is as good as pooling last and takes half the time.
                stages.append(
                    nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), conv_block(filters, width), Residual(width))
                )
                filters, side = width, (side + 1) // 2
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(filters, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        responses = functional.relu(self.stem(self.pixels(images)), inplace=True)
        grid = self.stages(self.reductions(responses))
        logits: torch.Tensor = self.head(grid.mean((2, 3)))
        return logits


def stem_size(input_shape: Sequence[int]) -> tuple[int, int]:
    """Return size and stride of the first filters of `SmallResNet` for images (C, H, W)."""
    return (4, 2) if max(input_shape[1:]) > _LARGEST_GRID else (3, 1)


class MLP(nn.Module):
    """Fully connected layers over a vector: the network for tables."""

    def __init__(
        self,
        num_classes: int,
        input_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (256, 128),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        features = torch.Size(input_shape).numel()
        for width in hidden:
            layers += [nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout)]
            features = width
        self.layers = nn.Sequential(nn.Flatten(), *layers, nn.Linear(features, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x)
        return logits


class Ngrams(nn.Module):
    """A linear classifier over a sparse vector of n-gram weights: the network for texts.

    It takes sparse COO batches (B, features), and reads only the weights of n-grams that occur.
    """

    accepts_sparse = True

    def __init__(self, num_classes: int, input_shape: Sequence[int]) -> None:
        super().__init__()
        (features,) = input_shape
        self.weight = nn.Parameter(torch.zeros(features, num_classes))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row_of, indices = x.indices()
        starts = torch.searchsorted(row_of, torch.arange(len(x), device=row_of.device))
        sums = functional.embedding_bag(indices, self.weight, starts, mode="sum", per_sample_weights=x.values())
        return sums + self.bias
