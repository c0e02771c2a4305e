"""Items of torch Datasets: what they may be, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from labelaudit.errors import InputError
from labelaudit.model.array_tensors import shared_tensor
from labelaudit.text import listing

_RULE = "An item must be x or (x, ...), and x a tensor, a NumPy array of numbers or a number"


class ItemInputs(Dataset[object]):
    """The inputs of a Dataset, without its labels."""

    def __init__(self, dataset: Dataset[object]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __getitem__(self, row: int) -> torch.Tensor | float:
        return item_input(self._dataset[row], row)

    def __getitems__(self, rows: Sequence[int]) -> list[torch.Tensor | float]:
        """Return the inputs of a batch, which DataLoaders ask for if this method exists.

        Raises:
            InputError: An item is not valid, or the inputs have different shapes.
        """
        inputs = [self[row] for row in rows]
        shapes = [tuple(np.shape(value)) for value in inputs]
        for row, shape in zip(rows, shapes, strict=True):
            if shape != shapes[0]:
                raise InputError(
                    f"Items {rows[0]} and {row} of the Dataset have the shapes {shapes[0]} and {shape}, but all must "
                    "have the same. Pad, crop or resize them in the Dataset."
                )
        return inputs


def as_batch(inputs: list[torch.Tensor | float]) -> torch.Tensor:
    """Return the inputs of a batch as one tensor (B, ...)."""
    batch: torch.Tensor = default_collate(inputs)
    return batch


def dataset_shape(dataset: Dataset[object], row: int = 0) -> tuple[int, ...]:
    """Return the shape of one example of a map-style dataset."""
    return tuple(torch.as_tensor(ItemInputs(dataset)[row]).shape)


def check_length(dataset: Dataset[object]) -> None:
    """Check that a Dataset has a length, and at least one item.

    Raises:
        InputError: It does not.
    """
    name = type(dataset).__name__
    try:
        length = len(dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError) as error:
        raise InputError(
            f"The Dataset {name} has no length ({error}). Give it a __len__ that returns the number of its items."
        ) from error
    if length == 0:
        raise InputError(f"The Dataset {name} has no items. Pass a Dataset with at least one.")


def item_input(item: object, row: int) -> torch.Tensor | float:
    """Return the input x of the item x or (x, ...) in row `row` of a Dataset. Arrays become tensors.

    Raises:
        InputError: The item is something else.
    """
    value = item
    if isinstance(item, tuple | list) and len(item):
        value = item[0]
        if _is_number(value):
            # It may also be the first of several features, which would be lost.
            raise InputError(
                f"Item {row} of the Dataset is a {type(item).__name__} that starts with a number. {_RULE}. "
                "Return torch.tensor(...) of the numbers of a row as x."
            )
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return shared_tensor(value)
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_complex():
        return value
    if _is_number(value):
        return value  # type: ignore[return-value]
    verb = "is" if value is item else "starts with"
    raise InputError(f"Item {row} of the Dataset {verb} {_described(value)}. {_RULE}. {_remedy(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating)


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {listing(map(repr, value), shown=5)}"
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype}"
    if isinstance(value, torch.Tensor):
        return f"a tensor of layout {value.layout} and type {value.dtype}"
    if value is None or isinstance(value, str | bytes):
        return repr(value)[:80]
    kind = type(value)
    return f"a {kind.__name__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__qualname__}"


def _remedy(value: object) -> str:
    if isinstance(value, Mapping):
        return (
            "For a dataset of Hugging Face, call set_format('torch'), and wrap it in a Dataset that returns one entry "
            "of each item."
        )
    if isinstance(value, str | bytes):
        return "Convert texts to numbers in the Dataset, for example to token numbers of one length."
    if type(value).__module__.startswith("PIL."):
        return "Convert images to tensors of one size with a transform, such as torchvision.transforms.PILToTensor()."
    return "Let the Dataset convert it to a tensor of real numbers, for example with torch.tensor(...)."
