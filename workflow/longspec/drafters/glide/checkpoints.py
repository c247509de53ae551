"""Reads and writes a GLIDE drafter's checkpoint: safetensors with LongSpec's published names and a few of our own.

`load` returns a layer whose every tensor came from the file and fits this target, or raises UserError. The tensors in
the file decide which parts the layer has. Published checkpoints also have the cross-attention's k_proj and v_proj,
which are not used. Our own names:

    norm.weight                         a norm before the target's head
    fusion.*, lag_embedding             the hybrid's
    feature_layers [layers]             the decoder layers whose features it reads
    draft_ids [n]                       the ids that it drafts, ascending; without it, all
    target_probe [8, 8]                 a corner of the target's embedding, by which the target is recognised
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from longspec.core.errors import UserError, first_line
from longspec.core.spec import ModelSpec
from longspec.drafters.glide.model import Glide, Sizes
from longspec.models import model_files
from longspec.models.target import CausalLM

JOINED = {
    "self_attn.kv_proj": ("self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
"""Linear layers that are merged into one when loaded, and the names of the two that a file has for each."""
UNUSED = {f"cross_attn.{part}_proj.{kind}" for part in "kv" for kind in ("weight", "bias")}
FACTS = {"feature_layers", "draft_ids", "target_probe"}
"""Tensors that are not weights."""
PROBE = 8


@dataclass
class Checkpoint:
    """Hold a drafter layer, the target layers whose features it reads, and the ids that it drafts (None: all)."""

    model: Glide
    feature_layers: list[int]
    draft_ids: torch.Tensor | None


def load(weights: ModelSpec, target: CausalLM) -> Checkpoint:
    """Load the checkpoint of a configuration entry (hub or path), and check that it fits the target."""
    return read(model_files.folder(weights), target)


def read(folder: Path, target: CausalLM) -> Checkpoint:
    """Read the checkpoint in a folder.

    Raises UserError with the first tensors that are missing, unknown, or of another shape than the target needs."""
    tensors: dict[str, torch.Tensor] = {}
    try:
        for file in sorted(folder.glob("*.safetensors")):
            tensors |= load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(str(folder), first_line(error), "safetensors") from None
    facts = {name: tensors.pop(name) for name in FACTS if name in tensors}
    layers = facts["feature_layers"].tolist() if "feature_layers" in facts else []
    model = Glide(
        Sizes.of(target.config),
        bias="self_attn.q_proj.bias" in tensors,
        norm="norm.weight" in tensors,
        feature_layers=len(layers),
    )
    _check(folder, tensors, stored(model.state_dict()))
    _check_target(folder, facts, target)
    model.load_state_dict(joined(tensors))
    return Checkpoint(model, layers, facts.get("draft_ids"))


def write(folder: Path, checkpoint: Checkpoint, target_embedding: torch.Tensor, config: str) -> None:
    """Write a checkpoint in bfloat16, and `config` as its config.json."""
    tensors = {name: t.to(torch.bfloat16).contiguous() for name, t in stored(checkpoint.model.state_dict()).items()}
    tensors["target_probe"] = target_embedding[:PROBE, :PROBE].to(torch.bfloat16).contiguous()
    if checkpoint.draft_ids is not None:
        tensors["draft_ids"] = checkpoint.draft_ids.to(torch.int32)
    if checkpoint.feature_layers:
        tensors["feature_layers"] = torch.tensor(checkpoint.feature_layers, dtype=torch.int32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors gives it to its maker alone
    (folder / "config.json").write_text(config, encoding="utf-8")


def stored(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename a layer's state to the published names, splitting merged linear layers."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        if layer in JOINED:
            tensors |= {f"{n}.{kind}": part for n, part in zip(JOINED[layer], tensor.chunk(2), strict=True)}
        else:
            tensors[name] = tensor
    return tensors


def joined(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename published tensors to a layer's state in float32, merging what runs as one linear layer."""
    state = {name: tensor.float() for name, tensor in tensors.items() if name not in UNUSED}
    for layer, parts in JOINED.items():
        for kind in ("weight", "bias"):
            names = [f"{part}.{kind}" for part in parts]
            if names[0] in state:
                state[f"{layer}.{kind}"] = torch.cat([state.pop(name) for name in names])
    return state


def _check(folder: Path, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys() - UNUSED)
    for what, names in (("lacks", missing), ("has the unknown", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(str(folder), f"{what} {', '.join(names[:3])}{more}", "a GLIDE drafter's tensors")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            shape = list(found[name].shape)
            raise UserError(str(folder), f"{name} is {shape}", f"{list(tensor.shape)}, as this target needs")


def _check_target(folder: Path, facts: dict[str, torch.Tensor], target: CausalLM) -> None:
    ids, probe = facts.get("draft_ids"), facts.get("target_probe")
    layers = target.config.num_hidden_layers
    if "feature_layers" in facts and int(facts["feature_layers"].max()) >= layers:
        raise UserError(
            str(folder), f"reads layer {int(facts['feature_layers'].max())}", f"one of the target's {layers}"
        )
    if ids is not None and int(ids.max()) >= target.vocab_size:
        raise UserError(str(folder), f"drafts id {int(ids.max())}", f"less than the target's {target.vocab_size}")
    if probe is None:
        return
    ours = target.model.get_input_embeddings().weight[:PROBE, :PROBE].float().cpu()
    if ours.shape != probe.shape or not torch.allclose(ours, probe.float(), rtol=0.02, atol=1e-6):
        raise UserError(str(folder), "its target_probe is of another target", "a drafter trained for this model")
