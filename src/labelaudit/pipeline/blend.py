"""Blend the checked probabilities of several views, fold by fold, into files of the audit's work folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labelaudit.audits.audit_plan import Plan
from labelaudit.audits.fold_files import write_probabilities
from labelaudit.audits.probabilities import FoldFileRecord, FoldRecord
from labelaudit.detection.blending import BlendMeasures, FoldViews, MixedFold, Mixture, fit_mixtures
from labelaudit.detection.joined_folds import JoinedFolds
from labelaudit.report.audit_tables import FoldRow, ViewRow
from labelaudit.schemas import BLEND, ViewName
from labelaudit.storage.store import Store
from labelaudit.storage.temporary_files import TemporaryFiles
from labelaudit.strings import Strings


@dataclass(frozen=True)
class GatheredView:
    """The checked folds of one view, in the order of fold numbers."""

    name: ViewName
    records: tuple[FoldRecord, ...]
    fold_rows: tuple[FoldRow, ...]
    notes: tuple[str, ...]
    probabilities: JoinedFolds


@dataclass(frozen=True)
class Blend:
    """The blend of several views.

    Attributes:
        files: the blended probabilities of each fold.
        folds: a row for each fold of the blend.
        views: a row for each view, and for the blend.
        views_agree: (M,) float32, how many views predict the same other label than the given one.
        notes: sentences for people.
    """

    files: tuple[FoldFileRecord, ...]
    folds: tuple[FoldRow, ...]
    views: tuple[ViewRow, ...]
    views_agree: np.ndarray
    notes: tuple[str, ...]


def blend_views(
    store: Store,
    plan: Plan,
    views: Sequence[GatheredView],
    example_ids: Strings,
    labels: np.ndarray,
    files: TemporaryFiles,
) -> Blend:
    """Blend views by evidence, and store the blended probabilities.

    Args:
        views: two or more.
        example_ids: those of the M scored rows.
        labels: (M,) class numbers of their given labels.
        files: the temporary files of this step.
    """
    folds = [
        FoldViews(
            record.fold,
            record.repeat,
            views[0].probabilities.folds[index].positions,
            tuple(view.probabilities.folds[index].probabilities for view in views),
        )
        for index, record in enumerate(views[0].records)
    ]
    mixtures = fit_mixtures(folds, labels)
    measures = BlendMeasures(labels, len(folds), len(views))
    stored = []
    for fold in folds:
        mixed = MixedFold(fold, mixtures[fold.fold], measures)
        file = write_probabilities(example_ids[fold.positions], mixed, plan.class_names, files)
        # The name contains the digest: another machine may blend with another last digit at the same time.
        key = f"{plan.work_folder}/blend/fold={fold.fold}-{file.sha256[:16]}.parquet"
        store.write_file(key, file)
        stored.append(FoldFileRecord(fold.fold, fold.repeat, key, file.sha256))
    rows = [len(fold.positions) for fold in folds]
    return Blend(
        files=tuple(stored),
        folds=tuple(_blended_fold(record, rows[index], measures, index) for index, record in enumerate(stored)),
        views=_view_rows([view.name for view in views], [mixtures[fold.fold] for fold in folds], measures, sum(rows)),
        views_agree=measures.views_agree / np.float32(plan.repeats),
        notes=note_of_unused_views([view.name for view in views], [mixtures[fold.fold].weights for fold in folds]),
    )


def _blended_fold(record: FoldFileRecord, rows: int, measures: BlendMeasures, index: int) -> FoldRow:
    return FoldRow(
        fold=record.fold,
        repeat=record.repeat,
        training_examples=None,
        held_out_examples=rows,
        agreement=float(measures.agreeing[index, -1] / rows),
        mean_p_given=float(measures.p_given[index, -1] / rows),
        sha256=record.sha256,
        view=BLEND,
    )


def _view_rows(
    names: Sequence[str], mixtures: Sequence[Mixture], measures: BlendMeasures, rows: int
) -> tuple[ViewRow, ...]:
    weights = [*np.mean([mixture.weights for mixture in mixtures], axis=0), 1.0]
    temperatures = [*np.mean([1 / np.array(mixture.view_sharpness) for mixture in mixtures], axis=0), 1.0]
    agreeing = measures.agreeing.sum(axis=0)
    return tuple(
        ViewRow(
            view=name,
            weight=float(weights[index]),
            temperature=float(temperatures[index]),
            agreement=float(agreeing[index] / rows),
            log_loss=float(measures.losses[index] / rows),
            other_label=int(rows - agreeing[index]),
            confirmed=int(measures.confirmed[index]) if name != BLEND else 0,
        )
        for index, name in enumerate([*names, BLEND])
    )


def note_of_unused_views(names: Sequence[str], weights: Sequence[Sequence[float]]) -> tuple[str, ...]:
    """Return a note that names the views that no fold uses; nothing if all are used.

    Args:
        names: of the views.
        weights: of each view, for each fold.
    """
    used = np.max(weights, axis=0)
    unused = [name for name, weight in zip(names, used, strict=True) if weight == 0]
    if not unused:
        return ()
    subject, verb, them = ("view", "is", "it") if len(unused) == 1 else ("views", "are", "them")
    return (f"The {subject} {' and '.join(unused)} {verb} not used, because predictions are as good without {them}.",)
