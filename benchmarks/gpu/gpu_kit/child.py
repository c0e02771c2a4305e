"""The process of one point: `python -m gpu_kit.child POINT --work FOLDER --record FILE [--rehearse]`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from gpu_kit.jobs import Job
from gpu_kit.results import Record

DRAWING = "drawing"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("point")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--rehearse", action="store_true")
    asked = parser.parse_args()
    job = Job(asked.work, asked.rehearse, Record(asked.record))
    if asked.point == DRAWING:
        draw(job)
    else:
        importlib.import_module(f"gpu_kit.points.{asked.point}").measure(job)


def draw(job: Job) -> None:
    """Write the datasets that the points read."""
    from gpu_kit.datasets import link_images, write_images, write_photos

    write_images(job.images, job.sizes.images)
    link_images(job.images, job.fewer_images, job.sizes.fewer_images)
    write_photos(job.photos, job.sizes.photos)


if __name__ == "__main__":
    main()
