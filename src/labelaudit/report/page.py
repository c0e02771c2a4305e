"""An audit as one HTML file that loads nothing.

The template escapes all values (Jinja autoescape). The Content-Security-Policy of the page allows only the script with
its hash, so that markup from a dataset could not run even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from labelaudit.codec import JsonObject
from labelaudit.findings import RateBasis, Summary
from labelaudit.report.annotators_section import AnnotatorsContent, annotators_context
from labelaudit.report.basis import basis_paragraphs
from labelaudit.report.changes import ChangesContent, changes_context
from labelaudit.report.charts import Histogram, fold_chart, heat_map, histogram_chart
from labelaudit.report.copies_section import CopiesContent, copies_context
from labelaudit.report.gallery import GalleryItem, preview_bytes, preview_fields
from labelaudit.report.html import Context, clip, render, template_file
from labelaudit.report.outliers_section import OutliersContent, outliers_context
from labelaudit.report.palette import page_css
from labelaudit.report.quality_section import QualityContent, quality_context, split_issues
from labelaudit.report.reviewed import ReviewSection
from labelaudit.report.slices_section import slices_context
from labelaudit.schemas import BLEND, STATUS_MEANINGS, VIEW_MEANINGS, Status
from labelaudit.shares import fraction_in_words, percent, short_range

# Rows of each table on the page. All rows are in the Parquet files next to it.
ISSUE_ROWS = 300
CLASS_ROWS = 500
PAIR_ROWS = 15
FILE_ROWS = 200
FOLD_ROWS = 200
NOTES = 100
# Bytes of all cards, so that the page stays below 5 MB. A card needs about 2,500 bytes in addition to its preview.
GALLERY_BYTES = 3_700_000
CARD_BYTES = 2_500


@dataclass(frozen=True)
class PublishedFile:
    """A file in the folder of the page."""

    name: str  # relative to the page
    bytes: int
    sha256: str
    rows: int | None = None  # None: it is not a table


@dataclass(frozen=True)
class Sections:
    """What the page shows with previews of rows, in addition to flagged rows."""

    copies: CopiesContent | None = None  # None if the contents of the rows are unknown
    outliers: OutliersContent | None = None  # None if there are no features
    annotators: AnnotatorsContent | None = None  # None without answers of annotators
    quality: QualityContent | None = None  # as for copies


@dataclass(frozen=True)
class PageContent:
    """The content of the page as plain data. Tables have the schemas of `labelaudit.schemas`."""

    summary: Summary
    issues: pa.Table  # at least the first ISSUE_ROWS rows
    classes: pa.Table
    confusions: pa.Table
    folds: pa.Table
    views: pa.Table
    histogram: Histogram
    gallery: Sequence[GalleryItem] = ()  # the most doubtful examples with previews
    provenance: Mapping[str, str] = field(default_factory=dict)  # name -> value, in the order of the page
    files: Sequence[PublishedFile] = ()
    changes: ChangesContent | None = None  # None if the summary has no changes
    review: ReviewSection | None = None  # None if there are no verdicts
    ambiguous: Sequence[JsonObject] = ()  # of `ambiguous_examples`
    slices: pa.Table | None = None  # SLICES; None if the config names none
    sections: Sections = Sections()

    @property
    def final_folds(self) -> pa.Table:
        """The folds of the blend, or of the only view."""
        is_blended = pc.equal(self.folds["view"], BLEND)
        return self.folds.filter(is_blended) if pc.any(is_blended).as_py() else self.folds


def render_page(content: PageContent) -> str:
    """Return one HTML document, below 5 MB. The same content gives the same bytes."""
    script = template_file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    copies, copies_bytes = copies_context(content.sections.copies)
    outliers, outliers_bytes = outliers_context(content.sections.outliers)
    annotators, annotators_bytes = annotators_context(content.sections.annotators)
    quality, quality_bytes = quality_context(content.sections.quality)
    used = copies_bytes + outliers_bytes + annotators_bytes + quality_bytes
    gallery = _within_limit(content.gallery, GALLERY_BYTES - used)
    return render(
        "page.html.jinja",
        page=content,
        summary=content.summary,
        css=Markup(page_css()) + template_file("page.css"),
        script=script,
        script_hash=Markup(f"'sha256-{digest}'"),
        **_opening(content),
        **copies,
        **outliers,
        **annotators,
        **quality,
        **_examples(content, gallery),
        **_classes(content, gallery),
        **_health(content),
        notes=content.summary.notes[:NOTES],
        files=_files(content),
        **changes_context(content.changes),
        **slices_context(content.slices, content.summary.changes),
    )


def _opening(content: PageContent) -> Context:
    """Return the rows without a score and the key figures."""
    total, scored, staying = content.summary.examples, content.summary.scored, content.summary.staying
    missing = [f"{rows:,} {_words(name)}" for name, rows in _other_statuses(content)]
    rare = content.classes.filter(pc.equal(content.classes["status"], str(Status.RARE_CLASS)))
    precision = content.summary.flag_precision
    correctly = "" if precision is None else f", {fraction_in_words(precision)} correctly"
    of = f"of {scored:,} scored" if staying == scored else f"of the {staying:,} scored that stay"
    figures = [
        (
            "Wrong labels",
            short_range(content.summary.error_range, staying) if scored else "-",
            _basis_in_words(content),
        ),
        ("Flagged", f"{content.summary.issues:,}", f"{of}{correctly}"),
        ("Scored", f"{scored:,}", "all rows" if scored == total else f"of {total:,} rows"),
        ("Classes", f"{len(content.classes):,}", f"{len(rare):,} set aside" if len(rare) else "all scored"),
    ]
    if len(content.folds):
        agreement = content.final_folds["agreement"].to_numpy()
        spread = f"{percent(agreement.min())} to {percent(agreement.max())} in {len(agreement)} folds"
        figures.append(("Agreement", percent(float(agreement.mean())), spread))
    return {
        "basis": basis_paragraphs(content.summary),
        "missing": f"Not scored: {', '.join(missing)}." if missing else "",
        "figures": [{"name": name, "value": value, "detail": detail} for name, value, detail in figures],
    }


def _basis_in_words(content: PageContent) -> str:
    is_measured = content.summary.error_range.basis == RateBasis.VERDICTS
    of = "of the scored" if content.summary.staying == content.summary.scored else "of the scored that stay"
    return f"{of}, measured by reviewers" if is_measured else f"{of}, from probabilities"


def _examples(content: PageContent, items: Sequence[GalleryItem]) -> Context:
    """Return gallery cards, the labels of the filters, and the first issues."""
    given = _label_counts(item.given_label for item in items)
    suggested = _label_counts(item.suggested_label for item in items)
    cards = [_card(item, given, suggested) for item in items]
    flagged = content.summary.issues
    # Without previews, the table is all that the page shows.
    shown = len(cards) or min(flagged, ISSUE_ROWS)
    help_line = f"The {shown:,} flagged examples that are most likely wrong, of {flagged:,}."
    if shown == flagged:
        help_line = f"All {flagged:,} flagged examples, the most likely wrong first."
    if cards:
        help_line += " Percentages next to a label are probabilities of a model that was not trained on the row."
    kind = "images" if any(card["image"] for card in cards) else "texts"
    return {
        "gallery": cards,
        "gallery_given": [{"name": name, "count": count} for name, count in given.items()],
        "gallery_suggested": [{"name": name, "count": count} for name, count in suggested.items()],
        "gallery_kind": kind,
        "examples_help": help_line,
        "issue_rows": content.issues.slice(0, ISSUE_ROWS).to_pylist(),
        "has_views": len(content.views) > 1,
        "issues_file": next((f"./{f.name}" for f in content.files if f.name == "issues.parquet"), None),
    }


def _within_limit(gallery: Sequence[GalleryItem], limit: int) -> list[GalleryItem]:
    kept, used = [], 0
    for item in gallery:
        used += CARD_BYTES + preview_bytes(item.preview)
        if used > limit:
            break
        kept.append(item)
    return kept


def _label_counts(labels: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(labels).items()))


def _card(item: GalleryItem, given: Mapping[str, int], suggested: Mapping[str, int]) -> Context:
    fields = {name: getattr(item, name) for name in GalleryItem.__dataclass_fields__}
    preview = fields.pop("preview")
    return {
        **fields,
        "given_number": list(given).index(item.given_label),
        "suggested_number": list(suggested).index(item.suggested_label),
        **preview_fields(preview),
        "chips": split_issues(item.input_issues),
    }


def _classes(content: PageContent, items: Sequence[GalleryItem]) -> Context:
    """Return the rows of the class table and of the pair table, the scales of their bars, and the heat map."""
    classes = content.classes.slice(0, CLASS_ROWS)
    confusions = content.confusions.slice(0, PAIR_ROWS)
    in_gallery = {(item.given_label, item.suggested_label) for item in items}
    pairs = [
        {**pair, "has_cards": (pair["given_label"], pair["suggested_label"]) in in_gallery}
        for pair in confusions.to_pylist()
    ]
    scored = content.classes.filter(pc.equal(content.classes["status"], str(Status.SCORED)))
    heat = heat_map(content.confusions, sorted(scored["class_name"].to_pylist()))
    return {
        "classes": classes.to_pylist(),
        "scored_classes": len(scored),
        "noise_scale": _scale(classes, "label_noise", "inverse_label_noise"),
        "pairs": pairs,
        "pair_scale": _scale(confusions, "share_of_given"),
        "heat": heat[0] if heat else None,
        "heat_classes": heat[1] if heat else 0,
    }


def _scale(table: pa.Table, *names: str) -> float:
    """Return the largest value in some columns, or 0 if they are empty."""
    return max(pc.max(table[name]).as_py() or 0.0 for name in names)


def _health(content: PageContent) -> Context:
    """Return statuses, the distribution of p_wrong, and folds."""
    total = content.summary.examples
    shown = [(str(Status.SCORED), content.summary.scored), *_other_statuses(content)]
    folds = content.folds.slice(0, FOLD_ROWS)
    return {
        "statuses": [
            {
                "name": _words(name),
                "what": STATUS_MEANINGS.get(Status(name), "") if name in set(Status) else "",
                "rows": rows,
                "share": rows / total if total else 0.0,
            }
            for name, rows in shown
        ],
        "histogram": histogram_chart(content.histogram),
        "folds": folds.to_pylist(),
        "repeats": len(pc.unique(folds["repeat"])),
        "fold_chart": fold_chart(content.final_folds) if len(folds) else None,
        "views": _views(content.views) if len(content.views) > 1 else [],
    }


def _views(views: pa.Table) -> list[Context]:
    return [{**row, "what": VIEW_MEANINGS[row["view"]], "is_blend": row["view"] == BLEND} for row in views.to_pylist()]


def _other_statuses(content: PageContent) -> list[tuple[str, int]]:
    """Return the statuses of rows without a score, most frequent first."""
    others = [(name, rows) for name, rows in content.summary.statuses.items() if name != Status.SCORED]
    return sorted(others, key=lambda pair: (-pair[1], pair[0]))


def _files(content: PageContent) -> list[Context]:
    return [
        {
            "name": file.name,
            # "./" keeps a name with a colon from being read as a scheme.
            "href": "./" + quote(file.name),
            "rows": file.rows,
            "bytes": file.bytes,
            "sha256": file.sha256,
        }
        for file in content.files[:FILE_ROWS]
    ]


def _words(status: str) -> str:
    return clip(status.replace("_", " "), 60)
