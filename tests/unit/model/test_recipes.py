"""Recipes: general rules resolve every `auto`, given settings override them, wrong names are errors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.recipes import NETWORKS, Recipe, choose_recipe

SHAPES = {"image": (3, 32, 32), "text": (2**18,), "vector": (384,), "table": (20,)}


def recipe(kind: str = "image", **changes: Any) -> Recipe:
    arguments = {"rows": 4000, "num_classes": 10, "input_shape": SHAPES[kind]}
    return choose_recipe(kind, **{**arguments, **changes})


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_recipe_survives_json(kind: str) -> None:
    chosen = recipe(kind)
    assert Recipe.from_record(json.loads(json.dumps(chosen.to_record()))) == chosen


def test_a_record_is_flat_and_does_not_change() -> None:
    """Records are stored with audits, and their digest is part of the key of a training."""
    assert recipe(network_kwargs={"widths": [8]}).to_record() == {
        "network": "cnn",
        "network_kwargs": {"widths": [8]},
        "epochs": 12,
        "batch_size": 128,
        "learning_rate": 0.1,
        "optimizer": "muon",
        "optimizer_kwargs": {"weight_decay": 0.1},
        "schedule": "triangular",
        "label_smoothing": 0.0,
        "crop_padding": 2,
        "flip": True,
        "average_share": 0.16,
        "members": 1,
    }


def test_a_record_with_other_settings_is_refused() -> None:
    record = recipe().to_record()
    del record["flip"]
    with pytest.raises(
        StorageError, match=r"missing settings: flip; unknown settings: none\)\. Continue with the version"
    ):
        Recipe.from_record(record)
    with pytest.raises(StorageError, match=r"missing settings: flip; unknown settings: mirror\)"):
        Recipe.from_record({**record, "mirror": True})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r"The setting epochs is 0\. Set it to a positive number"),
        ({"learning_rate": -0.5}, r"The setting learning_rate is -0\.5\."),
    ],
)
def test_settings_of_a_recipe_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**changes)


@given(
    kind=st.sampled_from(sorted(NETWORKS)),
    rows=st.integers(4, 2_000_000),
    num_classes=st.integers(2, 2000),
    side=st.integers(8, 256),
    channels=st.sampled_from([1, 3]),
)
def test_every_size_gets_a_sane_recipe(kind: str, rows: int, num_classes: int, side: int, channels: int) -> None:
    shape = {"image": (channels, side, side), "text": (2**18,), "vector": (384,), "table": (50,)}[kind]
    chosen = choose_recipe(kind, rows=rows, num_classes=num_classes, input_shape=shape)
    steps = chosen.epochs * -(-rows // chosen.batch_size)
    assert 2 <= chosen.batch_size <= 1024
    assert chosen.epochs >= 3
    assert steps <= 40_000 or chosen.epochs <= 10
    assert 0 <= chosen.label_smoothing < 1
    assert 0 <= chosen.average_share < 1
    assert chosen.members >= 1


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_given_wins(kind: str) -> None:
    chosen = recipe(kind, epochs=3, batch_size=17, learning_rate=0.123, network_kwargs={"extra": 1})
    assert (chosen.epochs, chosen.batch_size, chosen.learning_rate) == (3, 17, 0.123)
    assert chosen.network_kwargs["extra"] == 1
    kept = replace(
        chosen,
        **{name: getattr(recipe(kind), name) for name in ("epochs", "batch_size", "learning_rate", "network_kwargs")},
    )
    assert kept == recipe(kind)


def test_only_colour_images_are_mirrored() -> None:
    assert recipe(input_shape=(3, 32, 32)).flip
    assert not recipe(input_shape=(1, 28, 28)).flip  # a mirrored 2 or B is another sign


def test_pretrained_networks_are_trained_with_a_small_learning_rate() -> None:
    scratch = recipe(network="torchvision:resnet18")
    tuned = recipe(network="torchvision:resnet18", network_kwargs={"weights": "DEFAULT"})
    assert tuned.learning_rate < scratch.learning_rate / 5
    assert tuned.epochs < scratch.epochs


def test_small_datasets_are_seen_more_often() -> None:
    for kind in NETWORKS:
        assert recipe(kind, rows=200).epochs >= recipe(kind, rows=100_000).epochs
        assert recipe(kind, rows=200).batch_size <= recipe(kind, rows=100_000).batch_size


def test_unknown_kind() -> None:
    with pytest.raises(ConfigError, match=r"Kind 'audio' is unknown\. Use one of image, text, vector, table"):
        choose_recipe("audio", rows=10, num_classes=2, input_shape=(1,))


def test_unknown_network_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"Network 'cnnn' is unknown\. Did you mean 'cnn'\? Use auto, cnn"):
        recipe(network="cnnn")
    with pytest.raises(ConfigError, match=r"Network 'zzz' is unknown\. Use auto"):
        recipe(network="zzz")


def test_a_network_for_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Network 'mlp' is not for image data\. Use auto, cnn or"):
        recipe(network="mlp")
    with pytest.raises(ConfigError, match=r"'torchvision:resnet18' is for images, but .* kind is table"):
        recipe("table", network="torchvision:resnet18")


def test_own_networks_fit_every_kind() -> None:
    for kind in NETWORKS:
        assert recipe(kind, network="my_package.nets:build").network == "my_package.nets:build"
