"""Stores answers on disk as shards of some sequences each, in bfloat16, read memory-mapped.

Features are stored from `LAGS` positions before the answer on, where training needs them; all else for the whole
sequence. A shard appears whole or not at all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from longspec.drafters.glide.model import LAGS, Sizes
from longspec.training.answers import TOP, Answer

PER_SHARD = 128
"""Sequences in a shard."""
PROMPT_SHARE = 0.8
"""Question tokens for each answer token, as measured with the default questions; used to announce sizes only."""


@dataclass
class Sequence:
    """Hold an answer read from a shard (fields as in `answers.Answer`).

    `features` [rows, layers, hidden] begin at position `features_from`."""

    ids: torch.Tensor
    prompt: int
    top_ids: torch.Tensor
    top_log_p: torch.Tensor
    features: torch.Tensor
    features_from: int
    keys: torch.Tensor
    values: torch.Tensor

    @property
    def queries(self) -> int:
        """Count the positions that are trained on: the answer's tokens that have a successor."""
        return len(self.ids) - 1 - self.prompt


def bytes_per_token(config: Any, layers: int) -> float:
    """Estimate the bytes on disk of one answer token, its share of the question included."""
    sizes = Sizes.of(config)
    features = layers * sizes.hidden * 2
    rest = 2 * sizes.kv_heads * sizes.head_dim * 2 + TOP * 6 + 4
    return features + rest * (1 + PROMPT_SHARE)


def write(file: Path, answers: list[Answer]) -> None:
    """Write answers as one shard."""
    first = [max(0, answer.prompt - LAGS) for answer in answers]
    tensors = {
        name: torch.cat([getattr(answer, name) for answer in answers]).cpu()
        for name in ("ids", "top_ids", "top_log_p", "keys", "values")
    }
    tensors["features"] = torch.cat([a.features[f:] for a, f in zip(answers, first, strict=True)]).cpu()
    tensors["lengths"] = torch.tensor([len(answer.ids) for answer in answers], dtype=torch.int32)
    tensors["prompts"] = torch.tensor([answer.prompt for answer in answers], dtype=torch.int32)
    tensors["features_from"] = torch.tensor(first, dtype=torch.int32)
    partial = file.with_suffix(".partial")
    save_file(tensors, partial)
    os.replace(partial, file)


def read(file: Path) -> list[Sequence]:
    """Read the sequences of one shard, without those that have no position to train on."""
    content = load_file(file)
    first = content.get("features_from", torch.zeros(len(content["lengths"]), dtype=torch.int32))
    sequences, start, run, feature = [], 0, 0, 0
    facts = zip(content["lengths"].tolist(), content["prompts"].tolist(), first.tolist(), strict=True)
    for length, prompt, begin in facts:
        n = length - 1
        rows = {key: content[key][run : run + n] for key in ("top_ids", "top_log_p", "keys", "values")}
        features = content["features"][feature : feature + n - begin]
        ids = content["ids"][start : start + length]
        sequences.append(Sequence(ids=ids, prompt=prompt, features=features, features_from=begin, **rows))
        start, run, feature = start + length, run + n, feature + n - begin
    return [sequence for sequence in sequences if sequence.queries > 0]
