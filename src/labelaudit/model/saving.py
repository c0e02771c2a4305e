"""Classifiers on disk: weights as safetensors, everything else as JSON. Nothing is ever unpickled.

A folder contains `weights.safetensors` and `classifier.json`. The JSON is written last and contains the sha256 of the
weights, so files of two classifiers cannot be mixed up.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from labelaudit.codec import Json, JsonObject
from labelaudit.errors import ConfigError, StorageError
from labelaudit.model import networks, schedules
from labelaudit.model.batches import integer_dtype
from labelaudit.model.construction import complete, is_incomplete
from labelaudit.model.device import input_dtype, resolve_device, resolve_precision, seeded

if TYPE_CHECKING:
    from labelaudit.model.classifier import TorchClassifier

_Classifier = TypeVar("_Classifier", bound="TorchClassifier")

FORMAT = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "classifier.json"
# Not saved: the data, and what belongs to the training process.
_NOT_SAVED = ("dataset", "callbacks", "checkpoint")
# Modules in which saved names are looked up. A file never causes an import of other code.
_NAMESPACES: dict[str, ModuleType] = {
    networks.__name__: networks,
    schedules.__name__: schedules,
    "torch.optim": torch.optim,
}
_ENTRIES = {
    *("format", "params", "classes", "input_shape", "precision", "device", "n_iter", "history", "trainable"),
    *("n_features_in", "feature_names_in", "weights_sha256"),
}


def save(classifier: TorchClassifier, folder: Path) -> None:
    """Write a fitted `TorchClassifier` into `folder`, which is created if it is missing.

    The state of the optimizer is not saved, so `partial_fit` starts with a new one after loading.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / WEIGHTS, lambda path: safetensors.torch.save_model(classifier.module_, str(path)))
    description = {
        "format": FORMAT,
        "torch": torch.__version__,
        "params": {
            name: _plain(value)
            for name, value in classifier.get_params(deep=False).items()
            if name not in _NOT_SAVED and not isinstance(value, np.random.RandomState)
        },
        "classes": {"dtype": str(classifier.classes_.dtype), "values": classifier.classes_.tolist()},
        "input_shape": list(classifier.input_shape_),
        "precision": classifier.precision_,
        "device": classifier.device_,
        "n_iter": classifier.n_iter_,
        "history": classifier.history_,
        "trainable": sorted(classifier._trainable),
        "n_features_in": getattr(classifier, "n_features_in_", None),
        "feature_names_in": getattr(classifier, "feature_names_in_", np.array(None)).tolist(),
        "weights_sha256": _sha256(folder / WEIGHTS),
    }
    text = json.dumps(description, indent=1)
    replace_file(folder / DESCRIPTION, lambda path: path.write_text(text))


def load(kind: Callable[..., _Classifier], folder: Path, params: Mapping[str, object]) -> _Classifier:
    """Return the classifier in `folder`; see `TorchClassifier.load`."""
    description = _description(folder)
    classifier = kind(**{**_restored(description["params"], params), **params})
    device = resolve_device(classifier.device)  # reports a missing GPU now, not at the first batch
    values = np.array(description["classes"]["values"], dtype=description["classes"]["dtype"])
    shape = tuple(description["input_shape"])
    with seeded(0, torch.device("cpu")):
        module = classifier._new_module(num_classes=len(values), input_shape=shape)
    precision = description["precision"]
    if "precision" in params:
        precision = resolve_precision(classifier.precision, device, module)
    module = module.to(input_dtype(precision))
    if is_incomplete(module):
        with seeded(0, torch.device("cpu")):
            complete(module, torch.zeros(1, *shape, dtype=integer_dtype(module, input_dtype(precision))))
    if any(isinstance(layer, nn.Conv2d) for layer in module.modules()):
        module = module.to(memory_format=torch.channels_last)
    try:
        safetensors.torch.load_model(module, str(folder / WEIGHTS))
    except (RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise StorageError(
            f"The weights in {folder / WEIGHTS} do not fit the module {type(module).__name__} ({str(error)[:300]}). "
            "Load them with the module that was saved."
        ) from error
    classifier.classes_ = values
    classifier.input_shape_ = shape
    classifier.precision_ = precision
    classifier.device_ = description["device"]
    classifier.n_iter_ = description["n_iter"]
    classifier.history_ = description["history"]
    classifier._trainable = frozenset(description["trainable"])
    classifier._optimizer = None
    if description["n_features_in"] is not None:
        classifier.n_features_in_ = description["n_features_in"]
    if description["feature_names_in"] is not None:
        classifier.feature_names_in_ = np.array(description["feature_names_in"], dtype=object)
    classifier.module_ = module.eval()
    check_is_fitted(classifier)
    return classifier


def _description(folder: Path) -> dict[str, Any]:
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        found = _sha256(folder / WEIGHTS)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"The folder {folder} does not contain a saved classifier ({error}). Choose a folder that save() wrote."
        ) from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise StorageError(
            f"File {folder / DESCRIPTION} does not have format {FORMAT}, which this version reads. "
            "Save the classifier again."
        )
    missing = sorted(_ENTRIES - description.keys())
    if missing or not {"dtype", "values"} <= dict(description["classes"]).keys():
        raise StorageError(
            f"File {folder / DESCRIPTION} lacks {', '.join(missing) or 'dtype or values of classes'}. "
            "Save the classifier again."
        )
    if found != description["weights_sha256"]:
        raise StorageError(
            f"File {folder / WEIGHTS} does not belong to {DESCRIPTION}: its checksum differs. "
            "Save the classifier again."
        )
    return description


def _plain(value: object) -> Json:
    """Convert a parameter to JSON: containers of plain values, and functions and classes by name."""
    if isinstance(value, np.generic):
        plain: Json = value.item()
        return plain
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        # Pairs, because keys may be labels of any type.
        return {"mapping": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if hasattr(value, "__qualname__"):
        return {"object": f"{value.__module__}:{value.__qualname__}"}
    return {"object": f"an instance of {type(value).__module__}:{type(value).__qualname__}"}


def _restored(saved: JsonObject, given: Mapping[str, object]) -> dict[str, object]:
    return {name: _object(name, value) for name, value in saved.items() if name not in given}


def _object(name: str, value: Any) -> object:
    if isinstance(value, list):
        return [_object(name, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "mapping" in value:
        return {_object(name, key): _object(name, item) for key, item in value["mapping"]}
    module, _, attribute = value["object"].partition(":")
    # Classes of torch.optim are in submodules.
    known = _NAMESPACES.get("torch.optim" if module.startswith("torch.optim.") else module)
    found = getattr(known, attribute, None)
    if not callable(found) or found.__module__ != module:
        raise ConfigError(
            f"The classifier was saved with {name} = {value['object']}, which is not part of the files. Pass it again, "
            f"as load(folder, {name}=...)."
        )
    return found


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file, then rename it to `path`, so that readers see the old or the new file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
