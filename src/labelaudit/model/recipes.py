"""How a network is trained: the kind and the size of a dataset decide every `auto` of the config.

The rules are general. They use no labels except their number, and they know no particular dataset. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

from labelaudit.codec import JsonObject
from labelaudit.errors import ConfigError, StorageError
from labelaudit.model.aliases import Kwargs
from labelaudit.model.hyperparameters import Hyperparameters
from labelaudit.text import closest

NETWORKS = {"image": "cnn", "text": "ngrams", "vector": "mlp", "table": "mlp"}
_NAMES = tuple(dict.fromkeys(NETWORKS.values()))

# Average precision (AP) below says how well out-of-fold probabilities find the known label errors of real datasets:
# CIFAR-10N (images, 4,000 rows a fold), NoisyAG-News (texts, 4,000) and Music (table, 560).
# Images were compared on three folds of one seed, with a noise of .01; texts and tables on two seeds.

# 12 epochs of Muon for 4,000 images (docs/image-training.md); smaller datasets need more.
_IMAGE_EPOCHS, _IMAGE_ROWS = 12, 4000
# Weights are averaged over about the last sixth of the steps.
_AVERAGE_SHARE = 0.16
_TEXT_STEPS = 315
# Fewest and most steps for a table.
_TABLE_STEPS = (300, 5000)
# AdamW needs about three times as many epochs as Muon.
_OTHER_EPOCHS = 3
# Pretrained weights need few and small steps.
_PRETRAINED_LEARNING_RATE, _PRETRAINED_EPOCHS = 1e-4, 6


@dataclass(frozen=True, kw_only=True)
class Recipe(Hyperparameters):
    """One way to train, without any `auto`.

    Attributes:
        network: A name that `build_network` knows, such as "cnn" or "torchvision:resnet18".
        network_kwargs: Arguments of the network, JSON-able.
        members: Number of networks with different seeds whose probabilities are averaged.
    """

    network: str
    network_kwargs: Kwargs
    members: int
    # Names alone: a recipe is stored as JSON.
    optimizer: str
    schedule: str

    def to_record(self) -> JsonObject:
        """Return the recipe as one flat JSON object, as records of audits contain it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Kwargs) -> Self:
        """Return the recipe that `to_record` wrote.

        Raises:
            StorageError: A setting is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if record.keys() != names:
            missing, unknown = (
                ", ".join(sorted(part)) or "none" for part in (names - record.keys(), record.keys() - names)
            )
            raise StorageError(
                "The recipe in an audit's record does not fit this version of labelaudit "
                f"(missing settings: {missing}; unknown settings: {unknown}). "
                "Continue with the version that wrote it, or start a new audit."
            )
        return cls(**record)


def choose_recipe(
    kind: str,
    *,
    network: str = "auto",
    network_kwargs: Kwargs | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    rows: int,
    num_classes: int,
    input_shape: Sequence[int],
) -> Recipe:
    """Return the recipe for a dataset. Given settings override the rules.

    Args:
        kind: "image", "text", "vector" or "table".
        rows: Number of training rows in one fold.
        num_classes: Number of classes.
        input_shape: Shape of one example: (C, H, W) for images, (hashed features,) for texts, (d,) for vectors,
            (columns,) for tables.

    Raises:
        ConfigError: The kind or the network is unknown, or the network is for another kind.
    """
    if kind not in NETWORKS:
        raise ConfigError(f"Kind {kind!r} is unknown. Use one of {', '.join(NETWORKS)}.")
    name = NETWORKS[kind] if network == "auto" else network
    check_network(kind, name)
    given = network_kwargs or {}
    if kind == "image":
        recipe = _image_recipe(name, rows, input_shape, is_pretrained=bool(given.get("weights")))
    else:
        recipe = _text_recipe(name, rows) if kind == "text" else _table_recipe(name, rows)
    return replace(
        recipe,
        network_kwargs={**recipe.network_kwargs, **given},
        epochs=recipe.epochs if epochs is None else epochs,
        batch_size=recipe.batch_size if batch_size is None else batch_size,
        learning_rate=recipe.learning_rate if learning_rate is None else learning_rate,
    )


def check_network(kind: str, network: str) -> None:
    """Check that `network` is a known name and fits the kind of data.

    Raises:
        ConfigError: It is unknown, or it is for another kind.
    """
    if network.startswith("torchvision:") and kind != "image":
        raise ConfigError(f"Network {network!r} is for images, but the dataset's kind is {kind}. Use auto.")
    if ":" in network or network == NETWORKS[kind]:
        return
    if network in _NAMES:
        raise ConfigError(
            f"Network {network!r} is not for {kind} data. Use auto, {NETWORKS[kind]} or your own my_package.nets:build."
        )
    known = ["auto", *_NAMES, "torchvision:resnet18", "torchvision:resnet50"]
    close = closest(network, known)
    hint = f"Did you mean {close!r}? " if close else ""
    raise ConfigError(
        f"Network {network!r} is unknown. {hint}Use auto, {', '.join(_NAMES)}, "
        "torchvision:<model> or my_package.nets:build."
    )


def _image_recipe(network: str, rows: int, shape: Sequence[int], *, is_pretrained: bool) -> Recipe:
    channels, height, width = shape
    epochs = _clip(_IMAGE_EPOCHS * math.sqrt(_IMAGE_ROWS / rows), 6, 30)
    crop_padding, flip = max(1, min(height, width) // 16), channels == 3
    batch_size = _power_of_two(rows / 32, 32, 256)
    if network != NETWORKS["image"]:
        recipe = _other_recipe(network, epochs=_OTHER_EPOCHS * epochs, batch_size=batch_size)
        recipe = replace(recipe, crop_padding=crop_padding, flip=flip)
        if is_pretrained:
            recipe = replace(recipe, learning_rate=_PRETRAINED_LEARNING_RATE, epochs=_PRETRAINED_EPOCHS)
        return recipe
    return Recipe(
        network=network,
        network_kwargs={},
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=0.1,
        optimizer="muon",
        optimizer_kwargs={"weight_decay": 0.1},
        schedule="triangular",
        label_smoothing=0.0,
        crop_padding=crop_padding,
        flip=flip,
        average_share=_AVERAGE_SHARE,
        members=1,
    )


def _text_recipe(network: str, rows: int) -> Recipe:
    batch_size = _power_of_two(rows / 64, 16, 1024)
    # AdamW moves a weight by the learning rate per step. About 300 steps take it as far as it needs to go.
    epochs = _clip(_TEXT_STEPS * batch_size / rows, 3, 20)
    recipe = _other_recipe(network, epochs=epochs, batch_size=batch_size)
    if network != NETWORKS["text"]:
        return recipe
    # A linear model over so many n-grams fits any label: AP .499 without smoothing, .517 at 0.1.
    return replace(recipe, learning_rate=0.02, optimizer_kwargs={"weight_decay": 0.0}, label_smoothing=0.3)


def _table_recipe(network: str, rows: int) -> Recipe:
    batch_size = _power_of_two(rows / 50, 32, 1024)
    steps = math.ceil(rows / batch_size)
    epochs = _clip(20, math.ceil(_TABLE_STEPS[0] / steps), math.ceil(_TABLE_STEPS[1] / steps))
    recipe = _other_recipe(network, epochs=_clip(epochs, 5, 60), batch_size=batch_size)
    if network != NETWORKS["table"]:
        return recipe
    return replace(recipe, network_kwargs={"dropout": 0.3}, label_smoothing=0.2, members=3)


def _other_recipe(network: str, *, epochs: int, batch_size: int) -> Recipe:
    """Settings that train nearly any network, if not in the best way."""
    return Recipe(
        network=network,
        network_kwargs={},
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=1e-3,
        optimizer="adamw",
        optimizer_kwargs={"weight_decay": 1e-2},
        schedule="one_cycle",
        label_smoothing=0.0,
        crop_padding=0,
        flip=False,
        average_share=0.0,
        members=1,
    )


def _clip(value: float, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, round(value)))


def _power_of_two(value: float, lowest: int, highest: int) -> int:
    return _clip(2.0 ** round(math.log2(value)), lowest, highest)
