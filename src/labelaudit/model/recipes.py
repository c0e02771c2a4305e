"""How a network is trained: every `auto` of the config, decided by the kind and size of a dataset.

The rules are general; none looks at labels beyond their number, and none knows a dataset. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labelaudit.errors import ConfigError
from labelaudit.text import closest

NETWORKS = {"image": "cnn", "text": "ngrams", "table": "mlp"}

# Average precision (AP) below is that of finding the known label errors of real datasets with the label's
# out-of-fold probability: images CIFAR-10N (4,000 rows a fold), texts NoisyAG-News (4,000), table Music (560).
# Images were screened on three folds of one seed, where .01 is noise; texts and tables on two seeds.

# 12 epochs of Muon for 4,000 images (docs/image-training.md); smaller datasets need more.
_IMAGE_EPOCHS, _IMAGE_ROWS = 12, 4000
# The weights of about the last sixth of the steps are averaged.
_AVERAGE_SHARE = 0.16
_TEXT_STEPS = 315
# Fewest and most steps of a table.
_TABLE_STEPS = (300, 5000)
# Networks that we do not know: what trains nearly anything, if not best.
_OTHER_NETWORKS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "optimizer": "adamw",
    "optimizer_kwargs": {"weight_decay": 1e-2},
    "schedule": "one_cycle",
}
# AdamW takes about three times the epochs that Muon takes.
_OTHER_EPOCHS = 3
# Pretrained weights: short, and with small steps.
_TUNING = {"learning_rate": 1e-4, "epochs": 6}


@dataclass(frozen=True)
class Recipe:
    """One way to train, without any `auto`; JSON-able by `dataclasses.asdict`, rebuilt by `Recipe(**json)`.

    `crop_padding` in pixels; `flip` mirrors half of the images in training; predictions are averaged over
    shifted and mirrored views. `average_share` is the share of all steps whose weights are averaged, 0 for
    none; `members` is the number of networks with different seeds whose probabilities are averaged.
    """

    network: str
    network_kwargs: dict[str, Any]
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    optimizer_kwargs: dict[str, Any]
    schedule: str
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    average_share: float = 0.0
    members: int = 1


def choose_recipe(
    kind: str,
    *,
    network: str = "auto",
    network_kwargs: dict[str, Any] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    rows: int,
    num_classes: int,
    input_shape: Sequence[int],
) -> Recipe:
    """The recipe for a dataset of `kind` ("image", "text" or "table"); what is given wins over the rules.

    Args:
        rows: training rows of one fold.
        input_shape: of one example: images (C, H, W), texts (hashed features,), tables (columns,).

    Raises:
        ConfigError: the kind or network is unknown, or the network is for another kind.
    """
    if kind not in NETWORKS:
        raise ConfigError(f"kind {kind!r} is unknown: use {', '.join(NETWORKS)}.")
    name = NETWORKS[kind] if network == "auto" else network
    check_network(kind, name)
    rules = {"image": _image, "text": _text, "table": _table}[kind]
    chosen = rules(name, rows, num_classes, tuple(input_shape), bool((network_kwargs or {}).get("weights")))
    chosen["network_kwargs"] = {**chosen.get("network_kwargs", {}), **(network_kwargs or {})}
    asked = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    chosen |= {setting: value for setting, value in asked.items() if value is not None}
    return Recipe(network=name, **chosen)


def check_network(kind: str, network: str) -> None:
    """Raise `ConfigError` where `network` is no known name, or is for another kind of data."""
    if network.startswith("torchvision:") and kind != "image":
        raise ConfigError(f"network {network!r} is for images, and this dataset's kind is {kind}; use auto.")
    if ":" in network or network == NETWORKS[kind]:
        return
    if network in NETWORKS.values():
        raise ConfigError(
            f"network {network!r} is not for {kind} data: use auto, {NETWORKS[kind]} or your own my_package.nets:build."
        )
    known = ["auto", *NETWORKS.values(), "torchvision:resnet18", "torchvision:resnet50"]
    close = closest(network, known)
    hint = f"did you mean {close!r}? " if close else ""
    raise ConfigError(
        f"network {network!r} is unknown; {hint}Use auto, {', '.join(NETWORKS.values())}, "
        "torchvision:<model> or my_package.nets:build."
    )


def _image(name: str, rows: int, num_classes: int, shape: tuple[int, ...], tuned: bool) -> dict[str, Any]:
    channels, height, width = shape
    epochs = _clip(_IMAGE_EPOCHS * math.sqrt(_IMAGE_ROWS / rows), 6, 30)
    views = {"crop_padding": max(1, min(height, width) // 16), "flip": channels == 3}
    batch_size = _power_of_two(rows / 32, 32, 256)
    if name != NETWORKS["image"]:
        longer = {"epochs": _OTHER_EPOCHS * epochs}
        return {**_OTHER_NETWORKS, **views, **(_TUNING if tuned else longer), "batch_size": batch_size}
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": 0.1,
        "optimizer": "muon",
        "optimizer_kwargs": {"weight_decay": 0.1},
        "schedule": "triangular",
        "average_share": _AVERAGE_SHARE,
        **views,
    }


def _text(name: str, rows: int, num_classes: int, shape: tuple[int, ...], tuned: bool) -> dict[str, Any]:
    batch_size = _power_of_two(rows / 64, 16, 1024)
    # AdamW moves a weight by the learning rate per step: about 300 steps take it as far as it needs to go.
    epochs = _clip(_TEXT_STEPS * batch_size / rows, 3, 20)
    if name != NETWORKS["text"]:
        return {**_OTHER_NETWORKS, "epochs": epochs, "batch_size": batch_size}
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": 0.02,
        "optimizer": "adamw",
        "optimizer_kwargs": {"weight_decay": 0.0},
        "schedule": "one_cycle",
        # A linear model over so many n-grams fits any label: AP .499 without smoothing, .517 at 0.1.
        "label_smoothing": 0.3,
    }


def _table(name: str, rows: int, num_classes: int, shape: tuple[int, ...], tuned: bool) -> dict[str, Any]:
    batch_size = _power_of_two(rows / 50, 32, 1024)
    steps = math.ceil(rows / batch_size)
    epochs = _clip(20, math.ceil(_TABLE_STEPS[0] / steps), math.ceil(_TABLE_STEPS[1] / steps))
    epochs = _clip(epochs, 5, 60)
    if name != NETWORKS["table"]:
        return {**_OTHER_NETWORKS, "epochs": epochs, "batch_size": batch_size}
    return {
        "network_kwargs": {"dropout": 0.3},
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": 1e-3,
        "optimizer": "adamw",
        "optimizer_kwargs": {"weight_decay": 1e-2},
        "schedule": "one_cycle",
        "label_smoothing": 0.2,
        "members": 3,
    }


def _clip(value: float, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, round(value)))


def _power_of_two(value: float, lowest: int, highest: int) -> int:
    return _clip(2.0 ** round(math.log2(value)), lowest, highest)
