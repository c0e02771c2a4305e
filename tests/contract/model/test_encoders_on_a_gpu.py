"""Features on a GPU are those of a CPU, up to the rounding of float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from labelaudit.model.encoders.choose import choose_encoder
from labelaudit.model.encoders.load import load_encoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_gpu_and_a_cpu_give_the_same_features(tmp_path: Path) -> None:
    import torchvision  # takes seconds

    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "weights.pt")
    spec = choose_encoder(str(tmp_path / "weights.pt"), kind="image", image_size=(32, 32), kwargs={}, weights=None)
    assert spec is not None
    pixels = np.random.default_rng(0).integers(0, 256, (9, spec.input_size, spec.input_size, 3), np.uint8)
    expected = load_encoder(spec, device="cpu").encode(pixels).astype(np.float64)
    encoder = load_encoder(spec, device="cuda")
    for precision, tolerance in ((encoder.precision, 2e-2), ("float32", 2e-3)):
        encoder.precision = precision
        features = encoder.encode(pixels)
        distance = np.linalg.norm(features - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert distance.max() < tolerance, encoder.precision
        assert np.array_equal(encoder.encode(pixels), features)
