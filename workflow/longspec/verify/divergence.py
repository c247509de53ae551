"""Measures how close the target's choice was where two outputs part, by running the known text again (replays.py).

No method and no drafter takes part, so that a fault of theirs cannot pass for rounding. Rounding is measured within one
engine. For our own, vanilla's text is run one token a step, as vanilla does, and several tokens a step, as verification
does (for a method that branches also after other branches: keys of a path that is not the first lie elsewhere, so that
its sums are made in another order, decision 0005). For a peer's, its own modelling code runs the text as its `generate`
does, in one forward and in two. The distance between our engine and a peer's is not rounding, and is recorded apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from longspec.backends import job_target
from longspec.core import registry
from longspec.core.records import Comparison, Prompt, Sample, first_divergence
from longspec.core.spec import GenerateSpec
from longspec.data import prompting
from longspec.decoding import gumbel
from longspec.decoding.gumbel import Draws, GumbelNoise
from longspec.decoding.sampling import Settings, Text
from longspec.decoding.tree import TokenTree
from longspec.models import model_files
from longspec.verify import replays


class Meter:
    """Run the target, and a peer's modelling code, over known texts to compare the scores of two outputs."""

    def __init__(self, spec: GenerateSpec, prompts: list[Prompt], nodes: int) -> None:
        """Load the target of a spec, and the peer's model where a peer answered.

        `nodes`: most nodes that the method verifies in one step."""
        self.spec = spec
        self.settings = Settings(**spec["sampling"])
        peer = registry.decodes(spec["method"]["method"]) == "peers"
        self.sizes = sorted({*replays.SOME, nodes} - {1})
        """Tokens a step."""
        self.branched = replays.BRANCHED if registry.branches(spec["method"]["method"]) else ()
        self.target = job_target.load(spec)
        device, dtype = self.target.device, self.target.dtype
        self.plain = model_files.plain(spec["model"], dtype, device) if peer else None
        self.tokenizer = prompting.tokenizer(spec["model"])
        self.prompts = {prompt.sample_id: prompt for prompt in prompts}

    def prompt_ids(self, sample: Sample, turn: int) -> list[int]:
        """Make the prompt's ids of a turn, with the sample's own earlier answers in it."""
        return prompting.answered_ids(self.tokenizer, self.prompts[sample.sample_id], sample, turn)

    def logits(self, prompt_ids: list[int], ids: list[int]) -> Iterable[torch.Tensor]:
        """Yield the target's logits [vocab] after a prompt and `ids`, run one token a step and then in other ways."""
        most = max(*self.sizes, *(sum(shape) for shape in replays.BRANCHED))
        self.target.reset(len(prompt_ids) + len(ids) + most)
        after_prompt = self.target.append(prompt_ids)
        if not ids:
            yield after_prompt
            return
        for step in (1, *self.sizes):
            self.target.rewind(len(prompt_ids))
            yield replays.after(self.target, ids, step)
        for shape in self.branched:
            self.target.rewind(len(prompt_ids))
            (*_, last) = replays.branched(self.target, ids, *shape)
            yield last[-1]

    def plain_logits(self, prompt_ids: list[int], ids: list[int]) -> Iterable[torch.Tensor]:
        """Yield the logits [vocab] after a prompt and `ids` of a peer's own modelling code, run in several ways.

        The first way is that of its `generate`."""
        return replays.plainly(self.plain, prompt_ids, ids)

    def scores(self, text_key: int, prompt_ids: list[int], ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        """Compute the scores [vocab] of which the best is the next token: warped logits, with noise if sampled."""
        text = Text(self.settings, prompt_ids + ids[:-1], self.target.vocab_size, self.target.device)
        root = TokenTree.rooted_at((prompt_ids + ids)[-1])
        scores = text.scores(logits[None], root, [0])[0].float()
        if self.settings.temperature > 0:
            scores = scores + GumbelNoise(text_key, self.target.vocab_size, self.target.device).row(len(ids))
        return scores

    def compare(self, ours: Sample, vanilla: Sample) -> Comparison:
        """Compare a sample with vanilla's: find where they part, and measure how close the choice was there."""
        parted = first_divergence(ours, vanilla)
        if parted is None:
            return Comparison(ours.sample_id, ours.repeat, identical=True)
        turn, position = parted
        outputs = [s.turns[turn].output_ids if turn < len(s.turns) else [] for s in (ours, vanilla)]
        if position >= min(map(len, outputs)):  # one of them stops where the other goes on
            return Comparison(ours.sample_id, ours.repeat, False, turn, position)
        mine, theirs = (output[position] for output in outputs)
        ids, prompt_ids = outputs[1][:position], self.prompt_ids(vanilla, turn)
        key = gumbel.key(self.spec["seed"], vanilla.sample_id, turn)

        def scored(logits: torch.Tensor) -> torch.Tensor:
            return self.scores(key, prompt_ids, ids, logits)

        at_once, *others = (self.plain_logits if self.plain else self.logits)(prompt_ids, ids)
        alone, again = scored(at_once), [scored(logits) for logits in others]
        apart = None
        if self.plain:
            of_ours = scored(next(iter(self.logits(prompt_ids, ids))))
            apart = float(replays.moved(of_ours, alone))
        gap = float(alone[theirs] - alone[mine])
        return Comparison(
            *(ours.sample_id, ours.repeat, False, turn, position),
            gap=gap if gap < float("inf") else None,
            rounding=max([0.0, *(float(replays.moved(alone, scores)) for scores in again)]),
            flips=any(int(scores.argmax()) == mine for scores in again),
            scale=self.scale(at_once),
            engines_apart=apart,
        )

    def scale(self, logits: torch.Tensor) -> float:
        """Measure how large the scores are that are made of these logits [vocab] by penalty and temperature."""
        settings = self.settings
        return replays.warped(float(replays.scale(logits)), settings.repetition_penalty, settings.temperature)

    def place(self, ours: Sample, identical: bool) -> Comparison:
        """Compute each output token's quantile in the target's distribution, ids being ordered by falling probability.

        A peer is compared with the distribution of its own modelling code; the largest distance between that and ours
        is recorded with it."""
        quantiles: list[float] = []
        apart: list[tuple[float, float, float]] = []
        for number, turn in enumerate(ours.turns):
            prompt_ids, ids = self.prompt_ids(ours, number), turn.output_ids
            logits = self.every_logits(prompt_ids, ids)
            if self.plain is not None:
                text = torch.tensor([prompt_ids + ids[:-1]], device=self.target.device)
                of_ours, logits = logits, self.plain(text, logits_to_keep=len(ids)).logits[0]
                moved, scale = replays.moved(of_ours, logits), replays.scale(logits)
                worst = int((moved / scale).argmax())
                apart.append((float(moved[worst] / scale[worst]), float(moved[worst]), float(scale[worst])))
            chain = TokenTree.rooted_at(prompt_ids[-1])
            for node, token in enumerate(ids[:-1]):
                chain.add(token, node)
            before = Text(self.settings, prompt_ids[:-1], self.target.vocab_size, self.target.device)
            p = before.scores(logits, chain, list(range(len(ids)))).double().softmax(-1)
            own = p.gather(-1, torch.tensor(ids, device=p.device)[:, None])
            above = (p * (p > own)).sum(-1)
            equal = (p * (p == own)).sum(-1)
            draws = Draws(gumbel.key("quantiles", self.spec["seed"], ours.sample_id, ours.repeat, number))
            spread = torch.tensor([draws.uniform() for _ in ids], dtype=torch.float64, device=p.device)
            quantiles += (above + spread * equal).tolist()
        _, most, at = max(apart, default=(None, None, None))
        return Comparison(ours.sample_id, ours.repeat, identical, quantiles=quantiles, scale=at, engines_apart=most)

    def every_logits(self, prompt_ids: list[int], ids: list[int]) -> torch.Tensor:
        """Compute the target's logits [n, vocab] before each of `ids`."""
        self.target.reset(len(prompt_ids) + len(ids))
        first = self.target.append(prompt_ids)[None]
        return torch.cat([first, self.target.extend(ids[:-1], list(range(-1, len(ids) - 2)))]) if ids[1:] else first


@torch.inference_mode()
def measure(
    spec: GenerateSpec, prompts: list[Prompt], pairs: list[tuple[Sample, Sample]], nodes: int, drawn: bool
) -> list[Comparison]:
    """Compare each pair of samples (a method's, vanilla's); `drawn`: outputs differ by design (residual verifier)."""
    meter = Meter(spec, prompts, nodes)
    if drawn:
        return [meter.place(sample, first_divergence(sample, other) is None) for sample, other in pairs]
    return [meter.compare(sample, other) for sample, other in pairs]
