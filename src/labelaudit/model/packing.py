"""Trees of tensors and plain values as bytes, and back, bit by bit. Nothing is pickled.

Packed data consists of one line each for the format, the sha256 of the rest, and the tree as JSON. The tensors follow
as safetensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch

from labelaudit.codec import Json
from labelaudit.errors import ConfigError, StorageError

_FORMAT = b"labelaudit tree 1"
_CPU = torch.device("cpu")


def pack(tree: object) -> bytes:
    """Return dicts, lists and tuples of tensors (on any device) and plain values as bytes.

    Raises:
        ConfigError: A value has another type.
    """
    tensors: list[torch.Tensor] = []
    outline = _outline(tree, tensors)
    layouts = [[t.device.type == "cpu", t.stride() if _is_dense(t) else None] for t in tensors]
    text = json.dumps([outline, layouts]).encode()
    # Cloned because safetensors rejects tensors that share memory.
    stored = {str(n): t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in enumerate(tensors)}
    values = safetensors.torch.save(stored)
    digest = hashlib.sha256(text + b"\n")
    digest.update(values)
    return b"\n".join([_FORMAT, digest.hexdigest().encode(), text, values])


def unpack(data: bytes, device: torch.device = _CPU) -> object:
    """Return the tree that was packed, with tensors in their original memory layout.

    Args:
        device: The device for tensors that were on a GPU.

    Raises:
        StorageError: The bytes are incomplete, changed or something else.
    """
    head = len(_FORMAT) + 1 + 64 + 1
    body = memoryview(data)[head:]
    if data[:head] != b"\n".join([_FORMAT, hashlib.sha256(body).hexdigest().encode(), b""]):
        raise StorageError(
            f"The checksum of these {len(data)} bytes differs. They are damaged, or another version wrote them."
        )
    text, _, rest = data[head:].partition(b"\n")
    outline, layouts = json.loads(text)
    stored = safetensors.torch.load(rest)
    tensors = [
        _laid_out(stored[str(number)], stride, _CPU if is_on_cpu else device)
        for number, (is_on_cpu, stride) in enumerate(layouts)
    ]
    return _filled(outline, tensors)


def tree_digest(tree: object) -> str:
    """Return the sha256 (hex) of a tree, equal for equal values in any layout. CPU tensors are not copied."""
    tensors: list[torch.Tensor] = []
    digest = hashlib.sha256(json.dumps(_outline(tree, tensors)).encode())
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
        # Contiguous tensors with at most one value may have any stride, which `view` does not accept.
        plain = values.as_strided((values.numel(),), (1,))
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _outline(value: object, tensors: list[torch.Tensor]) -> Json:
    """Convert a tree to JSON. Numbers stand for the tensors, which are appended to `tensors`."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if isinstance(value, np.generic):
        plain: Json = value.item()
        return plain
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_outline(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_outline(item, tensors) for item in value]}
    if isinstance(value, Mapping):
        # Pairs, because keys may be numbers.
        return {"pairs": [[_outline(key, tensors), _outline(item, tensors)] for key, item in value.items()]}
    raise ConfigError(
        f"A {type(value).__name__} cannot be part of a checkpoint, which contains only tensors and plain values. "
        "Train without a checkpoint."
    )


def _filled(outline: Any, tensors: list[torch.Tensor]) -> object:
    if isinstance(outline, list):
        return [_filled(item, tensors) for item in outline]
    if not isinstance(outline, dict):
        return outline
    if "tuple" in outline:
        return tuple(_filled(item, tensors) for item in outline["tuple"])
    if "pairs" in outline:
        return {_filled(key, tensors): _filled(item, tensors) for key, item in outline["pairs"]}
    return tensors[outline["tensor"]]


def _laid_out(stored: torch.Tensor, stride: list[int] | None, device: torch.device) -> torch.Tensor:
    # Copied because kernels may round differently for another layout or memory alignment.
    stride = list(stored.stride()) if stride is None else stride
    return torch.empty_strided(stored.shape, stride, dtype=stored.dtype, device=device).copy_(stored)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor uses each element of its memory exactly once, unlike many views and expanded tensors."""
    sizes = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    expected = 1
    for stride, size in sizes:
        if stride != expected:
            return False
        expected *= size
    return True
