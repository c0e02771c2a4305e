"""What only a GPU can show: kernels of reduced precision, repeated bytes, full memory, data that stays outside.

Each test has a counterpart on the CPU in the test file of its module.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits

from labelaudit import TorchClassifier, TorchFeatures
from labelaudit.errors import TrainingError
from labelaudit.model import batches
from labelaudit.model.augmentation import crop_and_flip
from labelaudit.model.batches import bind_rows
from labelaudit.model.device import enough_memory, resolve_device
from labelaudit.model.image_inputs import ImageInputs
from labelaudit.model.muon import orthogonalise
from labelaudit.model.networks import MLP, Ngrams, SmallResNet
from labelaudit.model.training_dynamics import TrainingDynamics
from support.toys import CPU, RowDataset, X, Y, own, small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

ROWS = np.arange(300)
DIGITS = load_digits()
BACKWARD = ROWS[::-1].copy()
IMAGES = ImageInputs((DIGITS.images[ROWS] * 15).astype(np.uint8)[..., None], BACKWARD)
CLASSES = DIGITS.target[BACKWARD]
COUNTS = sparse.random(len(Y), 400, density=0.05, format="csr", dtype=np.float32, random_state=0)


def on_images(**changes: Any) -> TorchClassifier:
    return own(SmallResNet, device="cuda", dataset=IMAGES, crop_padding=1, flip=True, **changes)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_images_give_finite_distributions_twice_the_same(optimizer: str, precision: str) -> None:
    classifier = on_images(optimizer=optimizer, precision=precision, average_share=0.2)
    first = classifier.fit(ROWS, CLASSES).predict_proba(ROWS)
    assert np.isfinite(first).all()
    np.testing.assert_allclose(first.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(classifier.fit(ROWS, CLASSES).predict_proba(ROWS), first)


@pytest.mark.parametrize(
    ("module", "optimizer"), [(MLP, "adamw"), (MLP, "sgd"), (MLP, "muon"), (Ngrams, "adamw"), (Ngrams, "sgd")]
)
def test_tables_and_sparse_rows_twice_the_same(module: Any, optimizer: str) -> None:
    data = COUNTS if module is Ngrams else X
    classifier = own(module, device="cuda", optimizer=optimizer)
    first = classifier.fit(data, Y).predict_proba(data)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(classifier.fit(data, Y).predict_proba(data), first)


def test_float32_of_a_dense_network_is_near_that_of_the_cpu() -> None:
    here, there = (small(precision="float32", device=device).fit(X, Y) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there.predict_proba(X), here.predict_proba(X), atol=1e-3)


def test_training_dynamics_are_near_those_of_the_cpu() -> None:
    here, there = (
        small(precision="float32", device=device, record_dynamics=True).fit(X, Y).dynamics_.columns()
        for device in ("cpu", "cuda")
    )
    for name in ("margin", "p_given", "spread"):
        np.testing.assert_allclose(there[name], here[name], atol=1e-3)
    # A margin near zero may have another sign.
    assert (there["epochs"] != here["epochs"]).mean() < 0.05


def test_recording_dynamics_changes_nothing_and_repeats_itself() -> None:
    plain, first, again = (on_images(record_dynamics=flag).fit(ROWS, CLASSES) for flag in (False, True, True))
    np.testing.assert_array_equal(plain.predict_proba(ROWS), first.predict_proba(ROWS))
    for name, values in first.dynamics_.columns().items():
        np.testing.assert_array_equal(values, again.dynamics_.columns()[name])


def test_training_dynamics_never_wait_for_the_gpu() -> None:
    dynamics = TrainingDynamics(300, 10, torch.device("cuda"))
    targets = torch.from_numpy(CLASSES).cuda()
    scores = torch.randn(300, 10, device="cuda")
    order = torch.arange(300, device="cuda")
    try:
        with warnings.catch_warnings():
            # That this mode is a prototype.
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        dynamics.begin_epoch(1, order, targets)
        for part in scores.split(64):
            dynamics.add_batch(part)
        dynamics.end_epoch()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(dynamics.result().margin).all()


def test_reduced_precision_learns_as_much() -> None:
    exact, reduced = (
        on_images(epochs=20, optimizer="muon", learning_rate=0.1, precision=precision)
        .fit(ROWS, CLASSES)
        .score(ROWS, CLASSES)
        for precision in ("float32", "bfloat16")
    )
    assert exact > 0.8
    assert abs(exact - reduced) < 0.1


def test_auto_is_bfloat16_if_the_gpu_computes_in_it() -> None:
    expected = "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float32"
    assert small(device="cuda", precision="auto", epochs=1).fit(X, Y).precision_ == expected


@pytest.mark.parametrize("data", [X, IMAGES, COUNTS, RowDataset(X)], ids=["array", "images", "sparse", "dataset"])
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_rows_are_those_of_the_cpu_whether_they_fit_or_not(
    data: Any, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_DEVICE_SHARE", share)
    picked = torch.tensor([5, 0, 7])
    module = Ngrams(2, (400,)) if sparse.issparse(data) else SmallResNet(10, (1, 8, 8))
    here = bind_rows(data, CPU, module).take(picked)
    rows = bind_rows(data, resolve_device("cuda"), module)
    for numbers in (picked, picked.cuda(), picked.to(rows.numbered_on)):
        there = rows.take(numbers)
        assert there.is_cuda
        assert torch.equal(there.cpu().to_dense(), here.to_dense())


def test_data_that_does_not_fit_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = on_images().fit(ROWS, CLASSES).predict_proba(ROWS)
    monkeypatch.setattr(batches, "_DEVICE_SHARE", 0.0)
    np.testing.assert_array_equal(on_images().fit(ROWS, CLASSES).predict_proba(ROWS), inside)


def test_crops_and_flips_are_those_of_the_cpu() -> None:
    images = torch.arange(8 * 3 * 6 * 5, dtype=torch.float32).reshape(8, 3, 6, 5)
    here, there = (
        crop_and_flip(images.to(device), padding=2, flip=True, generator=torch.Generator().manual_seed(3))
        for device in ("cpu", "cuda")
    )
    assert torch.equal(there.cpu(), here)


def test_orthogonalised_matrices_have_singular_values_near_1() -> None:
    matrices = torch.randn(4, 16, 48, generator=torch.Generator().manual_seed(0)).cuda()
    values = torch.linalg.svdvals(orthogonalise(matrices, 5))
    assert float(values.min()) > 0.4
    assert float(values.max()) < 1.6


def test_features_are_near_those_of_the_cpu() -> None:
    here, there = (
        TorchFeatures(MLP, module__num_classes=3, device=device, random_state=0).fit_transform(X)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there, here, atol=1e-4)


def test_a_full_gpu_is_reported_with_a_remedy_and_remains_usable() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    with pytest.raises(TrainingError, match=r"GPU is too small .* Lower training\.batch_size"), enough_memory():
        torch.empty(2 * total, dtype=torch.uint8, device="cuda")
    assert np.isfinite(small(device="cuda").fit(X, Y).predict_proba(X)).all()


def test_weights_of_a_convolutional_network_load_on_the_cpu(tmp_path: Any) -> None:
    classifier = on_images(optimizer="muon").fit(ROWS, CLASSES)
    classifier.save(tmp_path)
    loaded = TorchClassifier.load(tmp_path, module=SmallResNet, device="cpu", dataset=IMAGES)
    there = classifier.module_.state_dict()
    assert all(torch.equal(value, there[name].cpu()) for name, value in loaded.module_.state_dict().items())
    assert loaded.score(ROWS, CLASSES) == pytest.approx(classifier.score(ROWS, CLASSES), abs=0.02)
