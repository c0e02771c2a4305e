"""Trees of tensors and plain values as bytes, and back, to the last bit. Nothing is pickled.

Packed is one line each of the format, the sha256 of the rest, and the tree as JSON; then the tensors as safetensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch

from labelaudit.errors import ConfigError, StorageError

_FORMAT = b"labelaudit tree 1"
_CPU = torch.device("cpu")


def pack(tree: Any) -> bytes:
    """Bytes of dicts, lists and tuples of tensors (of any device) and plain values.

    Raises `ConfigError` for a value of another type.
    """
    tensors: list[torch.Tensor] = []
    outline = _outline(tree, tensors)
    layouts = [[t.device.type == "cpu", t.stride() if _is_dense(t) else None] for t in tensors]
    text = json.dumps([outline, layouts]).encode()
    # Clones: safetensors refuses tensors that share memory.
    stored = {str(n): t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in enumerate(tensors)}
    values = safetensors.torch.save(stored)
    digest = hashlib.sha256(text + b"\n")
    digest.update(values)
    return b"\n".join([_FORMAT, digest.hexdigest().encode(), text, values])


def unpack(data: bytes, device: torch.device = _CPU) -> Any:
    """The tree that was packed, its tensors laid out in memory as they were; those of a GPU are now on `device`.

    Raises `StorageError` where the bytes are cut off, changed, or something else.
    """
    head = len(_FORMAT) + 1 + 64 + 1
    body = memoryview(data)[head:]
    if data[:head] != b"\n".join([_FORMAT, hashlib.sha256(body).hexdigest().encode(), b""]):
        raise StorageError(
            f"These {len(data)} bytes are not what was written, or of another version: their checksum differs."
        )
    text, _, rest = data[head:].partition(b"\n")
    outline, layouts = json.loads(text)
    stored = safetensors.torch.load(rest)
    tensors = [
        _laid_out(stored[str(number)], stride, _CPU if is_on_cpu else device)
        for number, (is_on_cpu, stride) in enumerate(layouts)
    ]
    return _filled(outline, tensors)


def tree_digest(tree: Any) -> str:
    """sha256 hex of a tree, the same for equal values whatever their layout; tensors of the CPU are not copied."""
    tensors: list[torch.Tensor] = []
    digest = hashlib.sha256(json.dumps(_outline(tree, tensors)).encode())
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
        # Contiguous tensors of one value or none may have any stride, which `view` does not take.
        plain = values.as_strided((values.numel(),), (1,))
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _outline(value: Any, tensors: list[torch.Tensor]) -> Any:
    """A tree as JSON, in which numbers stand for the tensors that are appended to `tensors`."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_outline(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_outline(item, tensors) for item in value]}
    if isinstance(value, Mapping):
        # Pairs: keys may be numbers.
        return {"pairs": [[_outline(key, tensors), _outline(item, tensors)] for key, item in value.items()]}
    raise ConfigError(
        f"a {type(value).__name__} cannot be kept in a checkpoint, which holds tensors and plain values: "
        "train without a checkpoint."
    )


def _filled(outline: Any, tensors: list[torch.Tensor]) -> Any:
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
    # Copies: kernels may round otherwise for another layout, or for memory that does not begin where torch's own does.
    stride = list(stored.stride()) if stride is None else stride
    return torch.empty_strided(stored.shape, stride, dtype=stored.dtype, device=device).copy_(stored)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether every place in the tensor's memory is one of its values: not so for views and expanded tensors."""
    sizes = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    expected = 1
    for stride, size in sizes:
        if stride != expected:
            return False
        expected *= size
    return True
