"""SQL over the Parquet files of audits. Values are bound as parameters; texts of queries are constants of this file."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from labelaudit.errors import StorageError
from labelaudit.report.previews import Preview
from labelaudit.reviews.sampling import DEFAULT_SEED, PREVIEWED_ROWS, mixed, review_order
from labelaudit.schemas import Decision, Status
from labelaudit.storage.failures import first_line

MEMORY_LIMIT = "1GB"
# ids, digests, given labels and decisions of all verdicts that hold
VerdictColumns = tuple[Sequence[str | None], ...]
NO_VERDICTS: VerdictColumns = ((), (), (), ())


class Shown(StrEnum):
    """Which rows of an audit are looked at, besides those of one status."""

    FLAGGED = "flagged"
    NOT_FLAGGED = "not flagged"
    SAMPLE = "random sample"
    ALL = "all rows"


class Judgement(StrEnum):
    """What of the verdicts matters, besides a decision."""

    ANY = "decided or not"
    UNDECIDED = "undecided"  # nobody did, and somebody could
    DECIDED = "decided"


@dataclass(frozen=True)
class Filters:
    """What a person wants to see of an audit. None, and empty text, mean anything."""

    shown: Shown | Status = Shown.FLAGGED
    given_label: str | None = None
    suggested_label: str | None = None
    lowest: float = 0.0  # of label_score, both ends included
    highest: float = 1.0
    fold: int | None = None
    judgement: Judgement | Decision = Judgement.ANY
    id_contains: str = ""
    new_only: bool = False  # flagged now and not in the predecessor
    sample: tuple[str, ...] = ()  # ids of the random sample, in its order


class Address(NamedTuple):
    """What names one row of an audit, also among rows with the same id. A link may know the id alone."""

    example_id: str
    file: str | None = None
    row: int | None = None


@dataclass(frozen=True)
class Row:
    """A row of `examples.parquet`, with what `issues.parquet` says of it."""

    example_id: str
    given_label: str | None
    status: str
    fold: int | None
    predicted_label: str | None
    label_score: float | None
    is_label_issue: bool | None
    p_given: float | None
    p_predicted: float | None
    margin: float | None
    file: str | None
    row: int | None
    content_digest: str | None
    verdict: str | None  # that the audit knew
    right_label: str | None
    rank: int | None
    suggested_label: str | None
    p_suggested: float | None
    was_dismissed: bool  # flagged by the detector, but judged fine before the audit
    place: float  # in the order of the page

    @property
    def address(self) -> Address:
        return Address(self.example_id, self.file, self.row)

    @property
    def was_flagged(self) -> bool:
        """By the detector, whatever people said of it."""
        return bool(self.is_label_issue) or self.was_dismissed


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that may read the files of one folder, and nothing else of machine or network."""
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # A table must not be a Python variable by accident.
            "python_enable_replacements": "false",
        }
    )
    # The folder is a setting of this machine, and SET takes no parameters.
    quoted = str(folder).replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{quoted}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@contextmanager
def _cursor(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A cursor of one thread: many of one connection may be used at once."""
    with _readable(), connection.cursor() as cursor:
        yield cursor


@contextmanager
def _readable() -> Iterator[None]:
    """Raise a `StorageError` for whatever DuckDB and pyarrow refuse: a file that is no table, too little memory."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise StorageError(
            f"The tables of the audit cannot be read ({type(error).__name__}: {first_line(error)}). Load the page "
            "again; where that does not help, run the audit again."
        ) from error


def _schema(path: str | Path) -> pa.Schema:
    with _readable():
        return pq.read_schema(path)


class AuditTables:
    """The queries over one audit. file: local path of a file by its name in the audit, None where there is none.

    Safe for threads. Raises `StorageError` where the tables cannot be read.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, file: Callable[[str], Path | None]) -> None:
        self._connection = connection
        self._file = file
        self._copying = threading.Lock()
        self._has_flagged = False

    def count(self, filters: Filters, verdicts: VerdictColumns = NO_VERDICTS) -> int:
        """Rows that the filters let through."""
        source, values = self._filtered(filters, verdicts)
        return int(self._fetch(f"SELECT count(*) FROM ({source})", values)[0][0])

    def page(
        self, filters: Filters, verdicts: VerdictColumns = NO_VERDICTS, *, offset: int = 0, limit: int = 24
    ) -> list[Row]:
        """Some of these rows: the most doubtful first, a sample in its own order, what has no score by id."""
        source, values = self._filtered(filters, verdicts)
        query = f"SELECT * FROM ({source}) ORDER BY {_ORDER} LIMIT ? OFFSET ?"
        return [Row(*record) for record in self._fetch(query, [*values, limit, offset])]

    def neighbour(
        self, row: Row, filters: Filters, verdicts: VerdictColumns = NO_VERDICTS, *, forward: bool = True
    ) -> Row | None:
        """The next of these rows after one, which need not be among them any more, or the one before it."""
        source, values = self._filtered(filters, verdicts)
        beyond = f"({_ORDER}) {'>' if forward else '<'} (?, ?, ?, ?)"
        order = f"({_ORDER}) {'ASC' if forward else 'DESC'}"
        query = f"SELECT * FROM ({source}) WHERE {beyond} ORDER BY {order} LIMIT 1"
        at = [row.place, row.example_id, row.file or "", -1 if row.row is None else row.row]
        found = self._fetch(query, [*values, *at])
        return Row(*found[0]) if found else None

    def find(self, address: Address, filters: Filters) -> Row | None:
        """The row at an address, placed as the filters order it; where none is there, one with its id, rather scored.

        Of the flagged rows alone, or of the sample, where these are shown.
        """
        wide = filters.shown if filters.shown in (Shown.FLAGGED, Shown.SAMPLE) else Shown.ALL
        source, values = self._placed(wide, filters.sample)
        is_there = "file IS NOT DISTINCT FROM ? AND row IS NOT DISTINCT FROM ?"
        order = f"{is_there} DESC, status = 'scored' DESC, file, row"
        query = f"SELECT * FROM ({source}) WHERE example_id = ? ORDER BY {order} LIMIT 1"
        found = self._fetch(query, [*values, *address])
        return Row(*found[0]) if found else None

    def folds(self) -> list[int]:
        """Folds of the first repeat, in order; empty where the probabilities came from outside."""
        query = "SELECT DISTINCT fold FROM read_parquet(?) WHERE fold IS NOT NULL ORDER BY fold"
        return [fold for (fold,) in self._fetch(query, [self._path("examples.parquet")])]

    def random_sample(self, fingerprint: str) -> tuple[str, ...]:
        """Ids of the rows that `labelaudit review sample` draws first of the version with this fingerprint, mixed."""
        source, values = self._placed(Shown.ALL, ())
        flags = f"SELECT example_id, is_label_issue OR was_dismissed FROM ({source}) WHERE status = 'scored'"
        strata: dict[bool, list[str]] = {True: [], False: []}
        for example_id, was_flagged in self._fetch(flags, values):
            strata[was_flagged].append(example_id)
        drawn = [
            [ids[at] for at in review_order(ids, fingerprint, DEFAULT_SEED)[:PREVIEWED_ROWS]] for ids in strata.values()
        ]
        return tuple(mixed(drawn, fingerprint, DEFAULT_SEED))

    def previews(self, example_ids: Sequence[str]) -> dict[str, Preview]:
        """Those of the rows that have one."""
        path = self._file("previews.parquet")
        query = (
            "SELECT example_id, media_type, data FROM read_parquet(?) WHERE example_id IN (SELECT unnest(?::VARCHAR[]))"
        )
        found = self._fetch(query, [str(path), list(example_ids)]) if path else []
        return {example_id: Preview(media_type, data) for example_id, media_type, data in found}

    def probabilities(self, example_id: str, fold: int) -> dict[str, float]:
        """Out-of-fold probabilities of a row by class, the largest first; empty where they are not at hand."""
        path = self._file(f"pred_probs/fold={fold}/part.parquet")
        if path is None:
            return {}
        query = "SELECT pred_probs FROM read_parquet(?, hive_partitioning = false) WHERE example_id = ?"
        found = self._fetch(query, [str(path), example_id])
        metadata = _schema(path).metadata or {}
        classes = json.loads(metadata.get(b"class_names", b"[]"))
        pairs = zip(classes, found[0][0], strict=True) if found else ()
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def table(self, name: str) -> list[dict[str, Any]]:
        """All rows of a small table of the audit in their order; empty where it has none."""
        path = self._file(f"{name}.parquet")
        if path is None:
            return []
        with _readable():
            return list(pq.ParquetFile(path).read().to_pylist())

    def score_histogram(self, bins: int = 20) -> list[tuple[int, bool, int]]:
        """Number of the bin of label_score from 0, flagged or not, and scored rows in it."""
        query = """
            SELECT least(floor(label_score * ?)::INTEGER, ? - 1) AS bin, is_label_issue, count(*)
            FROM read_parquet(?) WHERE label_score IS NOT NULL GROUP BY ALL ORDER BY ALL
        """
        return [tuple(found) for found in self._fetch(query, [bins, bins, self._path("examples.parquet")])]

    def _filtered(self, filters: Filters, verdicts: VerdictColumns) -> tuple[str, list[Any]]:
        """Text and values of the query for the rows that the filters let through, in the columns of `Row`."""
        source, values = self._placed(filters.shown, filters.sample)
        conditions = _conditions(filters)
        if filters.new_only:
            changes = self._file("changes.parquet")
            # An audit without a predecessor has no table of changes: nothing is known to be new.
            conditions.append((_IS_NEW, [str(changes)]) if changes else ("false", []))
        if filters.judgement != Judgement.ANY:
            conditions.append(_judged(filters.judgement, verdicts))
        values += [value for _, bound in conditions for value in bound]
        return f"{source} WHERE {' AND '.join(text for text, _ in conditions) or 'true'}", values

    def _placed(self, shown: Shown | Status, sample: Sequence[str]) -> tuple[str, list[Any]]:
        """Text and values of the query for all rows that may be shown, each with its place in their order."""
        if shown == Shown.FLAGGED:
            self._copy_flagged()
            return "SELECT * FROM flagged", []
        tables = [self._path("examples.parquet"), self._path("issues.parquet")]
        if shown == Shown.SAMPLE:
            return self._rows("sample.place", _OF_SAMPLE), [*tables, list(sample), len(sample)]
        return self._rows(_SCORE_PLACE), tables

    def _copy_flagged(self) -> None:
        """Have the flagged rows in memory, for most of the time is spent on them."""
        # Of two sessions at once the second one waits: DuckDB refuses it the table that the first one makes.
        with self._copying:
            if self._has_flagged:
                return
            tables = [self._path("examples.parquet"), self._path("issues.parquet")]
            with _cursor(self._connection) as cursor:
                cursor.execute(f"CREATE TABLE flagged AS {self._rows(_SCORE_PLACE)} WHERE is_label_issue", tables)
            self._has_flagged = True

    def _rows(self, place: str, among: str = "") -> str:
        # Audits of before there were verdicts do not have the column.
        has_dismissed = "is_dismissed" in _schema(self._path("examples.parquet")).names
        return _ROWS.format(place=place, among=among, dismissed="e.is_dismissed" if has_dismissed else "false")

    def _path(self, name: str) -> str:
        path = self._file(name)
        if path is None:
            raise StorageError(f"The audit has no {name}, which every audit has. Run it again.")
        return str(path)

    def _fetch(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with _cursor(self._connection) as cursor:
            return cursor.execute(query, list(values)).fetchall()


_ORDER = "place, example_id, coalesce(file, ''), coalesce(row, -1)"
# Rows without a score come after all that have one.
_SCORE_PLACE = "coalesce(e.label_score, 2.0)"
_OF_SAMPLE = (
    " JOIN (SELECT unnest(?::VARCHAR[]) AS example_id, unnest(range(?))::DOUBLE AS place) AS sample"
    " ON e.example_id = sample.example_id"
)
_COLUMNS = [field.name for field in fields(Row)]
_ROWS = (
    "SELECT * FROM (SELECT "
    + ", ".join(f"e.{name}" for name in _COLUMNS[:15])
    + ", i.rank, coalesce(i.suggested_label, e.predicted_label) AS suggested_label,"
    " coalesce(i.p_suggested, e.p_predicted) AS p_suggested, coalesce({dismissed}, false) AS was_dismissed,"
    " {place} AS place"
    " FROM read_parquet(?, hive_partitioning = false) e LEFT JOIN read_parquet(?, hive_partitioning = false) i"
    " ON e.example_id = i.example_id AND e.is_label_issue{among})"
)
_IS_NEW = (
    "is_label_issue AND example_id IN (SELECT example_id FROM read_parquet(?, hive_partitioning = false)"
    " WHERE issue_change = 'new')"
)
_IS_JUDGED = (
    "EXISTS (SELECT 1 FROM (SELECT unnest(?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS digest,"
    " unnest(?::VARCHAR[]) AS label, unnest(?::VARCHAR[]) AS decision) AS judged WHERE judged.id = example_id"
    " AND judged.label = given_label AND judged.digest IS NOT DISTINCT FROM content_digest{decision})"
)
# As `decisions.why_undecidable`.
_DECIDABLE = f"given_label IS NOT NULL AND status <> '{Status.DUPLICATE_ID}'"


def _conditions(filters: Filters) -> list[tuple[str, list[Any]]]:
    """Conditions on the columns of `Row`, each with its values."""
    found: list[tuple[str, list[Any]]] = []
    match filters.shown:
        case Shown.FLAGGED:
            found.append(("is_label_issue", []))
        case Shown.NOT_FLAGGED:
            found.append(("NOT is_label_issue", []))
        case Shown.SAMPLE:
            found.append(("status = 'scored'", []))
        case Status():
            found.append(("status = ?", [str(filters.shown)]))
    for column in ("given_label", "suggested_label", "fold"):
        value = getattr(filters, column)
        if value is not None:
            found.append((f"{column} = ?", [value]))
    if (filters.lowest, filters.highest) != (0.0, 1.0):
        found.append(("label_score BETWEEN ? AND ?", [filters.lowest, filters.highest]))
    if filters.id_contains:
        found.append(("contains(lower(example_id), lower(?))", [filters.id_contains]))
    return found


def _judged(judgement: Judgement | Decision, verdicts: VerdictColumns) -> tuple[str, list[Any]]:
    values: list[Any] = [list(column) for column in verdicts]
    if isinstance(judgement, Decision):
        return _IS_JUDGED.format(decision=" AND judged.decision = ?"), [*values, str(judgement)]
    is_judged = _IS_JUDGED.format(decision="")
    return (is_judged if judgement == Judgement.DECIDED else f"NOT {is_judged} AND {_DECIDABLE}"), values
