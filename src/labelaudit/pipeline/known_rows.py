"""The rows of a version, with everything that is known of them before detection, apart from probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from labelaudit.audits.audit_plan import Plan, output_store
from labelaudit.audits.references import PlanReference
from labelaudit.audits.stored_answers import answers_in
from labelaudit.audits.version import PUBLISHED_COLUMNS, Version, load_version
from labelaudit.data.annotations import AnswerTable
from labelaudit.detection.outliers import FoundOutliers
from labelaudit.duplicates.clusters import Clusters
from labelaudit.pipeline.copies import clusters_of
from labelaudit.pipeline.feature_space import FeatureSpace, search_space
from labelaudit.pipeline.input_measures import load_quality
from labelaudit.quality.input_quality import InputQuality
from labelaudit.reviews.snapshot import ReviewSnapshot, RowVerdicts
from labelaudit.reviews.snapshot_store import load_snapshot
from labelaudit.schemas import slice_column


@dataclass(frozen=True)
class KnownRows:
    """What is known of N rows, M of them scored.

    Attributes:
        rows: with ids, labels, folds and slices.
        snapshot: what people decided about the dataset when the audit was prepared.
        answers: of several annotators; None if there are none.
        clusters: copies among the rows; None if contents are unknown.
        quality: of the inputs; None if contents are unknown.
        space: neighbours in features; None if there are none.
    """

    rows: Version
    snapshot: ReviewSnapshot
    answers: AnswerTable | None = None
    clusters: Clusters | None = None
    quality: InputQuality | None = None
    space: FeatureSpace | None = None

    @cached_property
    def verdicts(self) -> RowVerdicts:
        """The verdicts on the rows, (N,)."""
        examples = self.rows.examples
        return self.snapshot.for_rows(examples.example_id, examples.content_digest, examples.given_label)

    @property
    def is_fine(self) -> npt.NDArray[np.bool_]:
        """(M,) whose label a person confirmed."""
        return self.rows.of_scored(self.verdicts.is_fine)

    @property
    def is_wrong(self) -> npt.NDArray[np.bool_]:
        """(M,) whose label a person judged wrong."""
        return self.rows.of_scored(self.verdicts.is_wrong)

    @cached_property
    def stays(self) -> npt.NDArray[np.bool_]:
        """(N,) rows that count: all but those that a person wants to remove.

        Everything that an audit counts, such as wrong labels, hard inputs or answers of annotators, and everything that
        these are shares of, is counted among these rows.
        """
        return ~self.verdicts.is_removed

    @property
    def scored_stays(self) -> npt.NDArray[np.bool_]:
        """(M,) `stays` of the scored rows."""
        return self.rows.of_scored(self.stays)

    @property
    def is_removed(self) -> npt.NDArray[np.bool_]:
        """(M,) that a person wants to remove."""
        return ~self.scored_stays

    @cached_property
    def outliers(self) -> FoundOutliers | None:
        """The rows unlike all others; None without features."""
        return None if self.space is None else self.space.outliers()


def load_known_rows(reference: PlanReference, plan: Plan) -> KnownRows:
    """Read what earlier steps stored of the rows, and search their features."""
    store = output_store(reference)
    rows = load_version(reference, plan, (*PUBLISHED_COLUMNS, *_columns_of_slices(plan)))
    space = search_space(reference, plan, rows)
    return KnownRows(
        rows,
        load_snapshot(store, plan),
        answers=None if plan.annotations is None else answers_in(store, plan),
        clusters=clusters_of(plan, rows, space),
        quality=load_quality(store, plan),
        space=space,
    )


def _columns_of_slices(plan: Plan) -> list[str]:
    """Return the columns of rows that slices need: their values and, if there is a column of groups, the groups."""
    dataset = plan.config.dataset
    groups = ["group"] if dataset.slices and dataset.group is not None else []
    return [*groups, *map(slice_column, dataset.slices)]
