"""Encodes images and texts with a frozen module. The same spec gives the same features on all machines.

CPUs compute in float32, although some are faster in bfloat16: that moves features of EfficientNet-Lite0 by 7 % of their
length (12 % at most), so features of different machines could not be mixed. GPUs compute in float16 with float32
weights. Features of two CPUs differ by less than 0.1 % of their length, which is the rounding of float16. Those of a
CPU and a GPU differ by about 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from labelaudit.errors import ConfigError, InputError, TrainingError
from labelaudit.model.device import is_out_of_memory, isolated, release_device, resolve_device
from labelaudit.model.encoders.batch_norm_folding import fold_batch_norms
from labelaudit.model.encoders.encoder_modules import (
    build_encoder,
    checked_features,
    example_inputs,
    try_encoder,
)
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.text import listing

# Larger batches are not faster: 32 images of 160 pixels need about 100 MB on a CPU.
_CPU_BATCH, _GPU_BATCH = 8, 256
# The first GPUs that compute float16 faster than float32.
_FLOAT16_CAPABILITY = (7, 0)
# What `reused_encoder` loaded last, with the key of its spec and the device; empty if nothing.
_last: list[tuple[tuple[str, str], Encoder]] = []


class Encoder:
    """A frozen module that turns images or texts into features.

    Attributes:
        spec: What it is.
        device: "cpu" or "cuda:<number>".
        precision: "float32", or "float16" on GPUs that compute it faster.
        batch_size: Inputs per forward pass. It is halved if the memory of a GPU is too small.
    """

    def __init__(self, spec: EncoderSpec, module: nn.Module, device: torch.device) -> None:
        self.spec = spec
        self.device = str(device)
        self.precision = "float16" if _computes_float16_fast(device) else "float32"
        self.batch_size = self._first_batch_size = _GPU_BATCH if device.type == "cuda" else _CPU_BATCH
        self._device = device
        self._module = module

    def reset(self) -> None:
        """Try batches of the first size again: another process may have used the memory of the GPU for a while."""
        self.batch_size = self._first_batch_size

    def encode(self, inputs: np.ndarray | Sequence[str]) -> np.ndarray:
        """Return the features of any number of images or texts.

        Args:
            inputs: Images, (B, S, S, 3) uint8 with S = `spec.input_size`; or B texts.

        Returns:
            (B, d) float16, finite, in the order of the inputs.

        Raises:
            InputError: The images have another shape or dtype, or an input is not a text.
            TrainingError: The features are not finite, or the memory of the GPU is too small for one input.
        """
        rows = self._images(inputs) if self.spec.kind == "image" else _texts(inputs)
        features = np.empty((len(rows), self.spec.dim), np.float16)
        order = _order(rows)
        with isolated(0, self._device), torch.inference_mode():
            start = 0
            while start < len(order):
                chosen = order[start : start + self.batch_size]
                batch = self._encoded_or_smaller(rows, chosen)
                if batch is not None:
                    features[chosen] = batch
                    start += len(chosen)
        return features

    def _images(self, inputs: np.ndarray | Sequence[str]) -> np.ndarray:
        expected = (self.spec.input_size, self.spec.input_size, 3)
        if not isinstance(inputs, np.ndarray) or inputs.dtype != np.uint8 or inputs.shape[1:] != expected:
            found = f"{inputs.dtype} {inputs.shape}" if isinstance(inputs, np.ndarray) else type(inputs).__name__
            raise InputError(
                f"Encoder {self.spec.name!r} got images of {found}, not uint8 of (images, {expected[0]}, "
                f"{expected[1]}, 3). Decode them to this size, in colour."
            )
        return inputs

    def _encoded_or_smaller(self, rows: np.ndarray | list[str], chosen: np.ndarray) -> np.ndarray | None:
        """Return the features of some rows, or None if the GPU needs a smaller batch, which is then set."""
        try:
            return self._encoded(rows, chosen)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(chosen) == 1:
                raise TrainingError(
                    f"The memory of the GPU is too small for one input of encoder {self.spec.name!r}. Choose a smaller "
                    "encoder or model.encoder_kwargs.input_size, or encode on the CPU."
                ) from error
        self.batch_size = len(chosen) // 2
        release_device()
        return None

    def _encoded(self, rows: np.ndarray | list[str], chosen: np.ndarray) -> np.ndarray:
        batch = self._batch(rows, chosen)
        features = self._forward(batch, self.precision)
        if self.precision == "float16" and not np.isfinite(features).all():
            features = self._forward(batch, "float32")  # a value inside the network was above 65,504
        if not np.isfinite(features).all():
            bad = chosen[~np.isfinite(features).all(axis=1)]
            raise TrainingError(
                f"Encoder {self.spec.name!r} returned features that are not finite, or above 65,504, for {len(bad)} of "
                f"{len(chosen)} inputs (positions {listing(bad)}). Check its weights, or choose another encoder."
            )
        return features

    def _batch(self, rows: np.ndarray | list[str], chosen: np.ndarray) -> torch.Tensor | list[str]:
        if isinstance(rows, list):
            return [rows[index] for index in chosen]
        # torch warns about arrays that cannot be written, such as memory maps. This copies only those.
        pixels = np.require(rows[chosen[0] : chosen[-1] + 1], requirements=["C", "W"])
        # Pixels with their channels next to each other are what torch calls channels-last.
        images = torch.from_numpy(pixels).to(self._device)
        return images.permute(0, 3, 1, 2)

    def _forward(self, batch: torch.Tensor | list[str], precision: str) -> np.ndarray:
        with torch.autocast(self._device.type, torch.float16, enabled=precision == "float16"):
            features = self._module(batch)
        checked = checked_features(features, self.spec.name, len(batch))
        # The cast is silent, and the caller checks its result.
        result: np.ndarray = checked.float().to(torch.float16).cpu().numpy()
        return result


def load_encoder(spec: EncoderSpec, *, weights: Path | None = None, device: str = "auto") -> Encoder:
    """Return the encoder that a spec describes, ready to encode.

    Args:
        spec: What `choose_encoder` returned, maybe on another machine.
        weights: Local copy of `spec.weights`; None if that is a path on this machine, or None.
        device: "auto" (CUDA if available), "cpu", "cuda" or "cuda:<number>".

    Raises:
        ConfigError: The weights on this machine are others than in the spec, or they cannot be read.
        StorageError: Weights that the spec names cannot be downloaded.
        TrainingError: The GPU does not exist.
    """
    chosen_device = resolve_device(device)
    local = Path(spec.weights).expanduser() if weights is None and spec.weights is not None else weights
    built = build_encoder(spec.name, spec.kind, spec.kwargs, local, spec.input_size or None)
    if built.weights_sha256 != spec.weights_sha256:
        raise ConfigError(
            f"The weights or the code of encoder {spec.name!r} on this machine differ from those that the audit was "
            f"prepared with (sha256 {built.weights_sha256[:12]} instead of {spec.weights_sha256[:12]}). Install the "
            "same packages and weights on all machines, or start the audit again."
        )
    with isolated(0, torch.device("cpu")):
        module = _checked(built.module, spec)
    module = module.to(chosen_device)
    return Encoder(spec, module, chosen_device)


def reused_encoder(spec: EncoderSpec, *, weights: Path | None = None, device: str = "auto") -> Encoder:
    """Return the encoder of the last call if it has the same spec; otherwise load it. Arguments as for `load_encoder`.

    A GPU encodes a shard in less than a second, and loading the encoder for each one would add about half.
    """
    key = spec.key, device
    if _last and _last[0][0] == key:
        encoder = _last[0][1]
        encoder.reset()
        return encoder
    forget_encoder()  # first, so that memory holds one encoder only
    encoder = load_encoder(spec, weights=weights, device=device)
    _last.append((key, encoder))
    return encoder


def forget_encoder() -> None:
    """Free the memory of the encoder that `reused_encoder` keeps."""
    _last.clear()


def _checked(module: nn.Module, spec: EncoderSpec) -> nn.Module:
    """Return a module with the right number of features in the form that computes fastest."""
    inputs = example_inputs(spec.kind, spec.input_size)
    dim = try_encoder(module, spec.name, inputs).shape[1]
    if dim != spec.dim:
        raise ConfigError(
            f"Encoder {spec.name!r} returns {dim} features on this machine, but the audit was prepared with "
            f"{spec.dim}. Install the same packages on all machines, or start the audit again."
        )
    if not isinstance(inputs, torch.Tensor):
        return module
    with torch.no_grad():  # in inference mode, the new weights could not be used everywhere
        folded = fold_batch_norms(module, inputs)
    return folded.to(memory_format=torch.channels_last)


def _computes_float16_fast(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FLOAT16_CAPABILITY


def _texts(inputs: np.ndarray | Sequence[str]) -> list[str]:
    texts = list(inputs)
    if isinstance(inputs, str) or not all(isinstance(text, str) for text in texts):
        wrong = (
            "one text" if isinstance(inputs, str) else next(type(t).__name__ for t in texts if not isinstance(t, str))
        )
        raise InputError(f"A text encoder got {wrong}. Pass a list of texts.")
    return texts


def _order(rows: np.ndarray | list[str]) -> np.ndarray:
    """Return the positions of the inputs in the order of encoding: texts of a similar length need less padding."""
    if isinstance(rows, list):
        return np.argsort([-len(text) for text in rows], kind="stable")
    return np.arange(len(rows))
