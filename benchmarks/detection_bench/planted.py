"""Cells with planted noise: data of scikit-learn, or the true labels of open data sets, and models of scikit-learn."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detection_bench.cells import Cell, MissingDataError, Name
from detection_bench.noise import KINDS, RATES, plant, plant_by_confusion

FOLDS = 5
_COMPONENTS = 60
_Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Examples with right labels, and the models that predict them."""

    load: Callable[[Path], tuple[Any, _Labels]]  # reads files of a folder, or none
    models: tuple[str, ...]
    second: str  # the model that instance-dependent noise is drawn from
    file: str | None = None  # that it needs
    is_new: bool = False  # neither the data nor the models were used to choose the constants of the method


def generated(**settings: Any) -> Callable[[Path], tuple[Any, _Labels]]:
    """Return a loader of data that `make_classification` draws, without wrong labels of its own."""

    def load(_: Path) -> tuple[Any, _Labels]:
        features, labels = make_classification(flip_y=0, **settings)
        return features, labels.astype(np.int64)

    return load


def _digits(_: Path) -> tuple[Any, _Labels]:
    pixels, labels = load_digits(return_X_y=True)
    return pixels / 16, labels.astype(np.int64)


def _cancer(_: Path) -> tuple[Any, _Labels]:
    features, labels = load_breast_cancer(return_X_y=True)
    return features, labels.astype(np.int64)


def _images(name: str, label: str, *, size: int, mode: str, rows: int | None = None) -> Callable[..., Any]:
    def load(folder: Path) -> tuple[Any, _Labels]:
        table = pq.read_table(folder / name, columns=["image", label]).slice(0, rows)
        pixels = [
            np.asarray(Image.open(io.BytesIO(image["bytes"])).convert(mode).resize((size, size)), np.float32).ravel()
            for image in table["image"].to_pylist()
        ]
        components = PCA(_COMPONENTS, random_state=0).fit_transform(np.stack(pixels) / 255)
        return components, _codes(table[label].to_pylist())

    return load


def _texts(name: str, ngrams: int) -> Callable[[Path], tuple[Any, _Labels]]:
    def load(folder: Path) -> tuple[Any, _Labels]:
        table = pq.read_table(folder / name, columns=["text", "true_label"])
        vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True, ngram_range=(1, ngrams))
        return vectorizer.fit_transform(table["text"].to_pylist()), _codes(table["true_label"].to_pylist())

    return load


def _codes(names: list[str]) -> _Labels:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


SKEWED = generated(
    n_samples=6000,
    n_features=20,
    n_informative=12,
    n_classes=4,
    weights=[0.7, 0.2, 0.07, 0.03],
    class_sep=1.2,
    random_state=3,
)
_BLOBS = generated(n_samples=3000, n_features=20, n_informative=10, n_classes=3, class_sep=1.2, random_state=1)
_HUNDRED = generated(
    n_samples=8000,
    n_features=40,
    n_informative=30,
    n_classes=100,
    n_clusters_per_class=1,
    class_sep=2.0,
    random_state=2,
)
_TWO = generated(n_samples=4000, n_features=30, n_informative=8, n_classes=2, class_sep=0.8, random_state=11)
_TWENTY = generated(
    n_samples=6000,
    n_features=30,
    n_informative=20,
    n_classes=20,
    n_clusters_per_class=1,
    class_sep=1.6,
    random_state=12,
)
_MNIST, _CLOTHING = "mnist-test-10k.parquet", "clothing.parquet"
_NEWS, _POLARITY = "agnews-human-5k.parquet", "polarity.parquet"
SOURCES = {
    "digits": Source(_digits, ("logistic", "mlp"), "forest"),
    "skewed-4": Source(SKEWED, ("logistic", "forest"), "logistic"),
    "blobs-3": Source(_BLOBS, ("logistic", "mlp"), "forest"),
    "hundred": Source(_HUNDRED, ("logistic",), "logistic"),
    "mnist": Source(_images(_MNIST, "label", size=28, mode="L", rows=6000), ("logistic", "mlp"), "forest", _MNIST),
    "clothing": Source(
        _images(_CLOTHING, "true_label", size=16, mode="RGB"), ("logistic-strong", "forest"), "forest", _CLOTHING
    ),
    "agnews": Source(_texts(_NEWS, 2), ("logistic",), "logistic", _NEWS),
    "polarity": Source(_texts(_POLARITY, 1), ("logistic",), "logistic", _POLARITY),
    "cancer": Source(_cancer, ("logistic-scaled", "bayes"), "forest", is_new=True),
    "two": Source(_TWO, ("boosting", "neighbors"), "mlp", is_new=True),
    "twenty": Source(_TWENTY, ("trees", "neighbors"), "logistic", is_new=True),
    "digits-new": Source(_digits, ("neighbors", "bayes"), "logistic", is_new=True),
}
QUICK = ("digits", "skewed-4")
QUICK_MODELS = ("logistic",)


def _scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(with_mean=False), model)


MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=200),
    "logistic-scaled": lambda: _scaled(LogisticRegression(max_iter=200)),
    "logistic-strong": lambda: _scaled(LogisticRegression(C=0.01, max_iter=200)),  # strong regularisation
    "mlp": lambda: _scaled(MLPClassifier((128,), alpha=1e-3, max_iter=25, random_state=0)),
    "forest": lambda: RandomForestClassifier(100, min_samples_leaf=3, random_state=0),
    "trees": lambda: ExtraTreesClassifier(100, min_samples_leaf=2, random_state=0),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=50, random_state=0),
    "neighbors": lambda: _scaled(KNeighborsClassifier(15)),
    "bayes": lambda: GaussianNB(),
}


def planted_names(*, is_quick: bool = False) -> list[Name]:
    """Return the names of all cells, by data set."""
    return [
        name
        for data, source in SOURCES.items()
        if not is_quick or data in QUICK
        for name in _names(data, source, is_quick)
    ]


def _names(data: str, source: Source, is_quick: bool) -> Iterator[Name]:
    origin = "planted, new data" if source.is_new else "planted"
    for model in source.models:
        if is_quick and model not in QUICK_MODELS:
            continue
        yield Name(origin, data, model, "none")
        yield from (Name(origin, data, model, kind, rate) for kind in KINDS for rate in RATES)


def planted_cell(name: Name, folder: Path, cache: Path | None) -> Cell:
    """Return a cell, from the cache if it is there.

    Args:
        name: from `planted_names`.
        folder: of the data files.
        cache: a folder of cells that were made before. None: there is none.

    Raises:
        MissingDataError: a file is missing, or the cell does not exist.
    """
    path = None if cache is None else cache / f"{name}.npz"
    if path is not None and path.exists():
        with np.load(path) as stored:
            return Cell(name, stored["labels"], stored["pred_probs"], stored["truth"])
    cell = _make(name, folder)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, labels=cell.labels, pred_probs=cell.pred_probs, truth=cell.truth)
    return cell


def _make(name: Name, folder: Path) -> Cell:
    features, truth = _loaded(name.data, folder)
    classes = int(truth.max()) + 1
    if name.kind == "pair" and classes == 2:
        raise MissingDataError("with two classes, the next class is the only other one: see uniform")
    labels = truth
    if name.kind != "none":
        generator = np.random.default_rng(zlib.crc32(str(name).encode()))
        if name.kind == "instance":
            labels = plant_by_confusion(name.rate, truth, _second(name.data, folder), generator)
        else:
            labels = plant(name.kind, name.rate, truth, generator)
    if np.bincount(labels, minlength=classes).min() < FOLDS:
        raise MissingDataError("a class has fewer rows than folds")
    return Cell(name, labels, out_of_fold(name.model, features, labels), truth)


def out_of_fold(model: str, features: Any, labels: _Labels, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return (M, K) probabilities of models that did not see the row."""
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a model that stops early is as good for this purpose
        found = cross_val_predict(MODELS[model](), features, labels, cv=splits, method="predict_proba")
    return np.asarray(found, np.float32)


# Cells of one data set follow each other.
@lru_cache(maxsize=1)
def _loaded(data: str, folder: Path) -> tuple[Any, _Labels]:
    source = SOURCES[data]
    if source.file is not None and not (folder / source.file).exists():
        raise MissingDataError(f"there is no {source.file} in the folder --data")
    return source.load(folder)


@lru_cache(maxsize=1)
def _second(data: str, folder: Path) -> npt.NDArray[np.float32]:
    features, truth = _loaded(data, folder)
    return out_of_fold(SOURCES[data].second, features, truth, seed=9)
