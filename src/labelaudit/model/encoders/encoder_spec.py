"""What identifies an encoder: the same spec and the same content give the same features. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from labelaudit.codec import JsonObject


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder without any `auto`, as records of audits contain it.

    Attributes:
        name: What a config names: "efficientnet-lite0", "torchvision:resnet50", "my_package.encoders:build", ...
        kind: The kind of data it encodes: "image" or "text".
        weights: Local path or URL of its weights; None for those that its package or library has.
        kwargs: Arguments of the module, JSON-able.
        weights_sha256: Digest of the weights, 64 hex digits.
        input_size: Side of the square images that it gets, in pixels; 0 for texts.
        dim: Number of features d.
        preprocessing: Everything between the content of a row and the module, in words; part of the key.
    """

    name: str
    kind: str
    weights: str | None
    kwargs: JsonObject
    weights_sha256: str
    input_size: int
    dim: int
    preprocessing: str

    @property
    def sentence(self) -> str:
        """What people need to know to get the same features."""
        size = f", images of {self.input_size}x{self.input_size} pixels" if self.input_size else ""
        weights = f", weights {self.weights_sha256[:16]}"
        return f"{self.name}: {self.dim:,} features{size}{weights}; {self.preprocessing}"

    @property
    def key(self) -> str:
        """A name for files: readable, and different for encoders with different features."""
        identity = {**asdict(self), "weights": None}  # the same weights may be elsewhere
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-").lower()[-40:]
        return f"{readable}-{digest[:16]}"
