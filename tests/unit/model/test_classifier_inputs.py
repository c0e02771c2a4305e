"""X of every type gives the same weights, and the caller and the estimator share no memory that either writes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from labelaudit.errors import InputError, TrainingError
from labelaudit.model.classifier import TorchClassifier
from labelaudit.model.networks import Ngrams, Pixels
from support.toys import WHOLE, InPlace, RowDataset, Uncopied, X, Y, own, same_weights, small


@pytest.fixture(scope="module")
def reference() -> TorchClassifier:
    """Fitted on the whole numbers as float32."""
    return small().fit(WHOLE.astype(np.float32), Y)


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


NUMBER_TYPES = [
    *("float16", "float32", "float64", "longdouble"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *(">f2", ">f4", ">f8", ">i2", ">i4", ">i8", ">u2", ">u4", ">u8"),
]

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": np.ascontiguousarray,
    "read only": read_only,
    "Fortran": np.asfortranarray,
    "strided": lambda values: np.repeat(np.repeat(values, 2, axis=0), 3, axis=1)[::2, ::3],
    "negative strides": lambda values: values[::-1, ::-1].copy()[::-1, ::-1],
    "read only, reversed": lambda values: read_only(values[::-1])[::-1],
}


@given(kind=st.sampled_from(NUMBER_TYPES), layout=st.sampled_from(sorted(LAYOUTS)))
@settings(max_examples=60)
def test_number_types_and_layouts_do_not_matter(reference: TorchClassifier, kind: str, layout: str) -> None:
    data = LAYOUTS[layout](WHOLE.astype(kind))
    before = data.copy()
    classifier = small().fit(data, Y)
    assert same_weights(classifier, reference)
    np.testing.assert_array_equal(classifier.predict_proba(data), reference.predict_proba(WHOLE.astype(np.float32)))
    np.testing.assert_array_equal(data, before)
    assert data.dtype == before.dtype


@given(kind=st.sampled_from(NUMBER_TYPES), layout=st.sampled_from(sorted(LAYOUTS)))
@settings(max_examples=60)
def test_number_types_and_layouts_of_a_bound_array_do_not_matter(
    reference: TorchClassifier, kind: str, layout: str
) -> None:
    data = LAYOUTS[layout](WHOLE.astype(kind))
    assert same_weights(small(dataset=data).fit(np.arange(120), Y), reference)


def test_a_memory_map_is_not_copied(tmp_path: Path, reference: TorchClassifier) -> None:
    path = tmp_path / "rows.bin"
    WHOLE.astype(np.float32).tofile(path)
    for mode in ("r", "c", "r+"):
        data = np.memmap(path, np.float32, mode, shape=WHOLE.shape)  # type: ignore[call-overload]
        assert same_weights(small().fit(data, Y), reference)
        assert same_weights(small(dataset=data).fit(np.arange(120), Y), reference)
    np.testing.assert_array_equal(np.fromfile(path, np.float32).reshape(WHOLE.shape), WHOLE)


CONTAINERS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda values: values.tolist(),
    "tensor": torch.tensor,
    "tensor float64": lambda values: torch.tensor(values).double(),
    "tensor uint8": lambda values: torch.tensor(values).to(torch.uint8),
    "tensor uint16": lambda values: torch.tensor(values).to(torch.uint16),
    "tensor bfloat16": lambda values: torch.tensor(values).bfloat16(),
    "tensor float16": lambda values: torch.tensor(values).half(),
    "tensor with gradients": lambda values: torch.tensor(values).float().requires_grad_(),
    "tensor transposed": lambda values: torch.tensor(values.T.copy()).T,
    "DataFrame": lambda values: pd.DataFrame(values, columns=list("abcdef")),
    "DataFrame of mixed types": lambda values: pd.DataFrame(values, columns=list("abcdef")).astype(
        {"a": "float64", "b": "int64", "c": "uint8"}
    ),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_matrix,
    "csr array": sparse.csr_array,
    "csr float32": lambda values: sparse.csr_array(values.astype(np.float32)),
    "TensorDataset": lambda values: TensorDataset(torch.tensor(values)),
    "TensorDataset with labels": lambda values: TensorDataset(torch.tensor(values).float(), torch.tensor(Y)),
    "own Dataset": RowDataset,
    "own Dataset of floats": lambda values: RowDataset(values.astype(np.float64)),
    "own Dataset of bare rows": Uncopied,
}
TORCH_SPARSE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "torch COO": torch.Tensor.to_sparse,
    "torch CSR": torch.Tensor.to_sparse_csr,
    "torch CSC": torch.Tensor.to_sparse_csc,
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_do_not_matter(name: str, reference: TorchClassifier) -> None:
    data = CONTAINERS[name](WHOLE)
    classifier = small().fit(data, Y)
    assert same_weights(classifier, reference)
    np.testing.assert_array_equal(classifier.predict_proba(data), reference.predict_proba(WHOLE))


@pytest.mark.parametrize("name", [name for name in CONTAINERS if name != "list"])
def test_containers_of_a_bound_dataset_do_not_matter(name: str, reference: TorchClassifier) -> None:
    classifier = small(dataset=CONTAINERS[name](WHOLE)).fit(np.arange(120), Y)
    assert same_weights(classifier, reference)
    rows = np.array([5, 3, 3, 119])
    np.testing.assert_array_equal(classifier.predict(rows), reference.predict(WHOLE[rows]))


@pytest.mark.filterwarnings("ignore:Sparse CS[RC] tensor support is in beta")
@pytest.mark.parametrize("name", TORCH_SPARSE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_sparse_tensors_are_sparse_matrices(name: str, dtype: torch.dtype, reference: TorchClassifier) -> None:
    data = TORCH_SPARSE[name](torch.tensor(WHOLE).to(dtype))
    assert same_weights(small().fit(data, Y), reference)


def test_a_bound_sparse_tensor_is_a_sparse_matrix(reference: TorchClassifier) -> None:
    data = torch.tensor(WHOLE).float().to_sparse()
    assert same_weights(small(dataset=data).fit(np.arange(120), Y), reference)


def test_truth_values_are_0_and_1(reference: TorchClassifier) -> None:
    flags = WHOLE > 10
    expected = small().fit(flags.astype(np.float32), Y)
    for data in (flags, torch.tensor(flags), pd.DataFrame(flags, columns=list("abcdef")), RowDataset(flags)):
        assert same_weights(small().fit(data, Y), expected)
    assert not same_weights(expected, reference)


@pytest.mark.parametrize("kind", ["<f8", ">f8"])
def test_float64_is_exact_if_requested(kind: str) -> None:
    fine = X.astype(np.float64) + 1e-9
    expected = small(precision="float64", dataset=torch.from_numpy(fine)).fit(np.arange(120), Y)
    assert same_weights(small(precision="float64").fit(fine.astype(kind), Y), expected)
    assert not same_weights(small(precision="float64").fit(X.astype(np.float64), Y), expected)


def test_sparse_rows_reach_a_module_that_takes_them() -> None:
    data = sparse.csr_matrix(np.where(X > 0.5, X, 0))
    classifier = own(Ngrams, epochs=30, learning_rate=0.1)
    assert classifier.fit(data, Y).score(data, Y) > 0.6


def test_a_sparse_matrix_with_doubled_entries_is_not_changed() -> None:
    parts = (np.array([1.0, 2.0, 5.0, 1.0]), np.array([1, 1, 2, 0]), np.array([0, 3, 4]))
    doubled = sparse.csr_matrix(parts, shape=(2, 6))
    before = [part.copy() for part in (doubled.data, doubled.indices, doubled.indptr)]
    classifier = small().fit(doubled, [0, 1])
    assert same_weights(classifier, small().fit(doubled.toarray(), [0, 1]))
    for part, old in zip((doubled.data, doubled.indices, doubled.indptr), before, strict=True):
        np.testing.assert_array_equal(part, old)


class Types(nn.Module):
    """Records the dtypes of its inputs."""

    seen: list[torch.dtype]

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.dtype)
        output: torch.Tensor = self.inner(x)
        return output


@pytest.mark.parametrize("kind", ["uint8", "int32", "uint16", "int64"])
@pytest.mark.parametrize("contain", [np.asarray, torch.tensor, RowDataset])
def test_embeddings_get_int64(kind: str, contain: Callable[[np.ndarray], Any]) -> None:
    words = np.random.default_rng(0).integers(0, 9, (40, 4)).astype(kind)
    module = Types(nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(12, 2)))
    classifier = own(module).fit(contain(words), words[:, 0] > 4)
    assert set(classifier.module_.seen) == {torch.int64}
    assert classifier.predict_proba(contain(words)).shape == (40, 2)


@pytest.mark.parametrize("contain", [np.asarray, torch.tensor, RowDataset, lambda values: torch.tensor(values).long()])
def test_images_of_bytes_reach_pixels_as_bytes(contain: Callable[[np.ndarray], Any]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 4, 4), np.uint8)
    module = nn.Sequential(Types(Pixels([0.5], [0.5])), nn.Flatten(), nn.Linear(16, 2))
    classifier = own(module).fit(contain(images), np.arange(20) % 2)
    assert set(classifier.module_[0].seen) == {torch.uint8}


def test_images_of_fractions_stay_fractions() -> None:
    images = np.random.default_rng(0).random((20, 1, 4, 4))
    module = nn.Sequential(Types(Pixels([0.5], [0.5])), nn.Flatten(), nn.Linear(16, 2))
    assert set(own(module).fit(images, np.arange(20) % 2).module_[0].seen) == {torch.float32}


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_numbers_reach_the_module_in_its_own_precision(precision: str) -> None:
    classifier = own(Types(nn.Linear(6, 3)), precision=precision).fit(WHOLE, Y)
    assert set(classifier.module_.seen) == {torch.float64 if precision == "float64" else torch.float32}


MUTABLE: dict[str, Callable[[], Any]] = {
    "array": X.copy,
    "tensor": lambda: torch.tensor(X),
    "DataFrame": lambda: pd.DataFrame(X.copy()),
    "TensorDataset": lambda: TensorDataset(torch.tensor(X)),
    "own Dataset": lambda: RowDataset(X.copy()),
}


def values_of(data: Any) -> np.ndarray:
    if isinstance(data, TensorDataset):
        data = data.tensors[0]
    return np.asarray(data.values if isinstance(data, RowDataset) else data)


@pytest.mark.parametrize("name", MUTABLE)
@pytest.mark.parametrize("bound", [False, True])
def test_a_module_that_writes_into_its_input_does_not_reach_the_callers_data(name: str, bound: bool) -> None:
    data = MUTABLE[name]()
    classifier = own(InPlace, dataset=data if bound else None, early_stopping=True, batch_size=200)
    given = np.arange(120) if bound else data
    classifier.fit(given, Y)
    classifier.predict_proba(given)
    classifier.transform(given)
    np.testing.assert_array_equal(values_of(data), X)


def test_a_module_that_changes_its_input_gets_correct_mirrored_views() -> None:
    images = np.random.default_rng(0).random((30, 1, 4, 4)).astype(np.float32)
    settings: dict[str, Any] = {"flip": True, "crop_padding": 1}
    results = [
        own(InPlace, module__in_place=in_place, **settings).fit(images, np.arange(30) % 2).predict_proba(images)
        for in_place in (True, False)
    ]
    np.testing.assert_array_equal(*results)


def test_labels_weights_and_groups_are_not_changed() -> None:
    given = {"y": Y.copy(), "sample_weight": np.linspace(1, 2, 120), "groups": np.arange(120) // 2}
    before = {name: value.copy() for name, value in given.items()}
    small(early_stopping=True, class_weight="balanced").fit(X, **given)
    for name, value in given.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba", "decision_function", "predict", "transform"])
@pytest.mark.parametrize("module", [small().module, nn.Linear(6, 3)])
def test_results_are_the_callers_own(method: str, module: Any) -> None:
    data = X.copy()
    classifier = own(module).fit(data, Y)
    result = getattr(classifier, method)(data)
    expected = result.copy()
    assert isinstance(result, np.ndarray)
    assert not np.shares_memory(result, data)
    result[:] = 0
    np.testing.assert_array_equal(getattr(classifier, method)(data), expected)
    np.testing.assert_array_equal(data, X)
    assert classifier.classes_.tolist() == [0, 1, 2]


def test_changes_after_a_fit_have_no_effect() -> None:
    data, labels = X.copy(), Y.copy()
    classifier = small().fit(data, labels)
    expected = classifier.predict_proba(X)
    data[:], labels[:] = 0, 0
    np.testing.assert_array_equal(classifier.predict_proba(X), expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X[:, 0], r"Expected 2D array, got 1D array instead"),
        (np.where(np.arange(6) == 2, np.nan, X), r"Input X contains NaN"),
        (np.where(np.arange(6) == 2, np.inf, X.astype(np.float64)), r"Input X contains infinity"),
        (X.astype(complex), r"Complex data not supported"),
        (X[:0], r"Found array with 0 sample\(s\)"),
        (X[:, :0], r"Found array with 0 feature\(s\)"),
        (
            np.full((120, 2), "word"),
            r"dtype='numeric' is not compatible with|could not convert",
        ),
        (X[:50], r"inconsistent numbers of samples: \[50, 120\]"),
        (RowDataset(X[:50]), r"inconsistent numbers of samples: \[50, 120\]"),
        (None, r"None"),
    ],
)
def test_wrong_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().fit(data, Y)


def test_examples_of_another_shape_are_refused() -> None:
    classifier = small().fit(X, Y)
    with pytest.raises(ValueError, match=r"X has 5 features, but TorchClassifier is expecting 6 features"):
        classifier.predict(X[:, :5])
    with pytest.raises(InputError, match=r"X has examples of shape \(5,\), but fit was called with \(6,\)"):
        classifier.predict(RowDataset(X[:, :5]))
    with pytest.raises(InputError, match=r"X has examples of shape \(5,\), but fit was called with \(6,\)"):
        classifier.set_params(dataset=X[:, :5]).predict(np.arange(3))
    stacked = X.reshape(120, 2, 3)
    with pytest.raises(InputError, match=r"X has examples of shape \(2, 1\), but fit was called with \(2, 3\)"):
        small().fit(stacked, Y).predict(stacked[:, :, :1])


def test_a_stream_without_row_numbers_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(X)

    with pytest.raises(
        TrainingError,
        match=r"X or dataset is a Stream, which is not supported\. Use a tensor, .* a map-style torch Dataset",
    ):
        small().fit(Stream(), Y)


@pytest.mark.parametrize("dataset", [{"a": X}, X.tolist(), "rows"])
def test_a_bound_dataset_of_another_kind_is_refused(dataset: Any) -> None:
    with pytest.raises(
        TrainingError, match=rf"X or dataset is a {type(dataset).__name__}, which is not supported\. Use a tensor"
    ):
        small(dataset=dataset).fit([0], [0])


def test_names_of_columns_are_remembered_and_checked() -> None:
    frame = pd.DataFrame(X, columns=list("abcdef"))
    classifier = small().fit(frame, Y)
    assert classifier.feature_names_in_.tolist() == list("abcdef")
    assert classifier.n_features_in_ == 6
    with pytest.raises(ValueError, match=r"feature names should match"):
        classifier.predict(frame.rename(columns={"a": "z"}))
