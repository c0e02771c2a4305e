"""What people see of the rows of an audit: cards of the worst issues on the page, and previews for reviewers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.detected import AuditTables
from labelaudit.audits.version import Version
from labelaudit.pipeline.decoded_inputs import load_images, load_table_inputs, load_texts, load_vectors
from labelaudit.report import gallery
from labelaudit.report.annotators_section import needed_ids
from labelaudit.report.gallery import Peers, row_excerpt, texts_excerpt, thumbnail
from labelaudit.report.previews import Preview, image_preview, previews_file, table_preview, text_preview, texts_preview
from labelaudit.report.vector_text import vector_description, vector_excerpt
from labelaudit.reviews.audit_review import p_wrong_of
from labelaudit.reviews.sampling import DEFAULT_SEED, PREVIEWED_ROWS, drawn_positions, strata_to_draw
from labelaudit.schemas import Status
from labelaudit.strings import Strings

PREVIEWS_FILE = "previews.parquet"
# The columns of EXAMPLES that decide which rows get a preview.
PREVIEWED_COLUMNS = ("is_label_issue", "is_dismissed", "p_wrong_without_verdicts")
# Limit for all previews together, which are in memory while they are made. Rows beyond it get no preview.
PREVIEW_BYTES = 256 * 2**20
# Limit for those of neighbours that are not reviewed themselves. The neighbours of the first rows come first.
NEIGHBOUR_BYTES = 64 * 2**20
# Unusual columns on a card of the page.
CARD_COLUMNS = 4


class RowInputs(Protocol):
    """Shows the decoded inputs of a version, by position in the canonical order."""

    def card(self, row: int) -> gallery.CardPreview: ...

    def contents(self, row: int) -> gallery.CardPreview: ...

    def whole(self, row: int) -> Preview: ...


def open_rows(plan: Plan, rows: Version, folder: Path) -> RowInputs:
    """Return the decoded inputs in the folder of a cache entry."""
    if plan.kind == "image":
        return _Images(folder)
    if plan.kind == "vector":
        return _Vectors(folder)
    return _Texts(folder) if plan.kind == "text" else _TableRows(folder, rows)


def cards(inputs: RowInputs, rows: Version, listed: pa.Table, count: int) -> list[gallery.CardPreview]:
    """Return the cards of the first `count` rows of ISSUES or OUTLIERS, in their order."""
    return cards_of(inputs, rows, listed["example_id"][:count].to_pylist())


def cards_of(inputs: RowInputs, rows: Version, example_ids: Sequence[str]) -> list[gallery.CardPreview]:
    """Return the cards of some scored rows, in their order."""
    position = _positions(rows, set(example_ids))
    return [inputs.card(position[example_id]) for example_id in example_ids]


def copies_previews(inputs: RowInputs, examples: pa.Table, copies: pa.Table) -> list[gallery.CardPreview]:
    """Return what some rows contain, in their order.

    Args:
        examples: file and row of all rows, in canonical order.
        copies: the rows, with at least the columns file and row.
    """
    is_candidate = pc.and_(*(pc.is_in(examples[name], copies[name]) for name in ("file", "row")))
    positions = np.flatnonzero(is_candidate.to_numpy())
    places = examples.select(["file", "row"]).take(pa.array(positions)).to_pylist()
    position_of = {(place["file"], place["row"]): at for place, at in zip(places, positions.tolist(), strict=True)}
    return [inputs.contents(position_of[copy["file"], copy["row"]]) for copy in copies.to_pylist()]


def reviewed_ids(rows: Version, tables: AuditTables, count: int) -> list[str]:
    """Return the ids of the rows that reviewers see: the first rows of a random sample of each stratum, and the first
    of each list.

    The lists are copies with different labels, rows that need another opinion, issues, outliers, and inputs that are
    hard to use.

    If `count` is 0, these are none, because the data may be confidential.

    Args:
        rows: with ids and labels.
        tables: those of the audit; of the examples, at least the PREVIEWED_COLUMNS.
    """
    if not count:
        return []
    # In canonical order, as EXAMPLES is.
    scored_ids = rows.of_scored(rows.examples.example_id)
    copies = [] if tables.duplicates is None else _conflicting_ids(tables.duplicates)[:count]
    worst = tables.issues["example_id"][:count].to_pylist()
    unlike = [] if tables.outliers is None else tables.outliers["example_id"][:count].to_pylist()
    hard = [] if tables.quality is None else _scored_ids(tables.quality)[:count]
    sampled = sampled_ids(tables.examples, rows.examples.fingerprint, scored_ids)
    opinions = [] if tables.consensus is None else needed_ids(tables.consensus, PREVIEWED_ROWS)[:count]
    return list(dict.fromkeys([*sampled, *copies, *opinions, *worst, *unlike, *hard]))


def previews_bytes(inputs: RowInputs, rows: Version, tables: AuditTables, count: int) -> bytes:
    """Return `previews.parquet`: the rows of `reviewed_ids`, and their neighbours."""
    reviewed = dict.fromkeys(reviewed_ids(rows, tables, count))
    near = [] if tables.neighbours is None else _neighbour_ids(tables.neighbours, reviewed)
    wanted = [*reviewed, *(example_id for example_id in near if example_id not in reviewed)]
    position = _positions(rows, set(wanted))

    def bounded() -> Iterator[tuple[str, Preview]]:
        left, left_near = PREVIEW_BYTES, NEIGHBOUR_BYTES
        for example_id in wanted:
            preview = inputs.whole(position[example_id])
            left -= len(preview.data)
            left_near -= 0 if example_id in reviewed else len(preview.data)
            if min(left, left_near) < 0:
                return
            yield example_id, preview

    return previews_file(bounded())


def _neighbour_ids(neighbours: pa.Table, reviewed: Iterable[str]) -> list[str]:
    """Return the different ids of neighbours, those of the first reviewed rows first."""
    order = pc.index_in(neighbours["example_id"], pa.array(reviewed, pa.string()))
    ranked = neighbours.append_column("order", order).sort_by([("order", "ascending"), ("rank", "ascending")])
    return list(dict.fromkeys(ranked["neighbour_id"].to_pylist()))


def _conflicting_ids(duplicates: pa.Table) -> list[str]:
    return _scored_ids(duplicates.filter(duplicates["has_other_labels"]))


def _scored_ids(table: pa.Table) -> list[str]:
    """Return the ids of the scored rows of a table with the columns example_id and status."""
    ids: list[str] = table["example_id"].filter(pc.equal(table["status"], str(Status.SCORED))).to_pylist()
    return ids


def sampled_ids(examples: pa.Table, fingerprint: str, scored_ids: Strings) -> list[str]:
    """Return the ids of the rows that `labelaudit review sample` draws first.

    Args:
        examples: the PREVIEWED_COLUMNS of an EXAMPLES table.
        fingerprint: that of the version.
        scored_ids: those of the M scored rows in the order of `examples`.
    """
    scored = examples.select(PREVIEWED_COLUMNS).filter(pc.is_valid(examples["is_label_issue"]))
    # Flagged by the detector: a dismissed row stays in its stratum.
    was_flagged = np.asarray(pc.or_(scored["is_label_issue"], scored["is_dismissed"]).to_numpy(), bool)
    strata = strata_to_draw(p_wrong_of(scored), was_flagged, PREVIEWED_ROWS)
    drawn = drawn_positions(strata, scored_ids, fingerprint, DEFAULT_SEED)
    return [example_id for rows in drawn for example_id in scored_ids[rows]]


def _positions(rows: Version, wanted: Set[str]) -> dict[str, int]:
    """Return the positions of some scored rows by id. Other rows may have the same id."""
    example_ids = rows.of_scored(rows.examples.example_id)
    found = example_ids.find(wanted)
    return dict(zip(example_ids[found], rows.scored[found].tolist(), strict=True))


class _Images:
    def __init__(self, folder: Path) -> None:
        self._images = load_images(folder)

    def card(self, row: int) -> gallery.CardPreview:
        return thumbnail(self._pixels(row))

    def contents(self, row: int) -> gallery.CardPreview:
        return self.card(row)

    def whole(self, row: int) -> Preview:
        return image_preview(self._pixels(row))

    def _pixels(self, row: int) -> np.ndarray:
        return np.asarray(self._images.pixels[self._images.positions[row]])


class _Texts:
    def __init__(self, folder: Path) -> None:
        self._texts = load_texts(folder)

    def card(self, row: int) -> gallery.CardPreview:
        return texts_excerpt(self._texts(row))

    def contents(self, row: int) -> gallery.CardPreview:
        return self.card(row)

    def whole(self, row: int) -> Preview:
        return texts_preview(self._texts(row))


class _Vectors:
    def __init__(self, folder: Path) -> None:
        self._vectors = load_vectors(folder)

    def card(self, row: int) -> gallery.CardPreview:
        return vector_excerpt(self._vectors[row])

    def contents(self, row: int) -> gallery.CardPreview:
        return self.card(row)

    def whole(self, row: int) -> Preview:
        return text_preview(vector_description(self._vectors[row]))


class _TableRows:
    def __init__(self, folder: Path, rows: Version) -> None:
        self._frame = load_table_inputs(folder)
        self._labels = rows.examples.label
        self._peers: dict[int, Peers] = {}

    def card(self, row: int) -> gallery.CardPreview:
        return self._peers_of(row).unusual_columns(row, CARD_COLUMNS)

    def contents(self, row: int) -> gallery.CardPreview:
        return row_excerpt(self._frame, row)

    def whole(self, row: int) -> Preview:
        return table_preview(self._frame, row, self._peers_of(row))

    def _peers_of(self, row: int) -> Peers:
        label = int(self._labels[row])
        if label not in self._peers:
            self._peers[label] = Peers(self._frame, np.flatnonzero(self._labels == label))
        return self._peers[label]
