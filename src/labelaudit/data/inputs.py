"""The kind of a dataset and its input columns, as configured or guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import JsonObject
from labelaudit.data.formats import IMAGE_SUFFIXES
from labelaudit.data.images import looks_like_image
from labelaudit.data.values import family, is_binary, parses_as_numbers, to_numbers
from labelaudit.errors import DatasetError
from labelaudit.text import listing

IMAGE_NAMES = ("image", "img", "file_name", "filename", "image_path", "path", "file", "filepath", "picture")
TEXT_NAMES = (
    "text",
    "sentence",
    "content",
    "review",
    "comment",
    "body",
    "document",
    "message",
    "tweet",
    "utterance",
)
# Fewer words are probably a name or an address.
MIN_WORDS = 5
MIN_SAMPLE = 20  # rows that a statistical guess needs
ROW_INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__|index|level_0")
OTHER_LABEL = re.compile(r"(^|_)(labels?|targets?|annotations?|annotators?|ground_?truth)($|_|\d)", re.IGNORECASE)


class Inputs(NamedTuple):
    """The chosen kind and input columns, a sentence for each guess, and why other columns are not inputs."""

    kind: str
    names: tuple[str, ...]
    guesses: tuple[str, ...]
    left_out: Mapping[str, str]  # the reason, by column


class InputSample(NamedTuple):
    """First rows of the usable columns, their types in all shards, and Hugging Face features."""

    rows: pa.Table
    schema: pa.Schema
    features: Mapping[str, JsonObject]
    is_untyped: bool


def choose_named(sample: InputSample, names: Sequence[str], kind: str) -> Inputs:
    """Return the inputs that the user named; the kind is guessed if it is "auto".

    Raises:
        DatasetError: the columns cannot be of the requested kind.
    """
    if kind == "auto":
        kind = _kind_of(sample, names)
    if kind in ("image", "text") and len(names) != 1:
        raise DatasetError(f"The kind {kind} takes one input column, not {len(names)} ({listing(names)}). Name one.")
    if kind == "image" and not _is_image(sample, names[0]):
        raise DatasetError(
            f"Column {names[0]!r} contains no images: its type is {_type(sample, names[0])}. Name a column of bytes, "
            "of {bytes, path} or of names of image files."
        )
    if kind == "text" and family(_type(sample, names[0])) != "string":
        raise DatasetError(
            f"Column {names[0]!r} is not text: its type is {_type(sample, names[0])}. Name a column of strings."
        )
    for name in names if kind == "table" else ():
        if family(_type(sample, name)) == "other":
            raise DatasetError(
                f"Column {name!r} cannot be an input: its type is {_type(sample, name)}. "
                "Name columns of numbers, strings or booleans."
            )
    others = [name for name in sample.rows.column_names if name not in names]
    return Inputs(kind, tuple(names), (), dict.fromkeys(others, "the config names other inputs"))


def choose_auto(sample: InputSample, kind: str) -> Inputs:
    """Return the inputs that types, names and first values suggest: an image, else a text, else a table.

    Raises:
        DatasetError: no column fits.
    """
    names = sample.rows.column_names
    if kind in ("auto", "image"):
        images = [name for name in names if _is_image(sample, name)]
        if images:
            return _single(sample, "image", images, IMAGE_NAMES, "it contains images")
    if kind in ("auto", "text"):
        texts = [name for name in names if _is_language(sample, name)]
        texts.sort(key=lambda name: -_mean_length(sample, name))
        if texts:
            return _single(sample, "text", texts, TEXT_NAMES, "it contains sentences")
    if kind in ("auto", "table"):
        left_out = {name: reason for name in names if (reason := _why_not_feature(sample, name))}
        features = tuple(name for name in names if name not in left_out)
        if features:
            return Inputs("table", features, (_table_sentence(features),), left_out)
    strings = [name for name in names if family(_type(sample, name)) == "string"]
    if kind in ("auto", "text") and len(strings) == 1:
        return _single(sample, "text", strings, (), "it is the only column of strings")
    raise DatasetError(
        f"No column can be the input of kind {kind}. Besides label, id and ignored ones, the columns are "
        f"{listing(map(repr, names), shown=20) or 'none'}. Name the input with dataset.input."
    )


def _table_sentence(features: tuple[str, ...]) -> str:
    return f"inputs: {len(features)} columns of a table ({listing(features)})"


def _single(sample: InputSample, kind: str, names: Sequence[str], known: Sequence[str], reason: str) -> Inputs:
    chosen = min(names, key=lambda name: known.index(name.lower()) if name.lower() in known else len(known))
    others = [name for name in sample.rows.column_names if name != chosen]
    left_out = dict.fromkeys(others, f"the input is the {kind} column {chosen!r}")
    return Inputs(kind, (chosen,), (f"{kind} column: {chosen!r}, {reason}",), left_out)


def _kind_of(sample: InputSample, names: Sequence[str]) -> str:
    if len(names) > 1:
        return "table"
    if _is_image(sample, names[0]):
        return "image"
    is_string = family(_type(sample, names[0])) == "string"
    is_number = sample.is_untyped and parses_as_numbers(sample.rows.column(names[0]))
    return "text" if is_string and not is_number else "table"


def _type(sample: InputSample, name: str) -> pa.DataType:
    return sample.schema.field(name).type


def _is_image(sample: InputSample, name: str) -> bool:
    if sample.features.get(name, {}).get("_type") == "Image":
        return True
    type = _type(sample, name)
    if pa.types.is_struct(type):
        return "bytes" in {field.name for field in type} and is_binary(type.field("bytes").type)
    values = sample.rows.column(name).drop_null().slice(0, 64)
    if not len(values):
        return False
    if is_binary(type):
        return sum(looks_like_image(value) for value in values.to_pylist()) * 2 >= len(values)
    if family(type) != "string":
        return False
    suffixes = ["." + value.lower().rpartition(".")[2] for value in values.to_pylist() if value]
    return sum(suffix in IMAGE_SUFFIXES for suffix in suffixes) > 0.9 * len(values)


def _strings(sample: InputSample, name: str) -> list[str]:
    values = sample.rows.column(name).drop_null().to_pylist()
    return [value for value in values if value.strip()]


def _mean_length(sample: InputSample, name: str) -> float:
    values = _strings(sample, name)
    return sum(map(len, values)) / max(len(values), 1)


def _is_language(sample: InputSample, name: str) -> bool:
    if family(_type(sample, name)) != "string" or OTHER_LABEL.search(name):
        return False
    values = _strings(sample, name)
    if len(set(values)) * 2 <= len(values):
        return False
    if name.lower() in TEXT_NAMES:
        return not parses_as_numbers(pa.array(values))
    words = float(np.median([len(value.split()) for value in values]))
    # Chinese, Japanese and Thai have no spaces between words.
    unspaced = float(np.median([sum(ord(letter) > 0x0E00 for letter in value) for value in values]))
    return words >= MIN_WORDS or unspaced >= 2 * MIN_WORDS


def _why_not_feature(sample: InputSample, name: str) -> str | None:
    type = _type(sample, name)
    if ROW_INDEX.fullmatch(name):
        return "it is a row index"
    if OTHER_LABEL.search(name):
        return "by its name it is another label"
    if pa.types.is_temporal(type):
        return "dates and times are not inputs"
    if family(type) == "other":
        return f"its type is {type}"
    if family(type) == "null":
        return "it has no value"
    values = sample.rows.column(name)
    if family(type) == "string" and not (sample.is_untyped and parses_as_numbers(values)):
        return "nearly every row has a value of its own" if _is_nearly_unique(values) else None
    if family(type) != "bool" and _counts_rows(values):
        return "it counts the rows"
    return None


def _is_nearly_unique(values: pa.ChunkedArray) -> bool:
    present = values.filter(pc.not_equal(values, ""))
    return len(present) >= MIN_SAMPLE and len(pc.unique(present)) > 0.9 * len(present)


def _counts_rows(values: pa.ChunkedArray) -> bool:
    numbers = to_numbers(values).to_numpy(zero_copy_only=False)
    return len(numbers) >= MIN_SAMPLE and bool(np.all(np.diff(numbers) == 1))
