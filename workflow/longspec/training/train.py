"""Trains a drafter for one target from its answers; writes a checkpoint, and training.csv with its progress.

An interrupted training resumes from the last report (training.pt beside the output) if nothing that it depends on has
changed. For several processes: `accelerate launch -m longspec train …`; the first of them writes.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import time
from pathlib import Path

import torch

from longspec.core.errors import UserError
from longspec.core.spec import TrainedSpec
from longspec.drafters.glide import checkpoints
from longspec.drafters.glide.checkpoints import Checkpoint
from longspec.models import machine, model_files, trust
from longspec.models.target import CausalLM
from longspec.models.target_parts import TargetParts, require_last_layer
from longspec.training import begin, shards
from longspec.training.collect import feature_layers
from longspec.training.fit import Fit
from longspec.training.objective import WIDTH, Objective, agreement
from longspec.training.shards import Sequence

HELD_OUT = 2
"""Sequences of each shard that are held out for evaluation."""
EVALUATED = 128
COLUMNS = ["step", "tokens", "loss", *(f"agreement_lag_{n}" for n in range(1, WIDTH + 1)), "acceptance_length"]
FARTHEST = 30_000
"""Last position that shifted sequences may reach, as LongSpec's."""
log = logging.getLogger("longspec.train")


def read(listed: Path) -> tuple[list[Sequence], list[Sequence]]:
    """Read the sequences to train on, and those held out; raises UserError when there are too few.

    `listed`: answers.json."""
    files = json.loads(listed.read_text(encoding="utf-8"))["shards"]
    parts = [shards.read(listed.parent / file) for file in files]
    kept = [sequence for part in parts for sequence in part[HELD_OUT:]]
    if not kept:
        raise UserError(
            str(listed),
            f"{sum(map(len, parts))} answers in {len(files)} shards are too few to train on",
            f"more than {HELD_OUT} in one of them, by a larger train_tokens",
        )
    return kept, [sequence for part in parts for sequence in part[:HELD_OUT]][:EVALUATED]


def draft_ids(sequences: list[Sequence], vocab_size: int, wanted: int | None) -> torch.Tensor:
    """Choose the `wanted` most frequent ids of the answers, ascending; None takes all ids.

    Of ids that do not occur the lowest come first: a tokenizer's merges make frequent tokens first."""
    if wanted is None or wanted >= vocab_size:
        return torch.arange(vocab_size)
    counts = torch.zeros(vocab_size)
    for sequence in sequences:
        counts += torch.bincount(sequence.ids[sequence.prompt :].long(), minlength=vocab_size)
    counts += 1 / (1 + torch.arange(vocab_size) / 1000)
    return counts.argsort(descending=True)[:wanted].sort().values


def prepared(spec: TrainedSpec, target: CausalLM, sequences: list[Sequence]) -> tuple[Objective, list[int], int]:
    """Make the objective; returns it, the feature layers (of a hybrid), and the last position that shifts may reach."""
    layers = feature_layers(target.config.num_hidden_layers) if spec["kind"] == "hybrid" else []
    ids = draft_ids(sequences, target.vocab_size, spec["draft_vocabulary"])
    if spec.get("start"):
        started = checkpoints.load(spec["start"], target)
        if started.feature_layers != layers:
            raise UserError("start", f"reads layers {started.feature_layers}", f"{layers} for kind {spec['kind']}")
        model = started.model
        ids = ids if started.draft_ids is None else started.draft_ids.long()
    else:
        model = begin.untrained(target, len(layers), norm=True)
    parts = TargetParts(target)
    longest = max(len(sequence.ids) for sequence in sequences)
    far = max(longest + 1, min(FARTHEST, (target.context_tokens or FARTHEST) - 1))
    # Copies: no gradient can be computed through tensors that inference mode made.
    cos, sin = (table.clone().to(target.device) for table in parts.rotary(far + 1))
    every = torch.arange(target.vocab_size, device=target.device)
    embedding = target.model.get_input_embeddings()
    head = parts.head_rows(every).clone()
    rotary = lambda positions: (cos[positions], sin[positions])  # noqa: E731
    objective = Objective(model, embedding, head, ids, rotary, spec["window"]).to(target.device)
    return objective, layers, far


class Table:
    """Write training.csv, one line per report; a resumed training keeps the lines up to its step."""

    def __init__(self, file: Path, step: int) -> None:
        self.file = file
        lines = file.read_text(encoding="utf-8").splitlines()[1:] if file.is_file() and step else []
        self.rows = [line.split(",") for line in lines if int(line.split(",")[0]) <= step]

    def add(self, *values: float) -> None:
        """Append one line, and write the file."""
        self.rows.append([f"{value:.6g}" for value in values])
        with self.file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([*COLUMNS, "learning_rate"])
            writer.writerows(self.rows)


def train(spec: TrainedSpec, version: str, listed: Path, weights: Path) -> None:
    """Train a drafter on the answers that `listed` names, and write its checkpoint and training.csv.

    `version`: what a training state must have been made from to be resumed; `weights`: the checkpoint's file."""
    device = machine.resolve_device(spec["device"])
    folder, trusted = model_files.folder(spec["model"]), trust.allowed(spec["model"])
    target = CausalLM.from_folder(folder, device, torch.float32, "eager", trusted=trusted)
    require_last_layer(target, "glide")
    target.model.requires_grad_(False)
    kept, held_out = read(listed)
    objective, layers, far = prepared(spec, target, kept)
    fit = Fit(spec, objective, kept, far)
    place, first = weights.parent, fit.accelerator.is_main_process
    state = place / "training.pt"
    if state.is_file() and (saved := torch.load(state, weights_only=True))["version"] == version:
        fit.restore(saved)
    table = Table(place / "training.unfinished.csv", fit.step)
    log.info("%d steps, of which %d are done; %d answers", fit.steps, fit.step, len(kept))
    started, before = time.monotonic(), fit.tokens

    def report(loss: float, learning_rate: float) -> None:
        objective.eval()
        by_lag, length = agreement(objective, held_out, fit.move)
        objective.train()
        speed = (fit.tokens - before) / (time.monotonic() - started)
        log.info("step %d, loss %.4f, agreement %.3f, %.0f tokens/s", fit.step, loss, by_lag[0], speed)
        if first:
            table.add(fit.step, fit.tokens, loss, *by_lag, length, learning_rate)
            partial = state.with_suffix(".partial")
            torch.save({**fit.state(), "version": version}, partial)
            os.replace(partial, state)

    objective.train()
    fit.run(spec["report_steps"], report)
    if first:
        facts = {
            "model_type": "longspec_glide",
            "tokens": fit.tokens,
            "made_of": {**spec, "version": json.loads(version)},
        }
        full = len(objective.draft_ids) == target.vocab_size
        checkpoint = Checkpoint(objective.model, layers, None if full else objective.draft_ids.cpu())
        probe = target.model.get_input_embeddings().weight
        checkpoints.write(place, checkpoint, probe, json.dumps(facts, indent=1) + "\n")
        os.replace(table.file, place / "training.csv")
