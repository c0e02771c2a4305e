"""How the CSV and TSV files of a dataset are written: what the config says, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class CsvOptions:
    """What the config says about CSV files. None: it is detected.

    Attributes:
        delimiter: one character between fields.
        quote: the quotation mark; "none": quotation marks are text.
        decimal: "." or ",".
        thousands: the separator of thousands; "none": there is none.
        encoding: a Python codec.
        missing: texts that mean that a value is missing, in all columns.
    """

    delimiter: str | None = None
    quote: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] | None = None


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written: the decimal separator, and the separator of thousands or None."""

    decimal: str = "."
    thousands: str | None = None


PLAIN_NUMBERS = NumberFormat()


@dataclass(frozen=True)
class Dialect:
    """How all CSV files of a dataset are written.

    Attributes:
        delimiter: one character between fields.
        quote: the quotation mark, or None: quotation marks are text.
        escape: a character that may stand before a quotation mark inside a quoted value. The mark may also be doubled.
        encoding: a Python codec. A byte order mark may precede UTF-8 and must precede UTF-16.
        numbers: how numbers in input columns are written.
        missing: texts that mean that a value is missing, in all columns.
        no_label: further texts that mean in the label column that a row has no label.
        no_label_is_unquoted: whether they mean it only without quotation marks.
        rows: the number of rows in each file, counted by a second parser.
    """

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    encoding: str = "utf-8"
    numbers: NumberFormat = PLAIN_NUMBERS
    missing: tuple[str, ...] = ()
    no_label: tuple[str, ...] = ()
    no_label_is_unquoted: bool = False
    rows: dict[str, int] = field(default_factory=dict)
