"""Seed document 003: features of a torch module for scikit-learn, batch by batch, and augmented images for forests.

It uses an untrained module in training mode on random labels, scales all rows before the split, and
augments before the split, so that copies of one image are on both sides.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GroupKFold, KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from torchvision import transforms

from labelaudit import TorchClassifier, TorchFeatures

RNG = np.random.default_rng(3)
X = torch.from_numpy(RNG.normal(size=(300, 10)).astype(np.float32))
Y = (X[:, 0] * X[:, 1] > 0).long()


class Extractor(nn.Module):
    def __init__(self, num_features: int = 2) -> None:
        super().__init__()
        self.layer1 = nn.Linear(10, 16)
        self.layer2 = nn.Linear(16, num_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer2(torch.relu(self.layer1(x)))
        return features


class Counted(Dataset[torch.Tensor]):
    """A dataset of 10,000 rows that are made when they are read."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, row: int) -> torch.Tensor:
        self.reads += 1
        return torch.full((10,), row / 1000)


class Augmented(Dataset[torch.Tensor]):
    """A dataset of images that torchvision changes on each read."""

    transform = transforms.Compose([transforms.RandomHorizontalFlip(0.5), transforms.RandomRotation(15)])

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> torch.Tensor:
        changed: torch.Tensor = self.transform(self.images[row])
        return changed


def convolutional() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 16), nn.ReLU(), nn.Linear(16, 10))


def digits(rows: int) -> tuple[torch.Tensor, np.ndarray]:
    data = load_digits()
    return torch.from_numpy(data.images[:rows, None].astype(np.float32) / 16), data.target[:rows]


def test_tensors_are_no_type_error_in_scikit_learn_unless_they_have_gradients() -> None:
    assert LogisticRegression().fit(X, Y).score(X, Y) > 0.4
    leaf = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="requires grad"):
        LogisticRegression().fit(leaf, Y)
    features = TorchFeatures(Extractor, device="cpu").fit_transform(leaf)
    assert 0.4 < LogisticRegression().fit(features, Y).score(features, Y) <= 1


def test_features_are_those_of_the_module_by_hand() -> None:
    module = Extractor()
    with torch.no_grad():
        first = torch.relu(module.layer1(X))
        expected = (first @ module.layer2.weight.T + module.layer2.bias).numpy()
    np.testing.assert_allclose(TorchFeatures(module, device="cpu").fit_transform(X), expected, atol=1e-5)
    before = TorchFeatures(module, layer="layer1", device="cpu").fit_transform(X)
    np.testing.assert_allclose(np.maximum(before, 0), first.numpy(), atol=1e-5)


def test_a_pretrained_module_helps_a_linear_classifier_and_an_untrained_one_does_not(tmp_path: Path) -> None:
    train, test = train_test_split(np.arange(300), test_size=0.3, random_state=42, stratify=Y.numpy())
    extractor = TorchClassifier(Extractor, module__num_features=2, epochs=100, batch_size=32, device="cpu")
    trained = extractor.fit(X[train], Y[train])
    path = tmp_path / "weights.pth"
    torch.save(trained.module_.state_dict(), path)
    scores = {}
    for name, weights in {"untrained": None, "pretrained": path}.items():
        pipeline = make_pipeline(
            TorchFeatures(Extractor, weights=weights, layer="layer2", device="cpu"), LogisticRegression()
        )
        scores[name] = pipeline.fit(X[train], Y[train]).score(X[test], Y[test])
    assert scores["pretrained"] > scores["untrained"] + 0.1
    assert scores["pretrained"] > 0.75


def test_without_no_grad_the_features_of_the_document_are_no_array_and_ours_always_are() -> None:
    module = Extractor()
    with pytest.raises(RuntimeError, match="requires grad"):
        module(X).numpy()
    TorchFeatures(module, device="cpu").fit_transform(X)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())


def test_features_of_a_row_do_not_depend_on_its_company_nor_change_the_module() -> None:
    module = nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    with torch.no_grad():
        naive = [module(X[:60])[0], module(X[:30])[0]]
        assert int(module[1].num_batches_tracked) == 2
    assert not torch.allclose(*naive)
    ours = TorchFeatures(module, device="cpu").fit(X)
    np.testing.assert_allclose(ours.transform(X[:60])[:30], ours.transform(X[:30]), atol=1e-6)
    assert int(ours.module_[1].num_batches_tracked) == 2


@pytest.mark.parametrize("rows", [1, 7, 99, 100, 101, 300])
def test_batches_are_the_rows_of_transform_in_order(rows: int) -> None:
    features = TorchFeatures(Extractor, batch_size=100, device="cpu").fit(X)
    parts = list(features.transform_batches(X[:rows]))
    np.testing.assert_array_equal(np.concatenate(parts), features.transform(X[:rows]))
    assert sum(map(len, parts)) == rows


def test_only_the_batch_that_is_asked_for_is_read() -> None:
    data = Counted()
    features = TorchFeatures(nn.Identity(), device="cpu").fit(data)
    data.reads = 0
    batches = features.transform_batches(data)
    first = next(batches)
    assert len(first) <= data.reads < len(data) / 2
    assert sum(map(len, batches)) + len(first) == len(data)


def test_batches_feed_partial_fit_to_the_same_scaler_as_all_rows_at_once() -> None:
    data = Counted()
    features = TorchFeatures(nn.Identity(), device="cpu").fit(data)
    scaler, parts = StandardScaler(), 0
    for part in features.transform_batches(data):
        scaler.partial_fit(part)
        parts += 1
    assert parts > 1
    assert scaler.n_samples_seen_ == len(data)
    whole = StandardScaler().fit(features.transform(data))
    np.testing.assert_allclose(scaler.mean_, whole.mean_, rtol=1e-5)
    np.testing.assert_allclose(scaler.var_, whole.var_, rtol=1e-4)
    np.testing.assert_allclose(scaler.mean_, np.arange(10_000).mean() / 1000, rtol=1e-5)


def test_batches_feed_a_linear_classifier_that_never_sees_all_rows() -> None:
    data = Counted()
    labels = np.arange(10_000) >= 5000
    features = TorchFeatures(nn.Identity(), device="cpu").fit(data)
    classifier, done = SGDClassifier(random_state=0), 0
    for _ in range(3):
        for part in features.transform_batches(data):
            start = done % len(data)
            classifier.partial_fit(part - 5, labels[start : start + len(part)], classes=[False, True])
            done += len(part)
    assert classifier.score(features.transform(data) - 5, labels) > 0.9


def test_a_scaler_over_all_rows_has_seen_the_test_rows_and_one_in_a_pipeline_has_not() -> None:
    shifted = X.clone()
    shifted[200:] += 50
    module = Extractor()
    leaking = StandardScaler().fit(TorchFeatures(module, device="cpu").fit_transform(shifted))
    pipeline = make_pipeline(TorchFeatures(module, device="cpu"), StandardScaler(), LogisticRegression())
    pipeline.fit(shifted[:200], Y[:200])
    expected = TorchFeatures(module, device="cpu").fit_transform(X[:200]).mean(axis=0)
    np.testing.assert_allclose(pipeline[1].mean_, expected, atol=1e-5)
    assert not np.allclose(leaking.mean_, expected, atol=0.1)


def test_copies_of_one_image_on_both_sides_of_a_split_make_random_labels_look_learned() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(60, 1, 8, 8)), rng.permutation(np.arange(60) % 2)
    torch.manual_seed(0)
    augmented = torch.cat([torch.stack([Augmented.transform(torch.from_numpy(i)) for i in images]) for _ in range(6)])
    groups, forest = np.tile(np.arange(60), 6), RandomForestClassifier(50, random_state=0)
    flat, tiled = augmented.flatten(1).numpy(), np.tile(labels, 6)
    leaked = cross_val_score(forest, flat, tiled, cv=KFold(4, shuffle=True, random_state=0)).mean()
    assert leaked > 0.8
    assert cross_val_score(forest, flat, tiled, groups=groups, cv=GroupKFold(4)).mean() < 0.7
    ours = TorchClassifier(convolutional_pair, flip=True, crop_padding=1, epochs=10, device="cpu")
    assert cross_val_score(ours, images.astype(np.float32), labels, cv=4).mean() < 0.7


def convolutional_pair() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


def test_torchvision_augments_what_is_trained_on_and_plain_images_are_predicted() -> None:
    images, labels = digits(400)
    classifier = TorchClassifier(convolutional, epochs=15, batch_size=32, device="cpu", precision="float32")
    classifier.fit(Augmented(images[:300]), labels[:300])
    plain = TensorDataset(images[300:])
    assert classifier.score(plain, labels[300:]) > 0.65  # chance is 0.1
    np.testing.assert_array_equal(classifier.predict_proba(plain), classifier.predict_proba(images[300:]))


def test_augmentation_repeats_itself_with_the_seed_and_leaves_the_global_state() -> None:
    images, labels = digits(100)
    torch.manual_seed(0)
    assert not torch.equal(Augmented(images)[0], torch.stack([Augmented(images)[0] for _ in range(9)])[-1])
    before = torch.random.get_rng_state()
    classifier = TorchClassifier(convolutional, epochs=2, device="cpu", precision="float32")
    first = classifier.fit(Augmented(images), labels).predict_proba(images)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(17)
    np.testing.assert_array_equal(clone(classifier).fit(Augmented(images), labels).predict_proba(images), first)
    assert not np.array_equal(clone(classifier).fit(images, labels).predict_proba(images), first)


@pytest.mark.parametrize("augmentation", [{"flip": True}, {"crop_padding": 1}])
def test_augmentation_of_ours_changes_training_and_never_the_images(augmentation: dict[str, Any]) -> None:
    images, labels = digits(100)
    kept = images.clone()
    classifier = TorchClassifier(convolutional, epochs=2, device="cpu", precision="float32")
    plain = classifier.fit(images, labels).predict_proba(images)
    changed = clone(classifier).set_params(**augmentation).fit(images, labels).predict_proba(images)
    assert not np.allclose(plain, changed)
    assert torch.equal(images, kept)


def test_images_reach_a_forest_as_flat_features_of_a_layer() -> None:
    images, labels = digits(500)
    network = TorchClassifier(convolutional, epochs=20, batch_size=32, device="cpu", precision="float32")
    network.fit(images[:350], labels[:350])
    for layer, width in (("0", 288), ("3", 16)):
        features = TorchFeatures(network.module_, layer=layer, device="cpu")
        pipeline = make_pipeline(features, RandomForestClassifier(30, random_state=0))
        assert pipeline.fit(images[:350], labels[:350]).score(images[350:], labels[350:]) > 0.7
        assert pipeline[0].transform(images[:5]).shape == (5, width)


def test_row_numbers_of_images_split_as_labels_do_and_reach_a_forest() -> None:
    images, labels = digits(300)
    train, test = train_test_split(np.arange(300), test_size=0.2, random_state=42)
    assert not set(itertools.chain(train)) & set(test)
    pipeline = make_pipeline(
        TorchFeatures(nn.Flatten(), dataset=images, device="cpu"), RandomForestClassifier(30, random_state=0)
    )
    by_number = pipeline.fit(train, labels[train]).predict(test)
    forest = RandomForestClassifier(30, random_state=0).fit(images[train].flatten(1).numpy(), labels[train])
    np.testing.assert_array_equal(by_number, forest.predict(images[test].flatten(1).numpy()))
