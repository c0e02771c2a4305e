"""SQL over the Parquet files of audits. Values are bound as parameters; query texts come from this file only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelaudit.errors import StorageError
from labelaudit.report.charts import BINS, Histogram, Measured
from labelaudit.report.previews import Preview
from labelaudit.reviews.audit_review import P_WRONG
from labelaudit.reviews.sampling import DEFAULT_SEED, PREVIEWED_ROWS, drawn_positions, mixed, strata_to_draw
from labelaudit.reviews.suggestions import CONSENSUS_NEEDED, ISSUES_NEEDED, SUGGESTED_FROM, suggested_labels
from labelaudit.schemas import ANNOTATORS, CLASSES, CONFUSIONS, SLICES, Decision, InputIssue, Status, slice_column
from labelaudit.storage.failures import first_line

MEMORY_LIMIT = "1GB"
# Other rows on the map are counted in so many cells in each direction. The rest has a mark each, up to this limit.
_CELLS = 120
_MAP_MARKS = 10_000


# A filter for rows whose inputs have an issue of any kind.
ANY_ISSUE = "any issue"


class VerdictColumns(NamedTuple):
    """The current verdicts on a dataset, as columns."""

    example_ids: Sequence[str]
    content_digests: Sequence[str | None]
    given_labels: Sequence[str]
    decisions: Sequence[str]


NO_VERDICTS = VerdictColumns((), (), (), ())


class Shown(StrEnum):
    """Groups of rows of an audit. A `Status` is another one."""

    FLAGGED = "flagged"
    NOT_FLAGGED = "not flagged"
    SAMPLE = "random sample"
    COPIES = "copies with different labels"  # group by group
    OUTLIERS = "outliers"  # the most unlike all others first
    OPINIONS = "rows that several annotators answered"  # those that need another opinion most first
    DISPUTED = "rows on which only the model disagrees"
    ALL = "all rows"


# Groups that only audits with answers of annotators have.
ANSWERED = (Shown.OPINIONS, Shown.DISPUTED)


class Reviewed(StrEnum):
    """Whether a row has a verdict. A `Decision` matches that verdict only."""

    ANY = "decided or not"
    UNDECIDED = "undecided"  # without a verdict, and it could have one
    DECIDED = "decided"


class Order(StrEnum):
    """The order of rows. Audits of earlier releases have no p_wrong; there, they are by label score.

    In audits with one view, the number of views that agree is missing, and it does not matter.
    """

    LIKELY_WRONG = "most likely wrong first"
    LABEL_SCORE = "lowest label score first"
    VIEWS_AGREE = "most views agree on another label first"  # ties: most likely wrong first


class Slice(NamedTuple):
    """The rows with one value in a column of `dataset.slices`."""

    column: str
    value: str


@dataclass(frozen=True)
class Filters:
    """Which rows of an audit to show. None and empty text match every row."""

    shown: Shown | Status = Shown.FLAGGED
    given_label: str | None = None
    suggested_label: str | None = None
    lowest: float = 0.0  # label_score, both limits included
    highest: float = 1.0
    least_wrong: float = 0.0  # p_wrong, both limits included
    most_wrong: float = 1.0
    fold: int | None = None
    input_issue: str | None = None  # an InputIssue, or ANY_ISSUE
    reviewed: Reviewed | Decision = Reviewed.ANY
    id_contains: str = ""
    slice: Slice | None = None
    new_only: bool = False  # flagged now, and not in the predecessor
    sample: tuple[str, ...] = ()  # ids of the random sample, in its order
    order: Order = Order.LIKELY_WRONG  # of all rows but those of a list with an order of its own
    box: Box | None = None  # on the map


class Box(NamedTuple):
    """A part of the map, limits included."""

    left: float
    right: float
    bottom: float
    top: float


class Address(NamedTuple):
    """One row of an audit, even if others have the same id. A link may contain the id only."""

    example_id: str
    file: str | None = None
    row: int | None = None


class MapKind(StrEnum):
    """What a mark on the map stands for."""

    OTHER = "other rows"
    OUTLIER = "outliers"
    FLAGGED = "flagged"


class MapPoint(NamedTuple):
    """A mark on the map: one row, or several other rows that are close to each other."""

    x: float
    y: float
    kind: MapKind
    rows: int


class GivenAnswer(NamedTuple):
    """The answer of an annotator to a row."""

    annotator: str
    label: str
    quality: float | None  # the share of the annotator's answers that are right, 0..1


@dataclass(frozen=True)
class Row:
    """A row of `examples.parquet`, joined with its row in `issues.parquet`. `_ROWS` selects the same columns."""

    example_id: str
    given_label: str | None
    status: str
    fold: int | None
    predicted_label: str | None
    label_score: float | None
    p_wrong: float | None  # None in audits of earlier releases
    is_label_issue: bool | None
    p_given: float | None
    p_predicted: float | None
    margin: float | None
    file: str | None
    row: int | None
    content_digest: str | None
    verdict: str | None  # when the audit was made
    right_label: str | None
    rank: int | None
    suggested_label: str | None  # never the given one
    was_dismissed: bool  # flagged by the detector, but reviewed as fine before the audit
    views_agree: float | None  # None in audits with one view
    outlier_score: float | None  # None if the audit has no features
    input_issues: str | None  # as in EXAMPLES; None also in audits of earlier releases
    remove_reason: str | None
    position: float  # sorts the rows of a page

    @property
    def address(self) -> Address:
        return Address(self.example_id, self.file, self.row)

    @property
    def was_flagged(self) -> bool:
        """Whether the detector flagged it, even if a reviewer dismissed the flag."""
        return bool(self.is_label_issue) or self.was_dismissed


class _Query(NamedTuple):
    """SQL text with a `?` for each value."""

    text: str
    values: Sequence[object] = ()


# Groups of rows that a link may be restricted to.
_LISTS = (Shown.FLAGGED, Shown.SAMPLE, Shown.COPIES, Shown.OUTLIERS, *ANSWERED)
# Parameters: the paths of answers.parquet and annotators.parquet, and an id.
_ANSWERS = """
    SELECT a.annotator, a.label, j.quality
    FROM read_parquet(?, hive_partitioning = false) a
    LEFT JOIN read_parquet(?, hive_partitioning = false) j ON a.annotator = j.annotator
    WHERE a.example_id = ? ORDER BY j.quality DESC, a.annotator
"""
# The rows of an audit as `Row`. Parameters: the paths of examples.parquet and issues.parquet, then those of `join`.
_ROWS = """
    SELECT * FROM (
        SELECT
            e.example_id, e.given_label, e.status, e.fold, e.predicted_label, e.label_score,
            {p_wrong} AS p_wrong, e.is_label_issue,
            e.p_given, e.p_predicted, e.margin, e.file, e.row, e.content_digest, e.verdict, e.right_label,
            i.rank,
            {suggested_label} AS suggested_label,
            coalesce({is_dismissed}, false) AS was_dismissed,
            {views_agree} AS views_agree,
            {outlier_score} AS outlier_score,
            {input_issues} AS input_issues,
            {remove_reason} AS remove_reason,
            {position} AS position
        FROM read_parquet(?, file_row_number = true, hive_partitioning = false) e
        LEFT JOIN read_parquet(?, hive_partitioning = false) i ON e.example_id = i.example_id AND e.is_label_issue
        {suggestions}
        {join}
    )
"""
# As `suggested_labels` does it without answers of annotators. The rows for which these change it are in a table.
_SUGGESTED = "coalesce(i.suggested_label, nullif(e.predicted_label, e.given_label))"
_SUGGESTED_WITH_ANSWERS = f"CASE WHEN s.position IS NULL THEN {_SUGGESTED} ELSE s.suggested_label END"
_JOIN_SUGGESTIONS = "LEFT JOIN suggestions s ON e.file_row_number = s.position"
# Positions of rows: those without a score are last. A sample and copies have their own.
_POSITIONS = {
    Order.LIKELY_WRONG: "coalesce(-p_wrong, label_score, 2.0)",
    Order.LABEL_SCORE: "coalesce(label_score, 2.0)",
    Order.VIEWS_AGREE: "coalesce(-p_wrong, label_score, 2.0) - coalesce(views_agree, 0.0)",
}
# Parameters: the ids of a sample in its order, and their number.
_JOIN_SAMPLE = """
    JOIN (SELECT unnest(?::VARCHAR[]) AS example_id, unnest(range(?))::DOUBLE AS position) AS sample
    ON e.example_id = sample.example_id
"""
# Parameter: the path of a table whose rows are in the order in which they are shown.
_JOIN_LISTED = """
    JOIN (
        SELECT example_id, file, row, file_row_number::DOUBLE AS position
        FROM read_parquet(?, file_row_number = true, hive_partitioning = false) WHERE {condition}
    ) AS listed
    ON e.example_id = listed.example_id AND e.file IS NOT DISTINCT FROM listed.file
        AND e.row IS NOT DISTINCT FROM listed.row
"""
# Parameters: the path of neighbours.parquet, and the id of a row.
_JOIN_NEAREST = """
    JOIN (
        SELECT neighbour_id, rank::DOUBLE AS position FROM read_parquet(?, hive_partitioning = false)
        WHERE example_id = ?
    ) AS nearest
    ON e.example_id = nearest.neighbour_id AND e.status = 'scored'
"""
# Not every audit has such a file.
_JOIN_NOTHING = "JOIN (SELECT NULL::DOUBLE AS position WHERE false) AS listed ON true"
# Lists with an order of their own: their file, and the rows of it that are shown.
_TABLES: dict[Shown | Status, tuple[str, str]] = {
    Shown.COPIES: ("duplicates.parquet", "has_other_labels"),
    Shown.OUTLIERS: ("outliers.parquet", "true"),
}
# Parameter: the path of consensus.parquet.
_JOIN_CONSENSUS = """
    JOIN (
        SELECT example_id, {position} AS position
        FROM read_parquet(?, hive_partitioning = false) WHERE {condition}
    ) AS answered
    ON e.example_id = answered.example_id AND e.status = 'scored'
"""
_OPINIONS = _JOIN_CONSENSUS.format(position="opinion_rank::DOUBLE", condition="true")
_DISPUTED = _JOIN_CONSENSUS.format(position="-p_wrong_of_model::DOUBLE", condition="is_disputed")
_JOIN_NOTHING_ANSWERED = "JOIN (SELECT NULL::DOUBLE AS position WHERE false) AS answered ON true"
_ORDER = "position, coalesce(label_score, 2.0), example_id, coalesce(file, ''), coalesce(row, -1)"
# Parameter: the path of changes.parquet.
_IS_NEW = """
    is_label_issue AND example_id IN (
        SELECT example_id FROM read_parquet(?, hive_partitioning = false) WHERE issue_change = 'new'
    )
"""
# Parameters: the path of map.parquet, and a box.
_IS_IN_BOX = """
    status = 'scored' AND example_id IN (
        SELECT example_id FROM read_parquet(?, hive_partitioning = false)
        WHERE x BETWEEN ? AND ? AND y BETWEEN ? AND ?
    )
"""
# Rows that are neither flagged nor outliers, counted in cells, then the others. Parameters: the paths of map.parquet
# and examples.parquet, that of outliers.parquet if there is one, the number of cells in each direction, and the limit
# of the others.
_MAP = """
    WITH points AS (
        SELECT m.x, m.y, m.example_id,
            CASE WHEN e.is_label_issue THEN 2 WHEN o.example_id IS NOT NULL THEN 1 ELSE 0 END AS kind
        FROM read_parquet(?, hive_partitioning = false) m
        JOIN read_parquet(?, hive_partitioning = false) e ON m.example_id = e.example_id AND e.status = 'scored'
        LEFT JOIN {outliers} o ON m.example_id = o.example_id
    ), extent AS (
        SELECT min(x) AS left_end, min(y) AS bottom, greatest(max(x) - min(x), max(y) - min(y), 1e-6) / ? AS cell
        FROM points
    )
    SELECT avg(x)::DOUBLE AS x, avg(y)::DOUBLE AS y, 0 AS kind, count(*) AS rows, NULL AS example_id
    FROM points, extent WHERE kind = 0 GROUP BY floor((x - left_end) / cell), floor((y - bottom) / cell)
    UNION ALL
    SELECT * FROM (
        SELECT x::DOUBLE, y::DOUBLE, kind, 1, example_id FROM points WHERE kind > 0
        ORDER BY kind DESC, example_id LIMIT ?
    )
    ORDER BY kind, example_id, x, y
"""
_NO_IDS = "(SELECT NULL::VARCHAR AS example_id WHERE false)"
# Parameters: the path of examples.parquet, and a value. The column is quoted.
_IN_SLICE = """
    (example_id, coalesce(file, ''), coalesce(row, -1)) IN (
        SELECT (example_id, coalesce(file, ''), coalesce(row, -1))
        FROM read_parquet(?, hive_partitioning = false) WHERE {column} = ?
    )
"""
# Parameters: the columns of `VerdictColumns`.
_HAS_VERDICT = """
    EXISTS (
        SELECT 1
        FROM (
            SELECT unnest(?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS digest, unnest(?::VARCHAR[]) AS label,
                unnest(?::VARCHAR[]) AS decision
        ) AS verdicts
        WHERE verdicts.id = example_id AND (verdicts.label = given_label OR verdicts.decision = '{remove}')
            AND verdicts.digest IS NOT DISTINCT FROM content_digest {condition}
    )
"""
# The same rule as `row_verdicts.why_undecidable`.
_DECIDABLE = f"given_label IS NOT NULL AND status <> '{Status.DUPLICATE_ID}'"


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """Return a database in memory that may read the files in one folder, and nothing else on machine or network."""
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # A table name must never resolve to a Python variable.
            "python_enable_replacements": "false",
        }
    )
    # SET takes no parameters. The folder is a setting of this machine.
    quoted = str(folder).replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{quoted}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@contextmanager
def _cursor(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a cursor for one thread. Several cursors of a connection may be used at once."""
    with _readable(), connection.cursor() as cursor:
        yield cursor


@contextmanager
def _readable() -> Iterator[None]:
    """Turn errors of DuckDB and pyarrow (a damaged file, too little memory) into a `StorageError`."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise StorageError(
            f"The tables of the audit cannot be read ({type(error).__name__}: {first_line(error)}). Load the page "
            "again; if that does not help, run the audit again."
        ) from error


def _schema(path: str | Path) -> pa.Schema:
    with _readable():
        return pq.read_schema(path)


class AuditQueries:
    """Queries over one audit. Thread-safe.

    Args:
        connection: A database of `connect`.
        file: Returns the local path of a file by its name in the audit, or None if the audit does not have it.

    Raises:
        StorageError: in all methods, if a table cannot be read.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, file: Callable[[str], Path | None]) -> None:
        self._connection = connection
        self._file = file
        # DuckDB lets only one session create a table. One table may need another.
        self._creating = threading.RLock()
        self._created: set[str] = set()

    def count(self, filters: Filters, verdicts: VerdictColumns = NO_VERDICTS) -> int:
        """Return the number of rows that match."""
        rows = self._filtered(filters, verdicts)
        return int(self._fetch(f"SELECT count(*) FROM ({rows.text})", rows.values)[0][0])

    def page(
        self, filters: Filters, verdicts: VerdictColumns = NO_VERDICTS, *, offset: int = 0, limit: int = 24
    ) -> list[Row]:
        """Return some of the rows that match: the most doubtful first, a sample in its order, the others by id."""
        rows = self._filtered(filters, verdicts)
        query = f"SELECT * FROM ({rows.text}) ORDER BY {_ORDER} LIMIT ? OFFSET ?"
        return [Row(*record) for record in self._fetch(query, [*rows.values, limit, offset])]

    def neighbour(
        self, row: Row, filters: Filters, verdicts: VerdictColumns = NO_VERDICTS, *, forward: bool = True
    ) -> Row | None:
        """Return the next or previous row that matches. The given row need not match any more."""
        rows = self._filtered(filters, verdicts)
        beyond = f"({_ORDER}) {'>' if forward else '<'} (?, ?, ?, ?, ?)"
        order = f"({_ORDER}) {'ASC' if forward else 'DESC'}"
        query = f"SELECT * FROM ({rows.text}) WHERE {beyond} ORDER BY {order} LIMIT 1"
        score = 2.0 if row.label_score is None else row.label_score
        start = [row.position, score, row.example_id, row.file or "", -1 if row.row is None else row.row]
        found = self._fetch(query, [*rows.values, *start])
        return Row(*found[0]) if found else None

    def find(self, address: Address, filters: Filters) -> Row | None:
        """Return the row at an address, or else one with the same id, preferably a scored one.

        Only rows of the list are found if the filters show only these.
        """
        shown = filters.shown if filters.shown in _LISTS else Shown.ALL
        rows = self._rows(shown, filters.sample, filters.order)
        is_same = "file IS NOT DISTINCT FROM ? AND row IS NOT DISTINCT FROM ?"
        order = f"{is_same} DESC, status = 'scored' DESC, file, row"
        query = f"SELECT * FROM ({rows.text}) WHERE example_id = ? ORDER BY {order} LIMIT 1"
        found = self._fetch(query, [*rows.values, *address])
        return Row(*found[0]) if found else None

    def nearest(self, row: Row) -> list[Row]:
        """Return the nearest other rows in the space of features; none if the audit does not have them."""
        path = self._file("neighbours.parquet")
        if path is None or row.status != Status.SCORED:
            return []
        rows = self._from_files("nearest.position", _JOIN_NEAREST, [str(path), row.example_id])
        return [Row(*record) for record in self._fetch(f"{rows.text} ORDER BY position", rows.values)]

    def map_points(self) -> list[MapPoint]:
        """Return what the map shows; nothing if the audit has none. Flagged rows are last, so that they are on top."""
        path, outliers = self._file("map.parquet"), self._file("outliers.parquet")
        if path is None:
            return []
        source = _NO_IDS if outliers is None else "read_parquet(?, hive_partitioning = false)"
        of_outliers = [] if outliers is None else [str(outliers)]
        values = [str(path), self._path("examples.parquet"), *of_outliers, _CELLS, _MAP_MARKS]
        kinds = (MapKind.OTHER, MapKind.OUTLIER, MapKind.FLAGGED)
        found = self._fetch(_MAP.format(outliers=source), values)
        return [MapPoint(x, y, kinds[kind], rows) for x, y, kind, rows, _ in found]

    def folds(self) -> list[int]:
        """Return the folds of the first repeat, sorted; none if the probabilities came from outside."""
        query = "SELECT DISTINCT fold FROM read_parquet(?) WHERE fold IS NOT NULL ORDER BY fold"
        return [fold for (fold,) in self._fetch(query, [self._path("examples.parquet")])]

    def input_issues(self) -> list[str]:
        """Return the kinds of issues that inputs have, in the order of `InputIssue`; none if they are unknown."""
        path = self._file("quality.parquet")
        if path is None:
            return []
        found = {kind for (kind,) in self._fetch("SELECT DISTINCT issue FROM read_parquet(?)", [str(path)])}
        return [str(kind) for kind in InputIssue if kind in found]

    def random_sample(self, fingerprint: str) -> tuple[str, ...]:
        """Return the ids that `labelaudit review sample` draws first for the version with this fingerprint, mixed."""
        path = self._path("examples.parquet")
        names = _schema(path).names
        p_wrong = P_WRONG if P_WRONG in names else "NULL::FLOAT"
        is_dismissed = "is_dismissed" if "is_dismissed" in names else "false"
        # A name of a column cannot be a parameter. None of these comes from a user.
        query = f"""
            SELECT example_id, is_label_issue OR coalesce({is_dismissed}, false), {p_wrong}
            FROM read_parquet(?, hive_partitioning = false) WHERE status = 'scored' ORDER BY example_id
        """
        ids, flags, shares = zip(*self._fetch(query, [path]), strict=True)
        p_wrong_of_rows = None if None in shares else np.array(shares, np.float32)
        strata = strata_to_draw(p_wrong_of_rows, np.array(flags, bool), PREVIEWED_ROWS)
        positions = drawn_positions(strata, ids, fingerprint, DEFAULT_SEED)
        drawn = [[ids[at] for at in rows] for rows in positions]
        return tuple(mixed(drawn, fingerprint, DEFAULT_SEED))

    def previews(self, example_ids: Sequence[str]) -> dict[str, Preview]:
        """Return the previews of these rows by id."""
        path = self._file("previews.parquet")
        query = (
            "SELECT example_id, media_type, data FROM read_parquet(?) WHERE example_id IN (SELECT unnest(?::VARCHAR[]))"
        )
        found = self._fetch(query, [str(path), list(example_ids)]) if path else []
        return {example_id: Preview(media_type, data) for example_id, media_type, data in found}

    def probabilities(self, example_id: str, fold: int) -> dict[str, float]:
        """Return the out-of-fold probabilities of a row by class, the largest first; empty if the audit has none."""
        path = self._file(f"pred_probs/fold={fold}/part.parquet")
        if path is None:
            return {}
        query = "SELECT pred_probs FROM read_parquet(?, hive_partitioning = false) WHERE example_id = ?"
        found = self._fetch(query, [str(path), example_id])
        metadata = _schema(path).metadata or {}
        classes = json.loads(metadata.get(b"class_names", b"[]"))
        pairs = zip(classes, found[0][0], strict=True) if found else ()
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def answers(self, example_id: str) -> list[GivenAnswer]:
        """Return the answers of annotators to a row, those of the best annotators first; none if the audit has none."""
        answers, annotators = self._file("answers.parquet"), self._file("annotators.parquet")
        if answers is None or annotators is None:
            return []
        found = self._fetch(_ANSWERS, [str(answers), str(annotators), example_id])
        return [GivenAnswer(*record) for record in found]

    def annotators(self) -> pa.Table:
        """Return `annotators.parquet`, or an empty table."""
        return self._table("annotators.parquet", ANNOTATORS)

    def classes(self) -> pa.Table:
        """Return `classes.parquet`, or an empty table."""
        return self._table("classes.parquet", CLASSES)

    def confusions(self) -> pa.Table:
        """Return `confusions.parquet`, or an empty table."""
        return self._table("confusions.parquet", CONFUSIONS)

    def slices(self) -> pa.Table:
        """Return `slices.parquet`, or an empty table."""
        return self._table("slices.parquet", SLICES)

    def class_names(self) -> list[str]:
        """Return the names of all classes, sorted."""
        return sorted(self.classes()["class_name"].to_pylist())

    def histogram(self, cut: float | None, bins: int = BINS) -> Histogram:
        """Count the scored rows by p_wrong, or by label_score if the audit is of an earlier release."""
        path = self._path("examples.parquet")
        # One of two names of this module, because a query cannot have a column as a parameter.
        measured = self.measured
        query = f"""
            SELECT least(floor({measured} * ?)::INTEGER, ? - 1) AS bin, is_label_issue, count(*)
            FROM read_parquet(?) WHERE {measured} IS NOT NULL GROUP BY ALL ORDER BY ALL
        """
        flagged, others = [0] * bins, [0] * bins
        for number, is_flagged, count in self._fetch(query, [bins, bins, path]):
            (flagged if is_flagged else others)[number] = count
        return Histogram(tuple(flagged), tuple(others), measured, cut)

    @property
    def measured(self) -> Measured:
        """The column of its histogram. Audits of earlier releases have no p_wrong."""
        has_p_wrong = Measured.P_WRONG in _schema(self._path("examples.parquet")).names
        return Measured.P_WRONG if has_p_wrong else Measured.LABEL_SCORE

    def _filtered(self, filters: Filters, verdicts: VerdictColumns) -> _Query:
        """Return the query for the rows that match, as `Row`."""
        rows = self._rows(filters.shown, filters.sample, filters.order)
        conditions = _conditions(filters)
        if filters.new_only:
            changes = self._file("changes.parquet")
            # Without a predecessor, an audit has no table of changes, and no row counts as new.
            conditions.append(_Query(_IS_NEW, [str(changes)]) if changes else _Query("false"))
        if filters.box is not None:
            path = self._file("map.parquet")
            conditions.append(_Query(_IS_IN_BOX, [str(path), *filters.box]) if path else _Query("false"))
        if filters.slice is not None:
            conditions.append(self._in_slice(filters.slice))
        if filters.reviewed != Reviewed.ANY:
            conditions.append(_is_reviewed(filters.reviewed, verdicts))
        matches = " AND ".join(condition.text for condition in conditions) or "true"
        values = [value for condition in conditions for value in condition.values]
        return _Query(f"{rows.text} WHERE {matches}", [*rows.values, *values])

    def _in_slice(self, wanted: Slice) -> _Query:
        path, column = self._path("examples.parquet"), slice_column(wanted.column)
        if column not in _schema(path).names:
            return _Query("false")
        # A name of a column cannot be a parameter.
        quoted = '"' + column.replace('"', '""') + '"'
        return _Query(_IN_SLICE.format(column=quoted), [path, wanted.value])

    def _rows(self, shown: Shown | Status, sample: Sequence[str], order: Order) -> _Query:
        """Return the query for all rows that may be shown, as `Row`."""
        if shown == Shown.SAMPLE:
            return self._from_files("sample.position", _JOIN_SAMPLE, [list(sample), len(sample)])
        if shown in _TABLES:
            name, condition = _TABLES[shown]
            path = self._file(name)
            join, values = (
                (_JOIN_NOTHING, []) if path is None else (_JOIN_LISTED.format(condition=condition), [str(path)])
            )
            return self._from_files("listed.position", join, values)
        if shown in ANSWERED:
            path = self._file("consensus.parquet")
            if path is None:
                return self._from_files("answered.position", _JOIN_NOTHING_ANSWERED)
            join = _OPINIONS if shown == Shown.OPINIONS else _DISPUTED
            return self._from_files("answered.position", join, [str(path)])
        if shown == Shown.FLAGGED:
            self._load_flagged()
            rows = _Query("flagged")
        else:
            files = self._from_files("NULL::DOUBLE")
            rows = _Query(f"({files.text})", files.values)
        return _Query(f"SELECT * REPLACE ({_POSITIONS[order]} AS position) FROM {rows.text}", rows.values)

    def _load_flagged(self) -> None:
        """Copy the flagged rows to memory, because most queries are about them."""
        with self._creating:
            if "flagged" in self._created:
                return
            rows = self._from_files("NULL::DOUBLE")
            with _cursor(self._connection) as cursor:
                cursor.execute(f"CREATE TABLE flagged AS {rows.text} WHERE is_label_issue", rows.values)
            self._created.add("flagged")

    def _load_suggestions(self, consensus: Path) -> None:
        """Copy to memory the suggested labels that the answers of annotators change."""
        with self._creating:
            if "suggestions" in self._created:
                return
            with _readable():
                examples = pq.ParquetFile(self._path("examples.parquet")).read(list(SUGGESTED_FROM))
                issues = pq.ParquetFile(self._path("issues.parquet")).read(list(ISSUES_NEEDED))
                answered = pq.ParquetFile(consensus).read(list(CONSENSUS_NEEDED))
                labels = suggested_labels(examples, issues, answered)
                without_answers = suggested_labels(examples, issues, None)
            are_null = pc.and_(pc.is_null(labels), pc.is_null(without_answers))
            is_same = pc.or_(are_null, pc.fill_null(pc.equal(labels, without_answers), False))
            table = pa.table({"position": np.arange(len(labels)), "suggested_label": labels})
            with _cursor(self._connection) as cursor:
                cursor.register("found", table.filter(pc.invert(is_same)))
                cursor.execute("CREATE TABLE suggestions AS SELECT * FROM found")
            self._created.add("suggestions")

    def _from_files(self, position: str, join: str = "", values: Sequence[object] = ()) -> _Query:
        examples, issues = self._path("examples.parquet"), self._path("issues.parquet")
        consensus = self._file("consensus.parquet")
        if consensus is not None:
            self._load_suggestions(consensus)
        # Earlier releases had not all columns.
        names = _schema(examples).names
        is_dismissed = "e.is_dismissed" if "is_dismissed" in names else "false"
        p_wrong = "e.p_wrong::DOUBLE" if "p_wrong" in names else "NULL::DOUBLE"
        views_agree = "e.views_agree::DOUBLE" if "views_agree" in names else "NULL::DOUBLE"
        outlier_score = "e.outlier_score::DOUBLE" if "outlier_score" in names else "NULL::DOUBLE"
        input_issues = "e.input_issues" if "input_issues" in names else "NULL::VARCHAR"
        text = _ROWS.format(
            is_dismissed=is_dismissed,
            p_wrong=p_wrong,
            views_agree=views_agree,
            outlier_score=outlier_score,
            input_issues=input_issues,
            remove_reason="e.remove_reason" if "remove_reason" in names else "NULL::VARCHAR",
            suggested_label=_SUGGESTED if consensus is None else _SUGGESTED_WITH_ANSWERS,
            suggestions="" if consensus is None else _JOIN_SUGGESTIONS,
            position=position,
            join=join,
        )
        return _Query(text, [examples, issues, *values])

    def _table(self, name: str, schema: pa.Schema) -> pa.Table:
        path = self._file(name)
        if path is None:
            return schema.empty_table()
        with _readable():
            return pq.ParquetFile(path).read()

    def _path(self, name: str) -> str:
        path = self._file(name)
        if path is None:
            raise StorageError(f"The audit has no {name}, which every audit has. Run it again.")
        return str(path)

    def _fetch(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with _cursor(self._connection) as cursor:
            return cursor.execute(query, list(values)).fetchall()


def _conditions(filters: Filters) -> list[_Query]:
    """Return conditions on the columns of `Row`."""
    found = []
    match filters.shown:
        case Shown.FLAGGED:
            found.append(_Query("is_label_issue"))
        case Shown.NOT_FLAGGED:
            found.append(_Query("NOT is_label_issue"))
        case Shown.SAMPLE:
            found.append(_Query("status = 'scored'"))
        case Status():
            found.append(_Query("status = ?", [str(filters.shown)]))
    for column in ("given_label", "suggested_label", "fold"):
        value = getattr(filters, column)
        if value is not None:
            found.append(_Query(f"{column} = ?", [value]))
    if (filters.lowest, filters.highest) != (0.0, 1.0):
        found.append(_Query("label_score BETWEEN ? AND ?", [filters.lowest, filters.highest]))
    if (filters.least_wrong, filters.most_wrong) != (0.0, 1.0):
        found.append(_Query("p_wrong BETWEEN ? AND ?", [filters.least_wrong, filters.most_wrong]))
    found += _has_input_issue(filters.input_issue)
    if filters.id_contains:
        found.append(_Query("contains(lower(example_id), lower(?))", [filters.id_contains]))
    return found


def _has_input_issue(issue: str | None) -> list[_Query]:
    if issue is None:
        return []
    if issue == ANY_ISSUE:
        return [_Query("input_issues IS NOT NULL")]
    return [_Query("list_contains(string_split(input_issues, ', '), ?)", [issue])]


def _is_reviewed(reviewed: Reviewed | Decision, verdicts: VerdictColumns) -> _Query:
    columns = [list(column) for column in verdicts]
    if isinstance(reviewed, Decision):
        return _Query(
            _HAS_VERDICT.format(condition="AND verdicts.decision = ?", remove=Decision.REMOVE),
            [*columns, str(reviewed)],
        )
    has_verdict = _HAS_VERDICT.format(condition="", remove=Decision.REMOVE)
    return _Query(has_verdict if reviewed == Reviewed.DECIDED else f"NOT {has_verdict} AND {_DECIDABLE}", columns)
