"""An encoder of texts as a user writes it, in a module outside of the package, and shards that need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labelaudit.audits.references import EncodingReference, PlanReference
from labelaudit.config import AuditConfig
from labelaudit.model.encoders.choose import choose_encoder
from labelaudit.pipeline.encode import plan_encoding
from support.tiny_encoder import prepared

MODULE = """
import os, torch

class Counting(torch.nn.Module):
    # Counts letters and words. `fault` happens in the third batch, and only once if a file `mark` is given.
    def __init__(self, fault, mark):
        super().__init__()
        self.fault, self.mark, self.batches = fault, mark, 0

    def forward(self, texts):
        self.batches += len(texts) > 2  # with two texts, an encoder is tried when it is loaded
        if self.batches == 3 and self.fault and not (self.mark and os.path.exists(self.mark)):
            if self.mark:
                open(self.mark, "w").close()
            if self.fault == "killed":
                os.kill(os.getpid(), 9)
            raise KeyError("missing weight")
        return torch.tensor([[len(text), len(text.split()), text.count("e")] for text in texts]).float()

def build(fault=None, mark=None):
    return Counting(fault, mark)
"""
NAME = "users_encoders:build"


def install_encoder(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the module of the encoder importable in this process and in worker processes."""
    (folder / "modules").mkdir(exist_ok=True)
    (folder / "modules" / "users_encoders.py").write_text(MODULE)
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder / "modules"), os.environ.get("PYTHONPATH")])))
    patch.syspath_prepend(str(folder / "modules"))


def shards_of_texts(config: AuditConfig, shards: int, **kwargs: str) -> tuple[PlanReference, EncodingReference]:
    """Return an audit of texts, prepared with the encoder, and its rows in so many shards."""
    spec = choose_encoder(NAME, kind="text", image_size=(0, 0), kwargs=kwargs, weights=None)
    reference, plan = prepared(config, spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labelaudit.pipeline.encode._FEWEST_ROWS", plan.scored // shards)
        encoding = plan_encoding(reference)
    assert encoding is not None
    assert encoding.shards == shards
    return reference, encoding
