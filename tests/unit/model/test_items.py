"""Items of torch Datasets: tensors, arrays and numbers reach the module, and everything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse
from torch import nn
from torch.utils.data import Dataset

from labelaudit.errors import InputError, TrainingError
from labelaudit.model.batches import bind_rows
from labelaudit.model.features import TorchFeatures
from labelaudit.model.items import ItemInputs, as_batch, dataset_shape, item_input
from support.toys import CPU, X, Y, own, same_weights, small


class Items(Dataset[Any]):
    def __init__(self, item: Callable[[int], Any], length: Any = 120) -> None:
        self.item, self.length = item, length

    def __len__(self) -> int:
        return self.length  # type: ignore[no-any-return]

    def __getitem__(self, row: int) -> Any:
        return self.item(row)


RULE = r"An item must be x or \(x, \.\.\.\), and x a tensor, a NumPy array of numbers or a number\."


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"input_values": 1, "label": 0},
            r"is a dict with the keys 'input_values', 'label'\. .* set_format\('",
        ),
        (({"x": 1}, 0), r"starts with a dict with the keys 'x'\. .*wrap it in a Dataset that returns one entry"),
        (Image.new("L", (2, 2)), r"is a PIL.Image.Image\. .*with a transform, such as torchvision.*PILToTensor"),
        ((Image.new("L", (2, 2)), 0), r"starts with a PIL.Image.Image\. "),
        ("a text", r"is 'a text'\. .*Convert texts to numbers in the Dataset"),
        ((b"a text", 0), r"starts with b'a text'\. .*Convert texts to numbers"),
        (None, r"is None\. .*with torch\.tensor"),
        ((), r"is a tuple\. .*with torch\.tensor"),
        (np.array(["1", "2"]), r"is an array of dtype <U1\. "),
        (np.array([1, None]), r"is an array of dtype object\. "),
        (np.array(["2020-01-01"], "M8[D]"), r"is an array of dtype datetime64\[D\]\. "),
        (torch.zeros(2, dtype=torch.complex64), r"is a tensor of layout torch.strided and type torch.complex64\. "),
        (torch.zeros(2).to_sparse(), r"is a tensor of layout torch.sparse_coo and type torch.float32\. "),
        (sparse.csr_array(np.eye(2)), r"is a scipy.sparse.*csr_array\. "),
        (pd.Series([1.0]), r"is a pandas.*Series\. "),
        (([1.0, 2.0], 0), r"starts with a list\. .*with torch\.tensor"),
    ],
)
def test_items_that_are_not_numbers_are_refused(item: Any, message: str) -> None:
    for fit in (
        lambda: small().fit(Items(lambda row: item), Y),
        lambda: small(dataset=Items(lambda row: item)).fit(np.arange(120), Y),
        lambda: small().fit(X, Y).predict(Items(lambda row: item)),
        lambda: TorchFeatures(nn.Linear(6, 2), device="cpu").fit(Items(lambda row: item)),
    ):
        with pytest.raises(InputError, match=rf"Item 0 of the Dataset {message}") as caught:
            fit()
        assert caught.match(RULE)


@pytest.mark.parametrize("item", [[1.0, 2.0, 3.0], (1.0, 2.0, 3.0), (np.float32(1), 0), (True, 0)])
def test_numbers_that_would_be_lost_are_refused(item: Any) -> None:
    with pytest.raises(InputError, match=r"Item 7 .* is a \w+ that starts with a number\. .*Return torch\.tensor"):
        item_input(item, 7)


@pytest.mark.parametrize(
    "item", [torch.tensor([1.0, 2]), np.array([1.0, 2]), np.array([True, False]), np.array(3), 2.5]
)
def test_numbers_are_taken_alone_or_before_a_label(item: Any) -> None:
    np.testing.assert_array_equal(item_input(item, 0), item)
    if not isinstance(item, float):
        np.testing.assert_array_equal(item_input((item, "label"), 0), item)
        np.testing.assert_array_equal(item_input([item, "label"], 0), item)
    assert dataset_shape(Items(lambda row: item)) == np.shape(item)


def test_numbers_keep_their_precision() -> None:
    rows = bind_rows(Items(lambda row: 1 / 3), CPU, nn.Linear(1, 1), floats=torch.float64)
    assert rows.take(torch.arange(2)).tolist() == [1 / 3, 1 / 3]
    assert as_batch([torch.ones(2), torch.zeros(2)]).tolist() == [[1, 1], [0, 0]]


def test_an_item_that_is_read_later_is_named() -> None:
    data = Items(lambda row: {"x": 1} if row == 40 else X[row])
    with pytest.raises(InputError, match=r"^Item 40 of the Dataset is a dict"):
        small().fit(data, Y)


def test_items_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"Items 2 and 3 of the Dataset have the shapes \(4,\) and \(5,\).* Pad, crop"):
        ItemInputs(Items(lambda row: torch.zeros(4 + row // 3))).__getitems__([2, 1, 3])
    with pytest.raises(InputError, match=r"of the Dataset have the shapes"):
        small().fit(Items(lambda row: np.zeros(6 + row // 100)), Y)


class Unsized(Dataset[Any]):
    def __getitem__(self, row: int) -> Any:
        return X[row]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Items(X.__getitem__, None), r"Dataset Items has no length \('NoneType' .*Give it a __len__"),
        (Unsized(), r"Dataset Unsized has no length \(.*Give it a __len__"),
        (Items(X.__getitem__, 0), r"Dataset Items has no items\. Pass a Dataset with at least one"),
    ],
)
def test_datasets_without_a_length_or_items_are_refused(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small().fit(data, Y)
    with pytest.raises(InputError, match=message):
        small(dataset=data).fit(np.arange(120), Y)


class OfHuggingFace:
    """Looks like a `datasets.Dataset`."""

    def __len__(self) -> int:
        return 120

    def __getitem__(self, row: int) -> Any:
        return {"text": "a"}

    def set_format(self, kind: str) -> None:
        pass


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": X}, r"X is a builtins\.dict, which has its values by name\. Pass the array or tensor of one name"),
        (OfHuggingFace(), r"X is a .*OfHuggingFace, which has its values by name\. .*call set_format\('torch'\)"),
        ([{"a": 1.0}] * 120, r"X contains a dict, which has its values by name\. "),
        (["text"] * 120, r"X contains the text 'text', but must contain numbers\. .*TfidfVectorizer"),
        (pd.Series(["text"] * 120), r"X contains the text 'text'"),
        ([X[0], X[1, :3]] * 60, r"X has examples of different shapes, such as \(3,\) and \(6,\).* Pad, crop or resize"),
        (np.array([X[0], X[1, :3]] * 60, object), r"X has examples of different shapes, such as \(3,\) and \(6,\)"),
        (np.full((120, 2), "2020-01-01", "M8[D]"), r"dtype datetime64\[D\], but inputs are real numbers\. Convert tex"),
        (pd.DataFrame(X).assign(when=pd.Timestamp(0)), r"columns that do not contain numbers: when\. Encode them"),
        (pd.DataFrame(X).assign(kind=pd.Categorical(["a"] * 120)), r"columns that do not contain numbers: kind"),
        (pd.DataFrame(X).assign(name="7"), r"columns that do not contain numbers: name"),
    ],
    ids=[
        "dict",
        "HF",
        "dicts",
        "texts",
        "Series",
        "ragged",
        "ragged objects",
        "dates",
        "date",
        "categories",
        "strings",
    ],
)
def test_collections_that_are_not_numbers_are_refused(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small().fit(data, Y)


def test_a_bound_dataset_of_hugging_face_is_refused_with_its_remedy() -> None:
    with pytest.raises(InputError, match=r"is a OfHuggingFace, which is not supported\..* call set_format\('torch'\)"):
        small(dataset=OfHuggingFace()).fit(np.arange(120), Y)


@pytest.mark.parametrize("bound", [False, True])
def test_numbers_in_columns_of_objects_and_nullable_columns_are_numbers(bound: bool) -> None:
    expected = small().fit(X, Y)
    plain = pd.DataFrame(X, columns=list("abcdef"))
    nullable = plain.astype("Float32")
    for frame in (plain.astype(object), nullable):
        classifier = small(dataset=frame) if bound else small()
        assert same_weights(classifier.fit(np.arange(120) if bound else frame, Y), expected)


def test_bound_columns_in_another_order_are_refused() -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    classifier = small(dataset=frame).fit(np.arange(120), Y)
    with pytest.raises(InputError, match=r"columns f, e, d, c, b and 1 more, but fit was called with a, b, "):
        classifier.set_params(dataset=frame[list("fedcba")]).predict([0])
    assert classifier.set_params(dataset=X).predict([0]).shape == (1,)


def test_missing_values_of_a_bound_dataset_are_not_predicted() -> None:
    data = np.where(np.arange(120)[:, None] == 50, np.nan, X)
    classifier = own(nn.Linear(6, 3), dataset=data).fit(np.arange(40), Y[:40])
    with pytest.raises(TrainingError, match=r"returned NaN for 1 of 120 rows \(first: row 50\)\. Remove missing"):
        classifier.predict(np.arange(120))
