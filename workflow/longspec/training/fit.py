"""The training loop: AdamW on the objective, resumable, on one process or several (accelerate).

Steps are a function of seed, data and number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from longspec.core.spec import TrainedSpec
from longspec.training.batches import ANCHORS, Batch, collate, grouped, random_lags
from longspec.training.objective import Objective
from longspec.training.shards import Sequence

WARMUP_STEPS = 100
FALL = 0.2
"""Share of the steps, at the end, over which the learning rate falls to 0."""
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.98), 0.1, 1.0


def rate(step: int, steps: int) -> float:
    """Compute the factor of the learning rate at a step: linear warm-up, then 1, then a linear fall."""
    return min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / max(1.0, FALL * steps))


def optimiser(objective: Objective, learning_rate: float) -> torch.optim.Optimizer:
    """Make LongSpec's AdamW, with weight decay on matrices but not on norms and lag embeddings."""
    weights = [(name, p) for name, p in objective.model.named_parameters()]
    matrices = [p for name, p in weights if p.dim() > 1 and "lag" not in name]
    others = [p for name, p in weights if p.dim() <= 1 or "lag" in name]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, fused=True)


class Fit:
    """Run one training, from `step` to `steps`."""

    def __init__(self, spec: TrainedSpec, objective: Objective, sequences: list[Sequence], far: int) -> None:
        """Prepare a training of `objective` on `sequences`; `far`: the last position that shifts may reach."""
        self.spec, self.sequences, self.far = spec, sequences, far
        self.accelerator = Accelerator(cpu=objective.head.device.type == "cpu")
        self.objective = objective
        queries = sum(sequence.queries for sequence in sequences)
        per_step = spec["batch_tokens"] * self.accelerator.num_processes
        self.steps = max(1, int(spec["epochs"] * queries / per_step))
        self.step = self.tokens = 0
        self.optimiser = optimiser(objective, spec["learning_rate"])
        self._wrapped, self.optimiser = self.accelerator.prepare(objective, self.optimiser)

    def move(self, batch: Batch) -> Batch:
        """Move a batch to the device that trains."""
        device = self.accelerator.device
        return Batch(**{f.name: getattr(batch, f.name).to(device) for f in fields(batch)})

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs: model, optimiser, steps and tokens."""
        model, optimiser = self.objective.model.state_dict(), self.optimiser.state_dict()
        return {"model": model, "optimiser": optimiser, "step": self.step, "tokens": self.tokens}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned."""
        self.objective.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.tokens = state["step"], state["tokens"]

    def run(self, every: int, report: Callable[[float, float], None]) -> None:
        """Train to the last step, calling `report(loss, learning_rate)` after every `every` steps and the last."""
        losses: list[float] = []
        share = 0.0
        for batch in self._batches():
            if self.step >= self.steps:
                break
            share = rate(self.step, self.steps)
            for group in self.optimiser.param_groups:
                group["lr"] = share * self.spec["learning_rate"]
            loss = self._wrapped(self.move(batch))
            self.optimiser.zero_grad()
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.objective.model.parameters(), CLIP)
            self.optimiser.step()
            self.step += 1
            self.tokens += int(batch.real.sum()) * self.accelerator.num_processes
            losses.append(float(loss.detach()))
            if self.step % every == 0 or self.step == self.steps:
                report(sum(losses) / len(losses), share * self.spec["learning_rate"])
                losses = []

    def _batches(self) -> Iterator[Batch]:
        """Yield batches without end, each epoch in another order; a resumed training skips those already used."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        done, epoch = 0, 0
        while True:
            random = np.random.default_rng([self.spec["seed"], epoch])
            groups = grouped(self.sequences, self.spec["batch_tokens"], random)
            groups = groups[: max(1, len(groups) // processes) * processes]
            for number, group in enumerate(groups[rank::processes]):
                done += 1
                if done > self.step:
                    yield self._collated(group, np.random.default_rng([self.spec["seed"], epoch, number, rank]))
            epoch += 1

    def _collated(self, group: list[Sequence], random: np.random.Generator) -> Batch:
        lags = [random_lags(sequence.queries, random) for sequence in group]
        room = self.far - max(len(sequence.ids) for sequence in group)
        if random.random() >= self.spec["shifted"] or room < 1:
            return collate(group, lags)
        _, rotary = self.objective._borrowed
        shift, anchors = int(random.integers(1, room + 1)), int(random.integers(0, ANCHORS + 1))
        return collate(group, lags, shift, anchors, lambda positions: tuple(t.cpu() for t in rotary(positions)))
