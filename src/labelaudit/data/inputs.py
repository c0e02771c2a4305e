"""The kind of a dataset and its input columns, as configured or guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.codec import JsonObject
from labelaudit.data.formats import IMAGE_SUFFIXES
from labelaudit.data.images import looks_like_image
from labelaudit.data.row_indexes import counts_rows, is_row_index_name
from labelaudit.data.stray_words import StrayWords, missing_remedy
from labelaudit.data.text_columns import TEXT_NAMES, are_mostly_distinct, contains_sentences, joint_columns
from labelaudit.data.values import family, is_binary, parses_as_numbers
from labelaudit.data.vector_columns import (
    AS_TEXT,
    VECTOR_NAMES,
    are_features,
    are_written_out,
    check_vectors,
    other_vectors,
)
from labelaudit.data.vectors import contains_numbers, typical_length
from labelaudit.errors import DatasetError
from labelaudit.text import listing

IMAGE_NAMES = ("image", "img", "file_name", "filename", "image_path", "path", "file", "filepath", "picture")
DISTINCT_TEXTS = 0.3  # share of different values above which a lone column of strings is text
MIN_SAMPLE = 20  # rows that a statistical guess needs
OTHER_LABEL = re.compile(r"(^|_)(labels?|targets?|annotations?|annotators?|ground_?truth)($|_|\d)", re.IGNORECASE)


class Inputs(NamedTuple):
    """The chosen kind and input columns, a sentence for each guess, and why other columns are not inputs."""

    kind: str
    names: tuple[str, ...]
    guesses: tuple[str, ...]
    left_out: Mapping[str, str]  # the reason, by column

    def without(self, names: Sequence[str], reason: str) -> Inputs:
        """Return the inputs of a table without some of the columns, but never without all of them."""
        kept = tuple(name for name in self.names if name not in names)
        if not kept or not names:
            return self
        return Inputs(self.kind, kept, (_table_sentence(kept),), {**self.left_out, **dict.fromkeys(names, reason)})

    def with_remedy(self, names: Sequence[str], remedy: str) -> Inputs:
        """Return the inputs with a remedy after the reason why some columns are left out."""
        remedies = {name: f"{self.left_out[name]}; {remedy}" for name in names}
        return self._replace(left_out={**self.left_out, **remedies})


class InputSample(NamedTuple):
    """First rows of the usable columns, their types in all shards, Hugging Face features, and columns that name files.

    `image_names` are columns whose values are names of image files of the dataset, with or without suffix.
    """

    rows: pa.Table
    schema: pa.Schema
    features: Mapping[str, JsonObject]
    is_untyped: bool
    image_names: frozenset[str] = frozenset()


def choose_named(sample: InputSample, names: Sequence[str], kind: str) -> Inputs:
    """Return the inputs that the user named; the kind is guessed if it is "auto".

    Raises:
        DatasetError: the columns cannot be of the requested kind.
    """
    if kind == "auto":
        kind = _kind_of(sample, names)
    if kind in ("image", "vector") and len(names) != 1:
        raise DatasetError(f"The kind {kind} takes one input column, not {len(names)} ({listing(names)}). Name one.")
    if kind == "image" and not _is_image(sample, names[0]):
        raise DatasetError(
            f"Column {names[0]!r} contains no images: its type is {_type(sample, names[0])}. Name a column of bytes, "
            "of {bytes, path} or of names of image files."
        )
    if kind == "vector":
        check_vectors(names[0], sample.rows.column(names[0]), _type(sample, names[0]))
    for name in names:
        _check_type(sample, name, kind)
    others = [name for name in sample.rows.column_names if name not in names]
    guesses = (f"inputs: {len(names)} columns of text, audited together ({listing(names)})",)
    return Inputs(
        kind,
        tuple(names),
        guesses if kind == "text" and len(names) > 1 else (),
        dict.fromkeys(others, "the config names other inputs"),
    )


def _check_type(sample: InputSample, name: str, kind: str) -> None:
    type = _type(sample, name)
    if kind == "text" and family(type) != "string":
        raise DatasetError(f"Column {name!r} is not text: its type is {type}. Name a column of strings.")
    if kind == "table" and contains_numbers(type):
        raise DatasetError(
            f"Column {name!r} contains vectors, which are not audited together with other columns. Name it alone, or "
            "name only the others."
        )
    if kind == "table" and family(type) == "other":
        raise DatasetError(
            f"Column {name!r} cannot be an input: its type is {type}. Name columns of numbers, strings or booleans."
        )


def choose_auto(sample: InputSample, kind: str) -> Inputs:
    """Return the inputs that types, names and first values suggest: an image, else a text, else a vector, else a table.

    A column of vectors is not the input if a table has at least as many columns as they have numbers.

    Raises:
        DatasetError: no column fits.
    """
    vectors = [name for name in sample.rows.column_names if kind in ("auto", "vector") and _is_vector(sample, name)]
    chosen = _choose_image_or_text(sample, kind, has_vectors=bool(vectors))
    if chosen is None and vectors:
        chosen = _vector(sample, vectors, kind)
    chosen = chosen or _choose_table(sample, kind)
    others = [name for name in vectors if kind == "auto" and name in chosen.left_out]
    return chosen.with_remedy(others, "to audit its vectors, name it with dataset.input")


def _choose_image_or_text(sample: InputSample, kind: str, *, has_vectors: bool) -> Inputs | None:
    names = sample.rows.column_names
    if kind in ("auto", "image"):
        # Embeddings often come with the names of images that are somewhere else.
        images = [name for name in names if _is_image(sample, name, needs_files=has_vectors)]
        if images:
            return _single(sample, "image", images, IMAGE_NAMES, "it contains images")
    if kind in ("auto", "text"):
        texts = [name for name in names if _is_language(sample, name)]
        if texts:
            return _texts(sample, texts)
    return None


def _choose_table(sample: InputSample, kind: str) -> Inputs:
    """Return the columns of a table, or the only column of strings as a text.

    Raises:
        DatasetError: no column fits.
    """
    names = sample.rows.column_names
    if kind in ("auto", "table"):
        left_out = {name: reason for name in names if (reason := _why_not_feature(sample, name))}
        features = tuple(name for name in names if name not in left_out)
        if kind == "auto" and len(features) == 1 and _is_mostly_distinct(sample, features[0]):
            return _single(sample, "text", features, (), "it is the only input, and most of its texts are different")
        if features:
            return Inputs("table", features, (_table_sentence(features),), left_out)
    strings = [name for name in names if family(_type(sample, name)) == "string" and not _is_written_out(sample, name)]
    if kind in ("auto", "text") and len(strings) == 1:
        return _single(sample, "text", strings, (), "it is the only column of strings")
    raise DatasetError(
        f"No column can be the input of kind {kind}. Besides label, id and ignored ones, the columns are "
        f"{listing(map(repr, names), shown=20) or 'none'}. Name the input with dataset.input."
    )


def _is_mostly_distinct(sample: InputSample, name: str) -> bool:
    """Return whether a column of strings contains too many different texts for categories, such as short titles."""
    values = sample.rows.column(name)
    if family(_type(sample, name)) != "string" or (sample.is_untyped and parses_as_numbers(values)):
        return False
    present = values.filter(pc.not_equal(values, ""))
    return len(present) >= MIN_SAMPLE and len(pc.unique(present)) > DISTINCT_TEXTS * len(present)


def _table_sentence(features: tuple[str, ...]) -> str:
    return f"inputs: {len(features)} columns of a table ({listing(features)})"


def _texts(sample: InputSample, texts: list[str]) -> Inputs:
    """Return the best of the columns of texts, or several with names that are known to belong together."""
    texts.sort(key=lambda name: -_mean_length(sample, name))
    best = _single(sample, "text", texts, TEXT_NAMES, "it contains sentences")
    readable = [name for name in sample.rows.column_names if name in texts or _may_accompany_text(sample, name)]
    joint = joint_columns(readable)
    is_overruled = best.names[0].lower() in TEXT_NAMES and best.names[0] not in joint
    chosen = best.names if is_overruled or not set(joint) & set(texts) else joint
    unused = [name for name in readable if name not in chosen and _is_sentences(sample, name)]
    guesses = best.guesses
    if len(chosen) > 1:
        guesses = (
            f"text columns: {listing(map(repr, chosen))}, audited together because of their names; if one is not used "
            "to decide on the label, name the others with dataset.input",
        )
    if unused:
        verb = "contains" if len(unused) == 1 else "contain"
        guesses = (
            *guesses,
            f"not used: {listing(map(repr, unused))}, which also {verb} sentences; name all columns that decide on the "
            "label with dataset.input",
        )
    others = [name for name in sample.rows.column_names if name not in chosen]
    what = "text columns are" if len(chosen) > 1 else "input is the text column"
    reason = f"the {what} {listing(map(repr, chosen))}"
    return Inputs("text", chosen, guesses, dict.fromkeys(others, reason))


def _is_vector(sample: InputSample, name: str) -> bool:
    feature = sample.features.get(name, {})
    is_label = OTHER_LABEL.search(name) is not None
    return not is_label and are_features(name, sample.rows.column(name), _type(sample, name), feature)


def _vector(sample: InputSample, vectors: list[str], kind: str) -> Inputs | None:
    """Return the best column of vectors; None if the kind is not set and a table has as many columns as numbers."""
    name = _best(vectors, VECTOR_NAMES)
    length, _ = typical_length(sample.rows.column(name))
    features = [other for other in sample.rows.column_names if _why_not_feature(sample, other) is None]
    if kind == "auto" and len(features) >= length:
        return None
    chosen = _single(sample, "vector", [name], (), f"it contains lists of {length} numbers")
    sentences = other_vectors([other for other in vectors if other != name])
    chosen = chosen._replace(guesses=(*chosen.guesses, *sentences))
    return chosen.with_remedy(features, "to audit a table of the other columns, set dataset.kind to table")


def _best(names: Sequence[str], known: Sequence[str]) -> str:
    """Return the name that is first among those that are known, else the first one."""
    return min(names, key=lambda name: known.index(name.lower()) if name.lower() in known else len(known))


def _single(sample: InputSample, kind: str, names: Sequence[str], known: Sequence[str], reason: str) -> Inputs:
    chosen = _best(names, known)
    others = [name for name in sample.rows.column_names if name != chosen]
    left_out = dict.fromkeys(others, f"the input is the {kind} column {chosen!r}")
    return Inputs(kind, (chosen,), (f"{kind} column: {chosen!r}, {reason}",), left_out)


def _kind_of(sample: InputSample, names: Sequence[str]) -> str:
    if len(names) > 1:
        return _kind_of_several(sample, names)
    if _is_image(sample, names[0]):
        return "image"
    if contains_numbers(_type(sample, names[0])):
        return "vector"
    if _is_written_out(sample, names[0]):
        raise DatasetError(
            f"Column {names[0]!r} {AS_TEXT}. Write it to Parquet or JSON Lines as lists of numbers, or set "
            "dataset.kind to text."
        )
    is_string = family(_type(sample, names[0])) == "string"
    is_number = sample.is_untyped and parses_as_numbers(sample.rows.column(names[0]))
    return "text" if is_string and not is_number else "table"


def _kind_of_several(sample: InputSample, names: Sequence[str]) -> str:
    """Return text if all columns contain text, and table if none does.

    Raises:
        DatasetError: some do and others do not.
    """
    texts = [name for name in names if _is_sentences(sample, name) and are_mostly_distinct(_strings(sample, name))]
    if not texts:
        return "table"
    others = [name for name in names if name not in texts and not _may_accompany_text(sample, name)]
    if not others:
        return "text"
    raise DatasetError(
        f"The inputs mix text ({listing(map(repr, texts))}) with other columns ({listing(map(repr, others))}). "
        "Name only columns of text, or only the others. To make each different text a category, set dataset.kind to "
        "table."
    )


def _type(sample: InputSample, name: str) -> pa.DataType:
    return sample.schema.field(name).type


def _is_image(sample: InputSample, name: str, *, needs_files: bool = False) -> bool:
    if name in sample.image_names or sample.features.get(name, {}).get("_type") == "Image":
        return True
    type = _type(sample, name)
    if pa.types.is_struct(type):
        return "bytes" in {field.name for field in type} and is_binary(type.field("bytes").type)
    values = sample.rows.column(name).drop_null().slice(0, 64)
    if not len(values):
        return False
    if is_binary(type):
        return sum(looks_like_image(value) for value in values.to_pylist()) * 2 >= len(values)
    if needs_files or family(type) != "string":
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
    if not are_mostly_distinct(values) or are_written_out(values):
        return False
    if name.lower() in TEXT_NAMES:
        return not parses_as_numbers(pa.array(values))
    return contains_sentences(values)


def _is_sentences(sample: InputSample, name: str) -> bool:
    if family(_type(sample, name)) != "string" or _is_written_out(sample, name):
        return False
    return contains_sentences(_strings(sample, name))


def _is_written_out(sample: InputSample, name: str) -> bool:
    return family(_type(sample, name)) == "string" and are_written_out(_strings(sample, name))


def _may_accompany_text(sample: InputSample, name: str) -> bool:
    """Return whether a column can be a text beside another: sentences that may repeat, or different short strings."""
    if family(_type(sample, name)) != "string" or OTHER_LABEL.search(name):
        return False
    values = _strings(sample, name)
    if are_written_out(values):
        return False
    if contains_sentences(values):
        return True
    return are_mostly_distinct(values) and not parses_as_numbers(pa.array(values))


def _why_not_feature(sample: InputSample, name: str) -> str | None:
    type = _type(sample, name)
    if is_row_index_name(name):
        return "it is a row index"
    if OTHER_LABEL.search(name):
        return "by its name it is another label"
    if pa.types.is_temporal(type):
        return "dates and times are not inputs"
    if family(type) == "other":
        return f"its type is {type}"
    if family(type) == "null":
        return "it has no value"
    if _is_written_out(sample, name):
        return f"it {AS_TEXT}; write it to Parquet or JSON Lines as lists of numbers"
    values = sample.rows.column(name)
    if family(type) == "string" and not (sample.is_untyped and parses_as_numbers(values)):
        return _why_not_category(values, is_untyped=sample.is_untyped)
    if family(type) != "bool" and counts_rows(values):
        return "it counts the rows"
    return None


def _why_not_category(values: pa.ChunkedArray, *, is_untyped: bool) -> str | None:
    if not _is_nearly_unique(values):
        return None
    stray = StrayWords()
    stray.add(values)
    if not stray.are_stray():
        return "nearly every row has a value of its own"
    remedy = missing_remedy("csv" if is_untyped else "typed")
    return f"it has words among numbers: {stray.listed()}; if they mean a missing value, {remedy}"


def _is_nearly_unique(values: pa.ChunkedArray) -> bool:
    present = values.filter(pc.not_equal(values, ""))
    return len(present) >= MIN_SAMPLE and len(pc.unique(present)) > 0.9 * len(present)
