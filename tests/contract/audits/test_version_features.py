"""All folds of a version train on the same features, on every machine, and after features were encoded again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelaudit.audits.audit_plan import load_plan, output_store
from labelaudit.audits.history import read_history
from labelaudit.audits.references import PlanReference
from labelaudit.audits.version import load_version
from labelaudit.config import AuditConfig
from labelaudit.errors import Fault, IntegrityError
from labelaudit.feature_store.stored_features import FeatureStore
from labelaudit.pipeline import version_features
from labelaudit.pipeline.encode import encode_shard, plan_encoding
from labelaudit.pipeline.gather import gather
from labelaudit.pipeline.plan import prepare
from labelaudit.pipeline.train import missing_folds, train_and_commit
from labelaudit.pipeline.version_features import open_features
from labelaudit.storage.layout import features_folder
from support.audits import audit, fold_bytes, settings, write_reviews
from support.users_encoder import NAME, install_encoder

FOLDS = [0, 1, 2]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditConfig:
    install_encoder(tmp_path, monkeypatch)
    model = {"encoder": NAME, "views": ["network", "probe"]}
    return settings(write_reviews(tmp_path / "reviews.jsonl"), tmp_path / "out", model=model, training={"epochs": 1})


@pytest.fixture
def encoded(config: AuditConfig) -> PlanReference:
    """Return a prepared audit whose rows are encoded."""
    reference = prepare(config)
    encoding = plan_encoding(reference)
    assert encoding is not None
    for shard in range(encoding.shards):
        encode_shard(reference, encoding, shard)
    return reference


@pytest.fixture
def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which the cache of this machine is empty."""
    machines = iter(range(9))
    return lambda: monkeypatch.setenv("LABELAUDIT_CACHE_DIR", str(tmp_path / f"machine-{next(machines)}"))


def encode_otherwise(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Make the encoder return features that differ by a share of their length, as another device may."""
    original = version_features.encode_contents

    def other(*args: object, **kwargs: object) -> np.ndarray:
        features: np.ndarray = original(*args, **kwargs)  # type: ignore[arg-type]
        return features * np.float16(1 + share)

    monkeypatch.setattr(version_features, "encode_contents", other)


def remove_features(reference: PlanReference) -> None:
    for folder in Path(reference.output_url).rglob("_features"):
        shutil.rmtree(folder)


def opened(reference: PlanReference) -> tuple[np.ndarray, str]:
    with open_features(reference, load_plan(reference)) as features:
        return np.array(features.values), features.digest


def digests(reference: PlanReference) -> list[list[str | None]]:
    """Return the features that the committed folds record, by fold and view."""
    store, plan = output_store(reference), load_plan(reference)
    return [[json.loads(store.read(key))["features"] for key in plan.fold_reference(fold).keys] for fold in FOLDS]


def missing(reference: PlanReference) -> list[int]:
    return missing_folds(reference, load_plan(reference), FOLDS)


def test_a_record_names_the_features_of_its_fold(encoded: PlanReference) -> None:
    assert missing(encoded) == FOLDS
    for fold in FOLDS:
        train_and_commit(encoded, fold)
    assert digests(encoded) == [[None, opened(encoded)[1]]] * 3
    assert missing(encoded) == []


@pytest.mark.parametrize("features", [None, "0" * 32])
def test_a_record_that_does_not_name_the_present_features_is_not_kept(
    encoded: PlanReference, features: str | None
) -> None:
    reference = train_and_commit(encoded, 1)
    store = output_store(encoded)
    network, probe = (json.loads(store.read(key)) for key in reference.keys)
    store.write(reference.keys[1], json.dumps({**probe, "features": features}).encode())
    assert missing(encoded) == FOLDS
    assert store.exists(reference.keys[0])
    train_and_commit(encoded, 1)
    assert json.loads(store.read(reference.keys[0])) == network, "the network is not trained again"
    assert json.loads(store.read(reference.keys[1]))["features"] == probe["features"]


def test_shards_that_are_added_later_change_nothing(
    encoded: PlanReference, another_machine: Callable[[], None]
) -> None:
    plan = load_plan(encoded)
    before, digest = opened(encoded)
    assert plan.stored_encoder is not None
    store = FeatureStore(output_store(encoded), plan.dataset, plan.stored_encoder)
    rows = load_version(encoded, plan, ("content_digest", "label"))
    contents = rows.of_scored(rows.examples.content_digest)
    (first,) = store.shards_of(contents)
    for number in range(9):  # until one is first by name, as if another audit had encoded the same rows meanwhile
        store.add(contents, np.full((len(contents), plan.stored_encoder.dim), number, np.float16))
    assert store.shards_of(contents) != (first,)
    another_machine()
    after, same = opened(encoded)
    assert same == digest
    np.testing.assert_array_equal(after, before)


def test_features_that_are_encoded_again_alike_train_nothing_again(encoded: PlanReference) -> None:
    train_and_commit(encoded, 0)
    before = opened(encoded)[1]
    remove_features(encoded)
    train_and_commit(encoded, 1)
    assert opened(encoded)[1] == before
    assert missing(encoded) == [2]


def test_folds_on_other_features_are_refused_and_trained_again(
    config: AuditConfig,
    encoded: PlanReference,
    another_machine: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folds = [train_and_commit(encoded, fold) for fold in (0, 2)]
    remove_features(encoded)
    another_machine()
    encode_otherwise(monkeypatch, 0.01)
    folds.append(train_and_commit(encoded, 1))
    with pytest.raises(
        IntegrityError,
        match=r"^\[features-differ\] view probe: fold 1 and folds 0, 2 were trained on different features of the "
        r"encoder, but all folds of a view must see the same\. Run the audit again\. The folds without the present",
    ) as raised:
        gather(encoded, folds)
    assert (raised.value.fault, raised.value.view, raised.value.rows) == (Fault.FEATURES_DIFFER, "probe", 40)
    assert missing(encoded) == [0, 2]
    published = audit(config)
    assert fold_bytes(published)
    stored = load_plan(encoded).stored_encoder
    assert stored is not None
    (record,) = read_history(output_store(encoded), published.dataset)
    assert record.features == stored.key
    assert (Path(encoded.output_url) / features_folder(published.dataset, stored.key)).is_dir()
    assert digests(encoded) == [[None, opened(encoded)[1]]] * 3
