"""Draws the datasets: small images with planted label errors, and photographs as JPEG files.

The same number always gives the same bytes, for any number of processes.
"""

from __future__ import annotations

import io
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

Part = TypeVar("Part")
Made = TypeVar("Made")

CLASSES = ("bear", "boat", "bread", "brick", "broom", "cloud", "clock", "coral", "crane", "crown")
SIDE = 32
ERROR_SHARE = 0.08
PLANTED = "planted.json"
_SHARD = 2_500
_PATTERNS = 4  # variants of each class
_SHORTEST, _LONGEST = 256, 500
_FEWEST_PHOTOS = 50  # that justify another process


def write_images(folder: Path, count: int) -> None:
    """Write `count` images as Parquet shards; `planted.json` in the same folder lists the ids with wrong labels."""
    folder.mkdir(parents=True)
    starts = range(0, count, _SHARD)
    shards = [(start, min(start + _SHARD, count)) for start in starts]
    planted = _side_by_side(partial(_write_shard, folder), shards)
    (folder.parent / PLANTED).write_text(json.dumps(sorted(name for names in planted for name in names)))


def link_images(folder: Path, target: Path, count: int) -> None:
    """Link the files of the first `count` images into the folder of another dataset."""
    target.mkdir()
    for file in sorted(folder.iterdir())[: math.ceil(count / _SHARD)]:
        os.link(file, target / file.name)


def write_photos(folder: Path, count: int) -> None:
    """Write `count` JPEG files of 256 to 500 pixels a side."""
    folder.mkdir(parents=True)
    step = max(_FEWEST_PHOTOS, math.ceil(count / (4 * _cores())))
    portions = [range(start, min(start + step, count)) for start in range(0, count, step)]
    _side_by_side(partial(_write_portion, folder), portions)


def draw_images(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (n, 32, 32, 3) uint8 and classes (n,) int64 of the images `start` to `stop`.

    Each image shows one of its class's patterns, shifted and with another contrast, under a pattern of any other class
    and noise: learnable within an epoch, and never perfectly.
    """
    generator = np.random.default_rng([1, start])
    count = stop - start
    classes = generator.integers(0, len(CLASSES), count)
    patterns = _patterns()
    own = patterns[classes, generator.integers(0, _PATTERNS, count)]
    other = patterns[generator.integers(0, len(CLASSES), count), generator.integers(0, _PATTERNS, count)]
    share = generator.uniform(0, 0.55, (count, 1, 1, 1)).astype(np.float32)
    mixed = _shifted((1 - share) * own + share * other, generator)
    contrast = generator.uniform(30, 60, (count, 1, 1, 1)).astype(np.float32)
    noise = generator.normal(0, 18, mixed.shape).astype(np.float32)
    brightness = generator.uniform(100, 156, (count, 1, 1, 1)).astype(np.float32)
    return (mixed * contrast + noise + brightness).clip(0, 255).astype(np.uint8), classes


def draw_photo(number: int) -> Image.Image:
    """Return a scene with about the detail of a photograph: textured shapes and background, shading, grain."""
    generator = np.random.default_rng([2, number])
    width, height = (int(side) for side in generator.integers(_SHORTEST, _LONGEST + 1, 2))
    regions = _regions(generator, width, height)
    count = int(regions.max()) + 1
    colours = generator.uniform(40, 215, (count, 3)).astype(np.float32)
    tints = generator.uniform(10, 40, (count, 1)) * generator.uniform(0.6, 1.0, (count, 3))
    slope = generator.uniform(-0.35, 0.35, 2)
    light = 1 + slope[0] * np.linspace(-1, 1, width)[None, :] + slope[1] * np.linspace(-1, 1, height)[:, None]
    grain = generator.standard_normal((height, width), np.float32) * 5
    texture = _texture(generator, width, height)
    scene = colours[regions] + tints.astype(np.float32)[regions] * texture[..., None]
    lit = scene * light.astype(np.float32)[..., None] + grain[..., None]
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))


def _write_shard(folder: Path, limits: tuple[int, int]) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    start, stop = limits
    pixels, classes = draw_images(start, stop)
    generator = np.random.default_rng([3, start])
    is_wrong = generator.random(len(classes)) < ERROR_SHARE
    shift = generator.integers(1, len(CLASSES), len(classes))
    given = np.where(is_wrong, (classes + shift) % len(CLASSES), classes)
    names = np.array([f"image-{number:06d}" for number in range(start, stop)])
    columns = {"id": names, "image": [_png(image) for image in pixels], "label": np.array(CLASSES)[given]}
    pq.write_table(pa.table(columns), folder / f"shard-{start:06d}.parquet")
    return [str(name) for name in names[is_wrong]]


def _write_portion(folder: Path, numbers: range) -> None:
    for number in numbers:
        draw_photo(number).save(folder / f"{number:05d}.jpg", "JPEG", quality=88)


def _patterns() -> np.ndarray:
    """(classes, patterns, 32, 32, 3) float32 with values about -1 to 1: smooth colours, a few blobs across."""
    generator = np.random.default_rng(0)
    coarse = generator.normal(size=(len(CLASSES) * _PATTERNS, 5, 5, 3)).astype(np.float32)
    smooth = np.stack([_enlarged(image, SIDE, SIDE) for image in coarse])
    return smooth.reshape(len(CLASSES), _PATTERNS, SIDE, SIDE, 3)


def _enlarged(image: np.ndarray, width: int, height: int) -> np.ndarray:
    channels = [
        np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC))
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def _shifted(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shift each image by up to 4 pixels, with wrap-around."""
    count = len(images)
    down, right = generator.integers(-4, 5, (2, count, 1))
    rows = (np.arange(SIDE) + down) % SIDE
    columns = (np.arange(SIDE) + right) % SIDE
    moved: np.ndarray = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def _texture(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return noise (height, width) float32 at every scale, weaker at finer scales."""
    texture = np.zeros((height, width), np.float32)
    for strength, cells in ((1.0, 3), (0.6, 9), (0.4, 27), (0.3, 81)):
        coarse = generator.standard_normal((cells, cells), np.float32) * strength
        texture += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return texture


def _regions(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return (height, width) uint8: 0 for the background, 1 and more for ellipses and polygons, later ones in front."""
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    for number in range(1, int(generator.integers(5, 11))):
        x, y = generator.uniform(0, width), generator.uniform(0, height)
        across, down = generator.uniform(0.08, 0.35, 2) * (width, height)
        if generator.random() < 0.5:
            pen.ellipse((x - across, y - down, x + across, y + down), fill=number)
        else:
            angles = np.sort(generator.uniform(0, 2 * np.pi, int(generator.integers(3, 8))))
            corners = zip(x + across * np.cos(angles), y + down * np.sin(angles), strict=True)
            pen.polygon([(float(right), float(below)) for right, below in corners], fill=number)
    return np.asarray(canvas)


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def _side_by_side(work: Callable[[Part], Made], parts: Iterable[Part]) -> list[Made]:
    """Call `work` on each part, in one process per core; in this process if there is only one part."""
    listed = list(parts)
    if len(listed) == 1:
        return [work(listed[0])]
    workers = min(len(listed), _cores())
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, listed))


def _cores() -> int:
    return len(os.sched_getaffinity(0))
