"""Tries LightlyStudio on prepared photographs.

python benchmarks/peers/try_lightly_studio.py <folder of prepare.py>
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import lightly_studio as ls
import numpy as np
from lightly_studio.core.annotation.annotation_create import CreateClassification
from lightly_studio.database import db_manager
from lightly_studio.resolvers import (
    annotation_resolver,
    evaluation_run_resolver,
    evaluation_sample_metric_resolver,
)
from lightly_studio_serve.embedder import ImagePathEmbedder
from measures import Prepared, read_prepared, say, say_labels, timed
from numpy.typing import NDArray

# For features of length 1: cosine distances of 0.03, 0.05 and 0.1.
_DISTANCES = (0.25, 0.32, 0.45)


class StoredFeatures(ImagePathEmbedder):
    """Returns the prepared features instead of downloading a model."""

    def __init__(self, data: Prepared) -> None:
        self._features = dict(
            zip((Path(path).absolute().as_posix() for path in data.images), data.features, strict=True)
        )
        self._dimension = data.features.shape[1]

    def embedding_space_spec(self) -> ls.EmbeddingSpaceSpec:
        """Describe the features."""
        return ls.EmbeddingSpaceSpec(space_key="peers/efficientnet-lite0", dimension=self._dimension)

    def embed_images(self, paths: list[str]) -> ls.EmbeddingResult:
        """Return the features of files."""
        rows: NDArray[np.float32] = np.stack([self._features[path] for path in paths])
        return ls.EmbeddingResult(embeddings=rows, kept_indices=list(range(len(paths))))


def main() -> None:
    """Try one capability after the other."""
    data = read_prepared()
    with tempfile.TemporaryDirectory() as folder:
        db_manager.connect(db_file=f"{folder}/studio.db", cleanup_existing=True)
        ls.register_default_embedder(embedder=StoredFeatures(data))
        dataset = ls.ImageDataset.create(name="peers")
        with timed("load"):
            dataset.add_images_from_path(path=str(Path(data.images[0]).parent))
        row_of = {sample.sample_id: int(Path(sample.file_path_abs).stem) for sample in dataset}
        say(f"{len(row_of)} rows")
        label_errors(dataset, data, row_of)
        copies(dataset, data, row_of)
        with timed("typicality"):
            dataset.compute_typicality_metadata()
            say(str([float(sample.metadata["typicality"]) for sample in dataset[:3]]))
        with timed("verdict as tag"):
            dataset[:3].add_tag("wrong")
            say(str(sum("wrong" in sample.tags for sample in dataset)))
        with timed("diverse selection"):
            dataset.query().sampling().diverse(n_samples_to_select=50, sampling_result_tag_name="diverse")
        with timed("export as CSV"):
            dataset.export().to_csv_classifications(f"{folder}/labels.csv")
            say(Path(f"{folder}/labels.csv").read_text()[:200].replace(folder, "."))
        with timed("the same images again keep their tags"):
            dataset.add_images_from_path(path=str(Path(data.images[0]).parent))
            say(f"{len(list(dataset))} rows, {sum('wrong' in sample.tags for sample in dataset)} with the tag")
        gui()


def label_errors(dataset: ls.ImageDataset, data: Prepared, row_of: dict[object, int]) -> None:
    """Compare labels with predictions: LightlyStudio calls this an evaluation of the model."""
    with timed("evaluation"):
        for source in ("given", "predicted"):
            rows = []
            for sample_id, row in row_of.items():
                label, confidence = data.labels[row], None
                if source == "predicted":
                    label, confidence = data.pred_probs[row].argmax(), float(data.pred_probs[row].max())
                create = CreateClassification(class_name=data.classes[label], confidence=confidence)
                rows.append(
                    create.to_annotation_create(
                        session=dataset.session, dataset_id=dataset.dataset_id, parent_sample_id=sample_id
                    )
                )
            annotation_resolver.create_many(
                session=dataset.session,
                parent_collection_id=dataset.collection_id,
                annotations=rows,
                collection_name=source,
            )
        dataset.evaluate().classification(name="run", gt_annotation_source="given", pred_annotation_source="predicted")
        run = evaluation_run_resolver.get_all_by_dataset_id(session=dataset.session, dataset_id=dataset.dataset_id)[0]
        doubt = np.zeros(len(row_of))
        for metric in evaluation_sample_metric_resolver.get_all_by_evaluation_run_id(
            session=dataset.session, evaluation_run_id=run.id
        ):
            doubt[row_of[metric.sample_id]] = metric.value
        say_labels("disagreement above 0.5 (own cut)", data, doubt, doubt > 0.5)


def copies(dataset: ls.ImageDataset, data: Prepared, row_of: dict[object, int]) -> None:
    """Select rows without near-copies: LightlyStudio removes them, and does not return the pairs."""
    for distance in _DISTANCES:
        with timed(f"deduplicate, distance {distance}"):
            tag = f"kept-{distance}"
            dataset.query().sampling().deduplicate(
                n_samples_to_select=len(row_of) - 1,  # with the number of all rows it keeps all rows
                sampling_result_tag_name=tag,
                stopping_condition_minimum_distance=distance,
            )
            kept = {row_of[sample.sample_id] for sample in dataset if tag in sample.tags}
            planted = sum(a not in kept or b not in kept for a, b in data.copies)
            say(f"{len(row_of) - len(kept)} rows left out; {planted} of {len(data.copies)} planted pairs broken up")


def gui() -> None:
    """Say what the GUI's server answers."""
    with timed("GUI"):
        from fastapi.testclient import TestClient
        from lightly_studio.api.app import app

        with TestClient(app) as client:
            say(f"page {client.get('/').status_code}, {len(client.get('/openapi.json').json()['paths'])} routes")


if __name__ == "__main__":
    main()
