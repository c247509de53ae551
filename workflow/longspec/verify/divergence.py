"""The target alone, run over known texts: what the gate asks where outputs part.

Contract: a first divergence is measured by running vanilla's text up to it in two ways: one token a step, as vanilla
does, and several tokens a step, as verification does. It knows no method and no drafter, so that a fault of theirs
cannot pass for rounding. Where a method says that it branches, the text is run behind other branches too: keys of a
path that is not the first lie elsewhere, so that its sums are made in another order (decision 0005). A peer runs other
kernels: its text is measured once more by its own modelling code, in one plain forward and in two.
"""

from __future__ import annotations

from typing import Any

import torch

from longspec.backends import job_target
from longspec.core import registry
from longspec.core.records import Comparison, Prompt, Sample, first_divergence
from longspec.data import prompting
from longspec.decoding import gumbel
from longspec.decoding.gumbel import Draws, GumbelNoise
from longspec.decoding.sampling import Settings, Text
from longspec.decoding.tree import TokenTree
from longspec.models import model_files

BRANCHED = ((2, 1), (3, 2), (4, 4), (4, 9))
"""(tokens of the path a step, branches before it)."""
SOME = (2, 8)
"""Tokens a step, beside the method's own most: kernels differ by shape, and each shape is a sample of rounding."""


class Meter:
    """The target alone, run over a known text."""

    def __init__(self, spec: dict[str, Any], prompts: list[Prompt], nodes: int) -> None:
        """`nodes`: most that the method verifies in one step."""
        self.spec = spec
        self.settings = Settings(**spec["sampling"])
        peer = registry.decodes(spec["method"]["method"]) == "peers"
        self.sizes = [] if peer else sorted({*SOME, nodes} - {1})
        """Tokens a step; a peer has no steps of ours."""
        self.branched = BRANCHED if registry.branches(spec["method"]["method"]) else ()
        self.target = job_target.load(spec)
        device, dtype = self.target.device, self.target.dtype
        self.plain = model_files.plain(spec["model"], dtype, device) if peer else None
        self.tokenizer = prompting.tokenizer(spec["model"])
        self.prompts = {prompt.sample_id: prompt for prompt in prompts}

    def prompt_ids(self, sample: Sample, turn: int) -> list[int]:
        """What the turn was asked, with the sample's own earlier answers."""
        return prompting.answered_ids(self.tokenizer, self.prompts[sample.sample_id], sample, turn)

    def logits(self, prompt_ids: list[int], ids: list[int], step: int) -> torch.Tensor:
        """The target's logits [vocab] after the prompt and `ids`, run `step` tokens at a time.

        The last of `ids` is the first of its step, as the root of a draft is; what follows it cannot change it but
        by rounding. The prompt, whose logits are `self.after_prompt`, stands in the cache already.
        """
        self.target.rewind(len(prompt_ids))
        if not ids:
            return self.after_prompt
        chain = list(range(-1, step - 1))
        for start in range(0, len(ids) - 1, step):
            some = ids[start : min(start + step, len(ids) - 1)]
            self.target.extend(some, chain[: len(some)])
            self.target.commit(list(range(len(some))))
        return self.target.extend(ids[-1:] * step, chain)[0]

    def branched_logits(self, prompt_ids: list[int], ids: list[int], step: int, branches: int) -> torch.Tensor:
        """The same where in each step other children of the root lie before the text's own path, which ends with the
        last of `ids`."""
        self.target.rewind(len(prompt_ids))
        logits = self.after_prompt[None]
        first = len(ids) % step
        for start in range(first - step if first else 0, len(ids), step):
            root, *rest = ids[max(0, start) : start + step]
            others = [(rest[0] + 1 + n) % self.target.vocab_size for n in range(branches)] if rest else []
            path = [0, *range(len(others) + 1, len(others) + 1 + len(rest))]
            logits = self.target.extend([root, *others, *rest], [-1, *(0 for _ in others), *path[:-1]])
            self.target.commit(path)
        return logits[-1]

    def plain_logits(self, prompt_ids: list[int], ids: list[int]) -> list[torch.Tensor]:
        """The same of a peer's modelling code: all in one forward, and the last token by itself, as generate does."""
        if self.plain is None:
            return []
        text = torch.tensor([prompt_ids + ids], device=self.target.device)
        whole = self.plain(text, logits_to_keep=1).logits[0, -1]
        before = self.plain(text[:, :-1], use_cache=True, logits_to_keep=1)
        after = self.plain(text[:, -1:], past_key_values=before.past_key_values, use_cache=True)
        return [whole, after.logits[0, -1]]

    def scores(self, text_key: int, prompt_ids: list[int], ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        """Scores [vocab] of which the next token is the best one: warped, and noised above temperature 0."""
        text = Text(self.settings, prompt_ids + ids[:-1], self.target.vocab_size, self.target.device)
        root = TokenTree.rooted_at((prompt_ids + ids)[-1])
        scores = text.scores(logits[None], root, [0])[0].float()
        if self.settings.temperature > 0:
            scores = scores + GumbelNoise(text_key, self.target.vocab_size, self.target.device).row(len(ids))
        return scores

    def compare(self, ours: Sample, vanilla: Sample) -> Comparison:
        """Where the two part, and how close that was."""
        parted = first_divergence(ours, vanilla)
        if parted is None:
            return Comparison(ours.sample_id, ours.repeat, identical=True)
        turn, position = parted
        outputs = [s.turns[turn].output_ids if turn < len(s.turns) else [] for s in (ours, vanilla)]
        if position >= min(map(len, outputs)):  # one of them stops, although the tokens are the same
            return Comparison(ours.sample_id, ours.repeat, False, turn, position)
        mine, theirs = (output[position] for output in outputs)
        ids, prompt_ids = outputs[1][:position], self.prompt_ids(vanilla, turn)
        key = gumbel.key(self.spec["seed"], vanilla.sample_id, turn)
        most = max(*self.sizes, *(sum(shape) for shape in BRANCHED))
        self.target.reset(len(prompt_ids) + len(ids) + most)
        self.after_prompt = self.target.append(prompt_ids)
        alone = self.scores(key, prompt_ids, ids, self.logits(prompt_ids, ids, 1))
        rounding, flips = 0.0, False
        chains = (self.logits(prompt_ids, ids, step) for step in self.sizes)
        trees = (self.branched_logits(prompt_ids, ids, *shape) for shape in self.branched)
        for logits in (*chains, *trees, *self.plain_logits(prompt_ids, ids)):
            together = self.scores(key, prompt_ids, ids, logits)
            both = alone.isfinite() & together.isfinite()
            moved = (alone - together)[both]
            rounding = max(rounding, float(moved.max() - moved.min()))
            flips = flips or int(together.argmax()) == mine
        gap = float(alone[theirs] - alone[mine])
        known = gap if gap < float("inf") else None
        return Comparison(ours.sample_id, ours.repeat, False, turn, position, known, rounding, flips)

    def place(self, ours: Sample, identical: bool) -> Comparison:
        """Each output token's quantile in the target's distribution, ids in the order of falling probability."""
        quantiles: list[float] = []
        for number, turn in enumerate(ours.turns):
            prompt_ids, ids = self.prompt_ids(ours, number), turn.output_ids
            self.target.reset(len(prompt_ids) + len(ids))
            first = self.target.append(prompt_ids)[None]
            rest = self.target.extend(ids[:-1], list(range(-1, len(ids) - 2))) if len(ids) > 1 else first[:0]
            chain = TokenTree.rooted_at(prompt_ids[-1])
            for node, token in enumerate(ids[:-1]):
                chain.add(token, node)
            text = Text(self.settings, prompt_ids[:-1], self.target.vocab_size, self.target.device)
            p = text.scores(torch.cat([first, rest]), chain, list(range(len(ids)))).double().softmax(-1)
            own = p.gather(-1, torch.tensor(ids, device=p.device)[:, None])
            above = (p * (p > own)).sum(-1)
            equal = (p * (p == own)).sum(-1)
            draws = Draws(gumbel.key("quantiles", self.spec["seed"], ours.sample_id, ours.repeat, number))
            spread = torch.tensor([draws.uniform() for _ in ids], dtype=torch.float64, device=p.device)
            quantiles += (above + spread * equal).tolist()
        return Comparison(ours.sample_id, ours.repeat, identical, quantiles=quantiles)


@torch.inference_mode()
def measure(
    spec: dict[str, Any], prompts: list[Prompt], pairs: list[tuple[Sample, Sample]], nodes: int, drawn: bool
) -> list[Comparison]:
    """One Comparison for each pair of ours and vanilla's; `drawn`: outputs differ by design."""
    meter = Meter(spec, prompts, nodes)
    if drawn:
        return [meter.place(sample, first_divergence(sample, other) is None) for sample, other in pairs]
    return [meter.compare(sample, other) for sample, other in pairs]
