"""An encoder of four numbers that needs no network, and audits that use it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from labelaudit.audits.audit_plan import Plan, load_plan, output_store
from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.config import AuditConfig
from labelaudit.model.encoders.encoder_spec import EncoderSpec
from labelaudit.pipeline import encode_rows
from labelaudit.pipeline.encode import encode_shard, plan_encoding
from labelaudit.pipeline.plan import prepare
from labelaudit.storage.manifest import sha256_hex

DIM = 4


def tiny_spec(kind: str = "image", **changes: object) -> EncoderSpec:
    spec = EncoderSpec("tiny:build", kind, None, {}, "0" * 64, 6 if kind == "image" else 0, DIM, "none")
    return replace(spec, **changes)  # type: ignore[arg-type]


def image_features(pixels: np.ndarray) -> np.ndarray:
    """Return the mean of each channel and of all: (b, 4) float16."""
    means = pixels.reshape(len(pixels), -1, 3).mean(axis=1)
    return np.concatenate([means, means.mean(axis=1, keepdims=True)], axis=1).astype(np.float16)


def text_features(texts: list[str]) -> np.ndarray:
    """Return four bytes of a digest of each text: (b, 4) float16."""
    digests = [hashlib.sha256(text.encode()).digest()[:DIM] for text in texts]
    return np.array([list(digest) for digest in digests], np.float16).reshape(len(texts), DIM)


@dataclass
class TinyEncoder:
    """Encodes and records the sizes of its batches."""

    batch_size: int = 8
    batches: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def encoded(self) -> int:
        return sum(self.batches)

    def encode(self, inputs: np.ndarray | list[str]) -> np.ndarray:
        self.batches.append(len(inputs))
        if isinstance(inputs, list):
            self.texts += inputs
            return text_features(inputs)
        return image_features(inputs)

    @contextmanager
    def installed(self) -> Iterator[TinyEncoder]:
        """Make this the encoder that every spec loads."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encode_rows, "reused_encoder", lambda *_, **__: self)
            yield self


def prepared(config: AuditConfig, spec: EncoderSpec | None = None) -> tuple[PlanReference, Plan]:
    """Prepare an audit whose plan has an encoder."""
    reference = prepare(config)
    plan = load_plan(reference)
    plan = replace(plan, encoder=spec or tiny_spec(plan.kind))
    key = f"{plan.work_folder}/with-encoder.json"
    output_store(reference).write(key, plan.to_json())
    return replace(reference, key=key, sha256=sha256_hex(plan.to_json())), plan


def encode_all(reference: PlanReference) -> EncodingReference:
    encoding = plan_encoding(reference)
    assert encoding is not None
    for shard in range(encoding.shards):
        encode_shard(reference, encoding, shard)
    return encoding
