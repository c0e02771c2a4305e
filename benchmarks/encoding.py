"""Images per second from JPEG files to features: labelaudit's encoder against a plain loop, in the same run.

    python benchmarks/encoding.py                    300 photographs and 600 small images, 3 rounds
    python benchmarks/encoding.py --images 1000 --rounds 5 --device cuda

The plain loop is what most people write: a torch DataLoader whose items are decoded and resized with Pillow, and the
network as its package returns it, in float32. It runs in one process and with two worker processes. labelaudit decodes
in threads while the main thread encodes. All use the packaged EfficientNet-Lite0 and the same number of threads.
Contenders take turns in each round, because other programs may use the machine; the ratios are medians over the rounds.
CPU time does not depend on other programs.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from labelaudit.data.images import decode_images
from labelaudit.model.encoders.choose import choose_encoder
from labelaudit.model.encoders.load import Encoder, load_encoder
from labelaudit.model.encoders.packaged_encoders import PACKAGED

BATCH = 32
# Batches that may wait for the encoder.
AHEAD = 4
PLAIN, WORKERS = "DataLoader, 1 process", "DataLoader, 2 workers"
OURS = "labelaudit"
ALONE = ("decode alone", "forward alone")


def jpegs(count: int, sizes: tuple[int, int], seed: int = 0) -> list[bytes]:
    """Return smooth random pictures with some noise, whose sides are in the range `sizes`."""
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        height, width = rng.integers(sizes[0], sizes[1] + 1, 2)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((int(width), int(height)))
        noise = rng.normal(0, 8, (height, width, 1))
        pixels = np.clip(np.asarray(coarse, np.float32) + noise, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


class Photographs(Dataset[torch.Tensor]):
    """JPEG files as standardised tensors, decoded one at a time."""

    def __init__(self, files: list[bytes], size: int) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(io.BytesIO(self.files[index])).convert("RGB").resize((self.size, self.size))
        return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() - 127) / 128


def plain_network() -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(PACKAGED["efficientnet-lite0"].weights_file(), weights_only=True))
    return network.eval()


def plain_loop(network: nn.Module, files: list[bytes], size: int, workers: int, device: torch.device) -> np.ndarray:
    loader = DataLoader(Photographs(files, size), batch_size=BATCH, num_workers=workers)
    features = []
    with torch.no_grad():
        for batch in loader:
            maps = network.extract_features(batch.to(device))
            features.append(maps.mean((2, 3)).cpu().numpy())
    return np.concatenate(features)


def decoded(files: list[bytes], size: int, threads: int) -> Iterator[np.ndarray]:
    """Yield batches of pixels, decoded by threads up to `AHEAD` batches before they are needed."""

    def decode(batch: list[bytes]) -> np.ndarray:
        return decode_images(batch, len(batch), (size, size), 3)[0]

    waiting: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), BATCH):
            waiting.append(pool.submit(decode, files[start : start + BATCH]))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def our_loop(encoder: Encoder, files: list[bytes], threads: int) -> np.ndarray:
    size = encoder.spec.input_size
    return np.concatenate([encoder.encode(pixels) for pixels in decoded(files, size, threads)])


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall seconds and the CPU seconds of a call."""
    start, cpu = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - start, cpu_seconds() - cpu


def measure(title: str, files: list[bytes], side: int, rounds: int, device: torch.device) -> None:
    spec = choose_encoder("efficientnet-lite0", kind="image", image_size=(side, side), kwargs={}, weights=None)
    assert spec is not None
    encoder, network = load_encoder(spec, device=str(device)), plain_network().to(device)
    size, threads = spec.input_size, os.cpu_count() or 1
    pixels = decode_images(files, len(files), (size, size), 3)[0]
    contenders: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain_loop(network, files, size, 0, device),
        WORKERS: lambda: plain_loop(network, files, size, 2, device),
        OURS: lambda: our_loop(encoder, files, threads),
        ALONE[0]: lambda: deque(decoded(files, size, threads), maxlen=0),
        ALONE[1]: lambda: encoder.encode(pixels),
    }
    encoder.encode(pixels[:BATCH])
    plain_loop(network, files[:BATCH], size, 0, device)
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            seconds, busy = timed(work)
            wall[name].append(seconds)
            cpu[name].append(busy)
    say(f"\n{title}: {len(files)} images at {size}x{size}, {encoder.precision}")
    say(f"{'':24}{'images/s':>10}{'CPU ms per image':>18}{'speed against 1 process':>25}{'2 workers':>11}")
    for name, taken in wall.items():
        milliseconds = 1000 * statistics.median(cpu[name]) / len(files)
        ratios = (f"{statistics.median(np.divide(wall[plain], taken)):.2f}" for plain in (PLAIN, WORKERS))
        against_one, against_two = ratios
        rate = len(files) / statistics.median(taken)
        say(f"{name:24}{rate:10.1f}{milliseconds:18.1f}{against_one:>25}{against_two:>11}")
    bottleneck = max(ALONE, key=lambda name: statistics.median(wall[name]))
    say(f"The bottleneck is {bottleneck.removesuffix(' alone')}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    say(f"Python {sys.version.split()[0]}, torch {torch.__version__}, {os.cpu_count()} CPUs, load {load:.1f}")
    device = torch.device(options.device)
    measure("Photographs of 256 to 500 pixels", jpegs(options.images, (256, 500)), 500, options.rounds, device)
    measure("Small images of 32 pixels", jpegs(2 * options.images, (32, 32)), 32, options.rounds, device)


if __name__ == "__main__":
    main()
