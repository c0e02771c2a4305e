"""The probe and the neighbours on a GPU: the same bytes in each run, and nearly the probabilities of a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelaudit.model.feature_fold import FeatureFold
from labelaudit.model.neighbours import fit_neighbours
from labelaudit.model.probe import fit_probe
from support.feature_folds import FeatureView, clusters

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("fit", [fit_probe, fit_neighbours])
@pytest.mark.parametrize("width", [40, 900])
def test_a_gpu_and_a_cpu_give_the_same_probabilities(fit: FeatureView, width: int) -> None:
    features, labels = clusters(1_200, width, 5, distance=0.3)
    rows = np.arange(1_200)
    data = FeatureFold(features, labels, 5, rows[rows % 3 > 0], rows[::3])
    expected = fit(data, device="cpu")
    found = fit(data, device="cuda")
    assert found.device == "cuda:0"
    assert found.chosen == pytest.approx(expected.chosen, rel=1e-2)
    assert np.abs(found.pred_probs - expected.pred_probs).max() < 1e-2
    assert fit(data, device="cuda").pred_probs.tobytes() == found.pred_probs.tobytes()
