"""The input of a point: sizes, a device, folders, and the record for its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpu_kit.results import Record

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Sizes:
    """Sizes of datasets and trainings."""

    images: int
    fewer_images: int  # for points that prepare or encode them several times; a multiple of a shard, or all
    folds: int
    epochs: int | str  # "auto": the default of the product
    shared_folds: int  # number of folds that share the GPU
    shared_epochs: int
    photos: int
    table_rows: int
    estimator_images: int
    estimator_epochs: int
    rounds: int
    forward_batch: int
    photo_side: int
    encoder: str
    repeated_images: int
    encoded_side: int  # pixels per side that the packaged encoder sees
    views: tuple[str, ...]


FULL = Sizes(
    images=50_000,
    fewer_images=20_000,
    folds=5,
    epochs="auto",
    shared_folds=4,
    shared_epochs=2,
    photos=4_000,
    table_rows=200_000,
    estimator_images=20_000,
    estimator_epochs=6,
    rounds=3,
    forward_batch=256,
    photo_side=224,
    encoder="resnet50",
    repeated_images=4_000,
    encoded_side=160,
    views=("network", "probe", "neighbours"),
)
# The smallest sizes that show on a CPU that the code works.
REHEARSAL = Sizes(
    images=300,
    fewer_images=300,
    folds=2,
    epochs=1,
    shared_folds=2,
    shared_epochs=1,
    photos=24,
    table_rows=2_000,
    estimator_images=200,
    estimator_epochs=1,
    rounds=1,
    forward_batch=8,
    photo_side=64,
    encoder="resnet18",
    repeated_images=96,
    encoded_side=32,
    # The network is trained by another point.
    views=("probe", "neighbours"),
)


@dataclass(frozen=True)
class Job:
    """The work of one point. `work` is a scratch folder shared by all points; the datasets are in it."""

    work: Path
    is_rehearsal: bool
    record: Record

    @property
    def sizes(self) -> Sizes:
        return REHEARSAL if self.is_rehearsal else FULL

    @property
    def device(self) -> str:
        return "cpu" if self.is_rehearsal else "cuda"

    @property
    def images(self) -> Path:
        """Folder of Parquet shards: `id`, `image` (PNG), `label`."""
        return self.work / "images"

    @property
    def fewer_images(self) -> Path:
        """The first files of `images`."""
        return self.work / "fewer-images"

    @property
    def photos(self) -> Path:
        """Folder of JPEG files."""
        return self.work / "photos"

    def judged(self, is_met: bool) -> bool | None:
        """A rehearsal proves that the code runs, and says nothing about speed."""
        return None if self.is_rehearsal else is_met
