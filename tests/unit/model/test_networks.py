"""The networks: shapes for many sizes, normalisation by hand, sparse batches."""

from __future__ import annotations

import pytest
import torch

from labelaudit.model.networks import MLP, Ngrams, Pixels, SmallResNet, UnitPixels, stem_size


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_are_standardised_per_channel(dtype: torch.dtype) -> None:
    raw = torch.tensor([0, 51, 255]).view(1, 3, 1, 1)
    pixels = raw.to(dtype) if dtype == torch.uint8 else raw.float() / 255
    before = pixels.clone()
    out = Pixels([0.0, 0.1, 0.5], [1.0, 0.2, 0.25])(pixels)
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 0.5, 2.0]))
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_unit_pixels_are_those_that_are_standardised_by_nothing(dtype: torch.dtype) -> None:
    pixels = torch.arange(256).view(4, 1, 8, 8).to(dtype) / (1 if dtype == torch.uint8 else 255)
    pixels = pixels.to(dtype)
    before = pixels.clone()
    assert torch.equal(UnitPixels()(pixels), Pixels([0.0], [1.0])(pixels))
    assert torch.equal(pixels, before)


def test_grey_pixels_are_repeated() -> None:
    out = Pixels([0.0, 0.5, 1.0], [1.0, 1.0, 1.0], channels=3)(torch.ones(2, 1, 4, 4))
    assert out.shape == (2, 3, 4, 4)
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([1.0, 0.5, 0.0]))


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 8, 20), (1, 28, 28), (3, 32, 32), (3, 64, 48), (3, 5, 5), (1, 130, 130), (3, 1, 1)]
)
def test_small_resnet_takes_any_size(shape: tuple[int, int, int]) -> None:
    network = SmallResNet(7, shape)
    logits = network(torch.randint(0, 256, (2, *shape), dtype=torch.uint8))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_small_resnet_costs_the_same_for_larger_images() -> None:
    sizes = {side: sum(p.numel() for p in SmallResNet(10, (3, side, side)).parameters()) for side in (16, 32, 64)}
    assert max(sizes.values()) < 1.2 * min(sizes.values())


def test_small_resnet_standardises_with_what_it_is_given() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    network = SmallResNet(3, (3, 8, 8), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0)).eval()
    standardised = (images.float() / 255 - network.pixels.mean) / network.pixels.std
    torch.testing.assert_close(network.pixels(images), standardised)
    assert network.pixels.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_small_resnet_keeps_the_filters_of_its_stem() -> None:
    filters = torch.arange(6 * 3 * 9.0).view(6, 3, 3, 3)
    network = SmallResNet(3, (3, 8, 8), stem_filters=filters)
    assert torch.equal(network.stem.weight, filters)
    assert not network.stem.weight.requires_grad
    assert network.stem.weight.data_ptr() != filters.data_ptr()
    assert network.stem.bias.requires_grad


@pytest.mark.parametrize(("shape", "expected"), [((3, 32, 32), (4, 2)), ((1, 16, 16), (3, 1)), ((1, 8, 20), (4, 2))])
def test_small_images_are_not_halved_by_the_stem(shape: tuple[int, int, int], expected: tuple[int, int]) -> None:
    assert stem_size(shape) == expected
    network = SmallResNet(3, shape)
    assert (network.stem.kernel_size[0], network.stem.stride[0]) == expected


def test_settings_of_networks_change_them() -> None:
    assert SmallResNet(3, (1, 16, 16), widths=(16, 24)).head[-1].in_features == 24
    assert len(list(MLP(3, (4,), hidden=(5, 6)).parameters())) == 6
    assert [layer.p for layer in MLP(3, (4,), dropout=0.4).modules() if isinstance(layer, torch.nn.Dropout)] == [
        0.4,
        0.4,
    ]


def test_mlp_flattens_what_has_more_dimensions() -> None:
    assert MLP(3, (2, 5))(torch.zeros(4, 2, 5)).shape == (4, 3)


def test_ngrams_is_a_linear_map_of_sparse_rows() -> None:
    network = Ngrams(2, (4,))
    with torch.no_grad():
        network.weight.copy_(torch.arange(8.0).view(4, 2))
        network.bias.copy_(torch.tensor([10.0, 20.0]))
    dense = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 3.0]])
    logits = network(dense.to_sparse())
    torch.testing.assert_close(logits, dense @ network.weight + network.bias)
    logits.sum().backward()
    torch.testing.assert_close(network.weight.grad, dense.sum(0)[:, None].expand(4, 2))


def test_ngrams_of_texts_without_any_word() -> None:
    network = Ngrams(2, (4,))
    empty = torch.sparse_coo_tensor(
        torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0), (3, 4), is_coalesced=True, check_invariants=True
    )
    torch.testing.assert_close(network(empty), network.bias.expand(3, 2))


@pytest.mark.parametrize(("side", "stages"), [(4, 0), (8, 1), (16, 2), (28, 2), (32, 2), (64, 2)])
def test_no_stage_works_on_a_grid_too_small_for_it(side: int, stages: int) -> None:
    assert len(SmallResNet(3, (1, side, side)).stages) == stages
